"""``drivebay sim``: the simulators' own command line, behind ours."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

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


def test_a_port_that_somebody_has_says_what_to_do(start, process):
    running = start("sim", "keithley2400", stdin=subprocess.PIPE)
    port = json.loads(running.stdout.readline())["port"]

    done = process("sim", "keithley2400", "--port", str(port))
    running.communicate("", timeout=60)

    assert done.code == failures.USAGE
    assert "--port 0 takes a free one" in done.err


@pytest.mark.parametrize("port", ["65536", "-1", "usb"])
def test_a_number_that_is_no_port_is_a_usage_error(process, port):
    done = process("sim", "keithley2400", f"--port={port}")

    assert done.code == failures.USAGE
    assert "is not a port: 1 to 65535" in done.err


def test_a_bench_file_that_cannot_be_written_is_named_as_it_was_typed(process, tmp_path):
    gone = tmp_path / "gone" / "bench.yaml"

    done = process("sim", "--all", "--free-ports", "--bench-file", str(gone))

    assert done.code == failures.USAGE
    assert f"{gone} cannot be written: No such file or directory" in done.err


def test_a_whole_bench_is_found_with_the_bench_file_it_writes(start, process, tmp_path):
    bench = tmp_path / "bench.yaml"
    words = ("sim", "--all", "--free-ports", "--json", "--bench-file", str(bench))
    running = start(*words, stdin=subprocess.PIPE)
    ready = json.loads(running.stdout.readline())

    done = process("find", "--bench", str(bench), "--json")

    running.communicate("", timeout=60)
    assert done.code == failures.OK
    found = {each["alias"]: each for each in done.json}
    assert sorted(found) == sorted(each["name"] for each in ready["instruments"])
    assert all(each["idn"] for each in found.values())
    assert {each["resource"] for each in found.values()} == {
        each["resource"] for each in ready["instruments"]
    }
    assert all(any(each["connected"].values()) for each in ready["instruments"])
    assert running.returncode == failures.OK


def test_without_json_a_bench_prints_the_bench_file_itself(start):
    running = start("sim", "--all", "--free-ports", stdin=subprocess.PIPE)

    out = ""
    while "# ready" not in out:
        out += running.stdout.readline()
    running.communicate("", timeout=60)

    assert "instruments" in yaml.safe_load(out)
    assert "transistor.gate" in out


def test_a_circuit_that_is_wrong_is_a_usage_error(process, tmp_path):
    circuit = tmp_path / "circuit.yaml"
    circuit.write_text("instruments: {a: {kind: abacus}}\n", encoding="utf-8")

    done = process("sim", "--circuit", str(circuit))

    assert done.code == failures.USAGE
    assert "no simulator 'abacus'" in done.err
