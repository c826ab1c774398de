"""``drivebay runs replay``: exit codes, what is shown, and whose code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import drivebay as platform
from drivebay import Bay, Run
from drivebay.cli import failures


@pytest.fixture
def run(bench) -> Run:
    """A short sweep of the built-in driver."""
    with Bay() as bay, bay.open(bench.resource) as smu:
        return smu.iv_sweep(start_v=0, stop_v=0.5, points=12, compliance_a=0.01)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """The built-in driver with one command changed."""
    source = Path(platform.__file__).parent / "drivers" / "keithley_2400"
    folder = tmp_path / "edited"
    folder.mkdir()
    for name in ("driver.py", "plugin.yaml"):
        text = (source / name).read_text()
        (folder / name).write_text(text.replace(":SENS:AVER OFF", ":SENS:AVER ON"))
    return folder


def test_the_same_code_exits_with_0_and_says_identical(drivebay, run):
    done = drivebay("runs", "replay", run.id)
    found = drivebay("runs", "replay", run.id, "--json").json

    assert done.code == failures.OK
    assert "identical" in done.out
    assert "12, every byte as recorded" in done.out
    assert found["verdict"] == "identical"
    assert found["differences"] == []


def test_an_edit_exits_with_1_and_is_shown_with_its_line(drivebay, run, edited):
    done = drivebay("runs", "replay", "last", "--with", str(edited))
    found = drivebay("runs", "replay", "last", "--with", str(edited), "--json").json

    assert done.code == failures.FAILED
    assert "differs at byte 12" in done.out
    assert "- :SENS:AVER OFF" in done.out
    assert "+ :SENS:AVER ON" in done.out
    assert "at driver.py:" in done.out
    assert found["traffic"]["got"] == ":SENS:AVER ON\n"
    assert [each["mark"] for each in found["differences"]] == ["-", "+"]


def test_code_that_fails_exits_with_1_and_says_where(drivebay, run, edited):
    driver = edited / "driver.py"
    driver.write_text(driver.read_text().replace("import numpy as np", "import numpy"))

    done = drivebay("runs", "replay", "last", "--with", str(edited))

    assert done.code == failures.FAILED
    assert "failed" in done.out
    assert "name 'np' is not defined (driver.py:" in done.out


def test_code_beyond_the_limits_of_the_run_is_told_with_value_limit_and_line(drivebay, run, edited):
    driver = edited / "driver.py"
    source = driver.read_text()
    driver.write_text(
        source.replace('":SOUR:CLE:AUTO OFF"', '":SOUR:CLE:AUTO OFF", ":SOUR:VOLT 300"', 1)
    )
    assert driver.read_text() != source

    done = drivebay("runs", "replay", "last", "--with", str(edited))

    assert done.code == failures.FAILED
    assert re.search(r"limits +1 command refused, not in the run", done.out)
    assert re.search(r"300.*-210", done.out)
    assert "at driver.py:" in done.out
    assert "limits" not in drivebay("runs", "replay", "last").out  # the control


def test_code_nobody_has_is_not_run_without_a_yes(drivebay, bench, edited, user_plugins):
    mine = user_plugins / "mine"
    edited.rename(mine)
    manifest = mine / "plugin.yaml"
    manifest.write_text(manifest.read_text().replace("name: keithley_2400", "name: mine", 1))
    with Bay() as bay, bay.open(bench.resource, plugin="mine") as smu:
        smu.iv_sweep(start_v=0, stop_v=0.5, points=3, compliance_a=0.01)
    (mine / "driver.py").write_text((mine / "driver.py").read_text() + "# newer\n")

    refused = drivebay("runs", "replay", "last")
    as_json = drivebay("runs", "replay", "last", "--json")
    trusted = drivebay("runs", "replay", "last", "--trust")

    assert refused.code == as_json.code == failures.USAGE
    assert trusted.code == failures.OK


def test_what_is_not_there_has_the_codes_of_every_command(drivebay, run):
    assert drivebay("runs", "replay", "nobody").code == failures.NOT_FOUND
    assert drivebay("runs", "replay", "last", "--with", "nobody").code == failures.NOT_FOUND


def test_code_that_cannot_be_loaded_exits_with_5(drivebay, run, edited):
    (edited / "driver.py").write_text("import nothing_of_that_name\n")

    assert drivebay("runs", "replay", "last", "--with", str(edited)).code == failures.PLUGIN
