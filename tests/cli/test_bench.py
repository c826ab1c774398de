"""``drivebay bench``: check, show and schema of the bench file."""

from __future__ import annotations

import jsonschema_rs
import pytest
import yaml

from drivebay.cli import failures

GOOD = """\
bench: probe station 3
instruments:
  smu1:
    resource: TCPIP::192.168.1.5::5025::SOCKET
    plugin: keithley_2400
    identity: {manufacturer: KEITHLEY, serial: "1234567"}
    limits: {voltage_v: 10, current_a: 10 mA}
    channels:
      "1": {limits: {voltage_v: 5}}
  heater:
    resource: GPIB0::3
    policy: hold
    policy_reason: the sample stays cold
safe_order: [heater]
"""
BAD = """\
instruments:
  smu1:
    resource: GPIB0::99
    policy: hold
"""


@pytest.fixture
def here(tmp_path, home, monkeypatch):
    """A current folder that is not the home folder, and no bench file in force."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DRIVEBAY_BENCH", raising=False)
    return folder


@pytest.fixture
def good(here):
    path = here / "bench.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(here):
    path = here / "broken.yaml"
    path.write_text(BAD)
    return path


def test_a_good_file_can_be_used(drivebay, good):
    done = drivebay("bench", "check")

    assert done.code == failures.OK
    assert done.out == f"{good}: 2 instruments, can be used\n"


def test_a_bad_file_is_told_problem_by_problem(drivebay, bad):
    done = drivebay("bench", "check", str(bad))

    *problems, verdict = done.out.splitlines()
    assert done.code == failures.USAGE
    assert [line.split(": ")[:2] for line in problems] == [
        [f"{bad}:3:15", "error"],
        [f"{bad}:4:13", "error"],
    ]
    assert [line[-6:] for line in problems] == ["[B102]", "[B105]"]
    assert verdict == f"{bad}: CANNOT BE USED"


def test_a_script_gets_the_same_as_one_object(drivebay, good, bad):
    fine, wrong = (
        drivebay("bench", "check", "--json"),
        drivebay("bench", "check", "--json", str(bad)),
    )

    assert fine.json == {"ok": True, "path": str(good), "diagnostics": []}
    assert wrong.code == failures.USAGE
    assert wrong.json["ok"] is False
    assert [each["code"] for each in wrong.json["diagnostics"]] == ["B102", "B105"]
    assert wrong.json["diagnostics"][0]["line"] == 3


def test_a_plugin_that_this_machine_lacks_is_a_warning(drivebay, good):
    good.write_text(GOOD.replace("keithley_2400", "keithley_2440"))

    done = drivebay("bench", "check")

    assert done.code == failures.OK
    assert "warning: smu1: Plugin 'keithley_2440' not found; did you mean" in done.out
    assert "[B117]" in done.out


def test_the_file_of_the_environment_is_in_force(drivebay, good, bad, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_BENCH", str(bad))

    assert drivebay("bench", "check").code == failures.USAGE
    assert drivebay("bench", "check", str(good)).code == failures.OK


def test_the_file_in_the_home_folder_is_in_force_where_there_is_no_other(drivebay, here, home):
    (home / "bench.yaml").write_text(GOOD)

    assert drivebay("bench", "show", "--json").json["path"] == str(home / "bench.yaml")


@pytest.mark.parametrize("command", ["check", "show"])
def test_without_a_bench_file_nothing_is_found(process, here, command):
    done = process("bench", command)

    assert done.code == failures.NOT_FOUND
    assert "there is no bench file: DRIVEBAY_BENCH is not set" in done.err


def test_showing_lists_instruments_and_channels_with_what_holds_for_them(drivebay, good):
    done = drivebay("bench", "show")

    assert done.code == failures.OK
    title, heads, smu1, channel, heater, order = done.out.splitlines()
    assert title == f"probe station 3  {good}"
    assert heads.split() == ["alias", "resource", "plugin", "identity", "limits", "policy"]
    assert smu1.split()[:2] == ["smu1", "TCPIP::192.168.1.5::5025::SOCKET"]
    assert "KEITHLEY, 1234567  voltage_v -10..10, current_a -0.01..0.01  off" in smu1
    assert "channel 1" in channel
    assert "voltage_v -5..5, current_a -0.01..0.01" in channel
    assert heater.endswith("hold (the sample stays cold)")
    assert order == "made safe in this order: heater, smu1"


def test_showing_as_json_is_a_bench_file_again(drivebay, good, here):
    shown = drivebay("bench", "show", "--json").json

    path = shown.pop("path")
    again = here / "again.yaml"
    again.write_text(yaml.safe_dump(shown))
    assert path == str(good)
    assert shown["instruments"]["smu1"]["limits"]["current_a"] == [-0.01, 0.01]
    assert drivebay("bench", "show", "--json", str(again)).json == {"path": str(again), **shown}


def test_showing_a_bad_file_is_an_error_with_every_problem(process, bad):
    done = process("bench", "show", str(bad), "--json")

    assert done.code == failures.USAGE
    assert done.json["error"]["type"] == "BenchError"
    assert [each["code"] for each in done.json["error"]["problems"]] == ["B102", "B105"]
    assert f"error: {bad}: 2 problems" in done.err


def test_a_file_that_is_not_there_is_no_bug(process, here):
    done = process("bench", "show", "gone.yaml")

    assert done.code == failures.USAGE
    assert "'gone.yaml' does not exist" in done.err


def test_a_file_that_a_setting_names_and_is_not_there_is_told_with_the_setting(process, here):
    done = process("find", add={"DRIVEBAY_BENCH": "/gone/bench.yaml"})

    assert "/gone/bench.yaml: No such file or directory" in done.err
    assert "DRIVEBAY_BENCH names it" in done.err


def test_the_schema_takes_the_good_file(drivebay, here):
    schema = drivebay("bench", "schema").json

    validator = jsonschema_rs.Draft202012Validator(schema)
    assert validator.is_valid(yaml.safe_load(GOOD))
    assert not validator.is_valid({"instrument": {}})
