"""``drivebay sim``: the simulators' own command line, behind ours."""

from __future__ import annotations

import json
import subprocess

from drivebay.cli import failures
from drivebay.driver import open_link


def test_a_simulator_says_where_it_is_and_ends_with_its_input(start):
    running = start("sim", "keithley2400", "--serial-number", "42", stdin=subprocess.PIPE)
    ready = json.loads(running.stdout.readline())

    with open_link(ready["resource"]) as link:
        assert link.query("*IDN?").split(",")[2] == "42"
    out, err = running.communicate("", timeout=60)

    assert running.returncode == failures.OK
    assert (out, err) == ("", "")


def test_its_help_is_the_simulator_s(process):
    done = process("sim", "keithley2400", "--help")

    assert done.code == failures.OK
    assert "--single-connection" in done.out


def test_a_device_that_does_not_exist_is_a_usage_error(process):
    done = process("sim", "keithley2400", "--device", "flux-capacitor")

    assert done.code == failures.USAGE
    assert "flux-capacitor" in done.err
