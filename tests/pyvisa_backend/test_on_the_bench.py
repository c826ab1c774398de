"""What a bench file says of an instrument holds for any program on PyVISA."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyvisa
import yaml

from drivebay import (
    BenchError,
    IdentityError,
    LimitError,
    NoDriverError,
    PluginNotFoundError,
    open_on_bench,
)

SETUP = ":SOUR:FUNC VOLT;:SOUR:VOLT:MODE FIX;:SENS:CURR:PROT 0.01;:SOUR:VOLT 1"
LEFT_ON = """
import os, sys, pyvisa
device = pyvisa.ResourceManager("@drivebay").open_resource("gate", write_termination="\\n")
device.write(sys.argv[1])
device.write(":OUTP ON")
device.query(":OUTP?")
os._exit(1)
"""


@pytest.fixture
def bench(home: Path, server: Any) -> Callable[..., None]:
    """Write a bench file with the simulated 2400 on it."""

    def write(**keys: Any) -> None:
        entry = {"resource": server.resource, "limits": {"voltage_v": [-5, 5]}} | keys
        entry = {key: value for key, value in entry.items() if value is not None}
        text = yaml.safe_dump({"instruments": {"gate": entry}})
        (home / "bench.yaml").write_text(text, encoding="utf-8")

    return write


def test_a_limit_is_held_whichever_name_it_was_opened_by(bench, opened, server, messages):
    bench()

    for name in ("gate", server.resource):
        device = opened(name)
        with pytest.raises(LimitError, match=r"bench\.yaml \(gate\)"):
            device.write(":SOUR:VOLT 6")
        device.close()

    assert not [text for text in messages() if "VOLT 6" in text]


def test_control_within_the_limit_it_measures(bench, opened):
    bench()
    device = opened("gate")
    device.write(SETUP + ";:FORM:ELEM CURR")
    device.write(":OUTP ON")

    assert device.query_ascii_values(":READ?") == [0.001]


def test_control_without_a_bench_nothing_is_limited(opened, server):
    device = opened(server.resource)
    device.write(":SOUR:VOLT 6")

    assert float(device.query(":SOUR:VOLT?")) == 6.0


def test_what_follows_a_refused_command_in_the_same_write_is_not_sent(bench, opened, messages):
    bench()
    device = opened("gate")

    with pytest.raises(LimitError):
        device.write_raw(b":SOUR:VOLT 2\n:SOUR:VOLT 6\n:OUTP ON\n")

    assert float(device.query(":SOUR:VOLT?")) == 2.0
    assert ":OUTP ON" not in messages()


@pytest.mark.parametrize(("policy", "after"), [("off", 0.0), ("hold", 1.0)])
def test_closing_leaves_the_output_as_the_bench_says(bench, opened, server, policy, after):
    bench(policy=policy, policy_reason="a test" if policy == "hold" else None)
    device = opened("gate")
    device.write(SETUP)
    device.write(":OUTP ON")
    device.close()

    assert server.instrument.output_levels()[0] == after


@pytest.mark.slow
def test_when_the_program_dies_its_output_goes_off(bench, server):
    bench()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    subprocess.run([sys.executable, "-c", LEFT_ON, SETUP], env=environment, check=False)

    server.log.wait_for("output_on")
    server.log.wait_for("output_off")


def test_another_instrument_than_the_pinned_one_is_not_opened(bench, opened, server, messages):
    bench(identity={"serial": "999"})

    with pytest.raises(IdentityError, match="999"):
        opened("gate")
    assert messages() == ["*IDN?"]


def test_limits_on_an_instrument_whose_commands_nobody_knows_keep_it_closed(
    bench, opened, server, monkeypatch
):
    bench()
    monkeypatch.setattr(server.instrument, "identity", "ACME,MODEL 9,1,1")

    with pytest.raises(NoDriverError, match="no plugin knows"):
        opened("gate")


def test_a_bench_file_that_cannot_be_read_keeps_everything_closed(home, opened, server):
    (home / "bench.yaml").write_text("instruments: [", encoding="utf-8")

    with pytest.raises(BenchError):
        opened(server.resource)


def test_a_name_on_the_bench_is_an_alias_and_its_address_is_listed(bench, manager, server):
    bench()

    info = manager.resource_info("gate")

    assert (info.alias, info.resource_class) == ("gate", "SOCKET")
    assert server.resource in manager.list_resources("?*")
    with pytest.raises(pyvisa.VisaIOError):
        manager.open_bare_resource("drain")


def test_an_instrument_of_the_bench_can_be_opened_without_pyvisa_too(bench):
    bench(limits=None, plugin="keithley_2400")

    with open_on_bench("gate") as link:
        assert link.query(":OUTP?") == "0"
        assert link.session.status()["plugin"] == "keithley_2400 1.0.0"


def test_no_plugin_code_runs_in_a_program_that_brings_its_own(
    bench, home, opened, write_plugin, monkeypatch
):
    monkeypatch.delenv("SEEN_BY_OWNER", raising=False)
    source = "import os\nos.environ['SEEN_BY_OWNER'] = '1'\n"
    keys = {"supported_models": ["2400"], "supported_methods": ["answer"]}
    write_plugin(home / "plugins", "curious", driver_source=source, **keys)
    bench(plugin="curious", limits=None)

    assert opened("gate").query("*IDN?").startswith("KEITHLEY")
    assert "SEEN_BY_OWNER" not in os.environ


def test_a_plugin_that_the_bench_names_and_nobody_knows_keeps_it_closed(bench, opened):
    bench(plugin="keithly_2400")

    with pytest.raises(PluginNotFoundError, match="keithley_2400"):
        opened("gate")
