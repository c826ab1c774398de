"""``drivebay check``: what it prints, what it exits with."""

from __future__ import annotations

import pytest

from drivebay.cli import failures


@pytest.fixture
def folder(drivebay, tmp_path):
    """A new plugin, elsewhere than where plugins are found."""
    drivebay("new", "my_smu", "--dir", str(tmp_path))
    return tmp_path / "my_smu"


def spoil(folder):
    """Its results are no numbers any more."""
    path = folder / "driver.py"
    text = path.read_text("utf-8").replace('"current_a": amp', '"current_a": amp * float("nan")')
    path.write_text(text, encoding="utf-8")


def test_a_new_plugin_is_gold(drivebay, folder, bench):
    done = drivebay("check", str(folder), "--on", bench.resource)

    assert done.code == failures.OK, done.out
    assert done.out.splitlines()[0] == (
        "pass  bronze  it loads, and its class has the methods its manifest lists"
    )
    assert done.out.splitlines()[-1] == "my_smu 0.1.0 on MODEL 2400: gold"
    assert bench.instrument.output_on is False


def test_a_driver_that_is_killed_on_purpose_is_no_news_unless_one_wants_all(process, bench):
    quiet = process("check", "keithley_2400", "--on", bench.resource)
    verbose = process("-v", "check", "keithley_2400", "--on", bench.resource)

    assert (quiet.code, quiet.err) == (failures.OK, "")
    assert "ended by SIGKILL" in verbose.err


def test_what_fails_is_told_with_the_reason_and_is_an_exit_code(drivebay, folder, bench):
    spoil(folder)

    done = drivebay("check", str(folder), "--on", bench.resource)

    assert done.code == failures.FAILED
    assert "FAIL  silver  every method runs" in done.out
    assert "iv_sweep: current_a not finite" in done.out
    assert "bronze (1 failed, " in done.out.splitlines()[-1]


@pytest.mark.parametrize(("level", "code"), [("bronze", 0), ("silver", 1), ("gold", 1)])
def test_one_may_ask_for_a_level(drivebay, folder, bench, level, code):
    spoil(folder)

    assert drivebay("check", str(folder), "--on", bench.resource, "--level", level).code == code


def test_as_json_it_is_one_object(drivebay, bench_file):
    bench_file()

    done = drivebay("check", "keithley_2400", "--on", "smu1", "--json")

    assert done.json["level"] == "gold"
    assert done.json["ok"] is True
    assert [each["outcome"] for each in done.json["checks"]] == ["passed"] * 11
    assert done.json["resource"].startswith("TCPIP::")


def test_parameters_can_be_given_for_a_method(drivebay, folder, bench):
    done = drivebay(
        *("check", str(folder), "--on", bench.resource),
        *("--set", "iv_sweep.points=7", "--set", "iv_sweep.stop_v=0.2"),
    )

    assert "iv_sweep 7 rows" in done.out
    assert done.code == failures.OK


@pytest.mark.parametrize("word", ["points=7", ".points=7", "iv_sweep.=7", "iv_sweep"])
def test_a_parameter_that_names_no_method_is_refused(drivebay, folder, bench, word):
    done = drivebay("check", str(folder), "--on", bench.resource, "--set", word)

    assert done.code == failures.USAGE


def test_a_plugin_or_an_instrument_that_is_not_there_is_not_found(drivebay, folder):
    nowhere = "TCPIP::127.0.0.1::1::SOCKET"

    assert drivebay("check", "nobody", "--on", nowhere).code == failures.NOT_FOUND
    assert drivebay("check", str(folder), "--on", nowhere).code == failures.NOT_FOUND
