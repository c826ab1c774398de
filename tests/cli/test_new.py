"""``drivebay new``: the folder it writes is found, loads, measures and has a test that passes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from drivebay.cli import failures

SWEEP = ["--start-v", "0", "--stop-v", "0.6", "--points", "13", "--compliance-a", "10mA"]


def test_a_new_plugin_is_found_loads_and_measures_at_once(drivebay, bench, home):
    made = drivebay("new", "my_smu", "--json")

    assert made.json["path"] == str(home / "plugins" / "my_smu")
    assert drivebay("plugins", "check", "my_smu").code == failures.OK
    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP, "--json")
    assert done.json["plugin"]["name"] == "my_smu"
    assert done.json["columns"]["voltage_v"] == pytest.approx(
        [0.05 * i for i in range(13)], abs=1e-3
    )
    assert bench.instrument.output_on is False


def test_it_says_which_plugin_it_stands_in_for(drivebay):
    done = drivebay("new", "my_smu")

    assert "instead of keithley_2400" in done.out
    explained = drivebay("explain", "2400", "--json").json
    assert [each["plugin"] for each in explained["candidates"]] == ["my_smu", "keithley_2400"]


def test_checking_a_new_plugin_finds_nothing_wrong(drivebay, tmp_path):
    drivebay("new", "my_smu", "--dir", str(tmp_path), "--model", "ZX 81")

    done = drivebay("plugins", "check", str(tmp_path / "my_smu"), "--json")

    assert done.json["ok"] is True
    assert not [each for each in done.json["plugins"][0]["diagnostics"] if each["code"] != "M104"]


def test_elsewhere_it_says_how_to_be_found(drivebay, tmp_path):
    folder = tmp_path / "my drivers"

    done = drivebay("new", "my_smu", "--dir", str(folder))

    assert f"DRIVEBAY_PLUGIN_PATH='{folder}'" in done.out
    assert sorted(each.name for each in (folder / "my_smu").iterdir()) == [
        "README.md",
        "driver.py",
        "plugin.yaml",
        "test_driver.py",
    ]


@pytest.mark.slow
def test_its_own_test_passes(drivebay, tmp_path, environment):
    drivebay("new", "my_smu", "--dir", str(tmp_path))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=tmp_path / "my_smu",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize(
    "name", ["My-Smu", "9volts", "a", "driver", "../smu", "smu\n", "x" * 65, "null"]
)
def test_a_name_that_is_none_is_refused(drivebay, home, name):
    done = drivebay("new", name)

    assert done.code == failures.USAGE
    assert not (home / "plugins").exists()


def test_a_name_that_could_be_one_is_suggested(drivebay):
    assert "'my_smu' would do" in drivebay("new", "My-Smu").err


@pytest.mark.parametrize("text", ['x"\nsafe_state: null', "a: b\n", "$name", "\x00"])
@pytest.mark.parametrize("option", ["--model", "--manufacturer", "--author"])
def test_words_that_would_break_the_manifest_are_refused(drivebay, home, option, text):
    done = drivebay("new", "my_smu", option, text)

    assert done.code == failures.USAGE
    assert not (home / "plugins").exists()


def test_a_folder_that_has_something_in_it_is_left_alone(drivebay, home):
    drivebay("new", "my_smu")
    driver = home / "plugins" / "my_smu" / "driver.py"
    driver.write_text("mine", encoding="utf-8")

    done = drivebay("new", "my_smu")

    assert done.code == failures.USAGE
    assert driver.read_text("utf-8") == "mine"
