"""A protection that was sent counts only once the instrument has said that it has it."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import drivebay
from drivebay import Bay, LimitError, PluginMetadata
from drivebay._core.keeper.held import Held
from drivebay._core.keeper.records import Lease
from drivebay._core.keeper.setup import Setup
from drivebay._core.limits import Guard
from drivebay._core.links import parse_resource
from drivebay.sim import Keithley2400Server, Resistor

FOLDER = Path(drivebay.__file__).parent / "drivers/keithley_2400"
MANIFEST = PluginMetadata.from_yaml(FOLDER / "plugin.yaml")
LIMITS = {"voltage_v": (-10, 10), "current_a": (-0.01, 0.01)}
READY = (":SOUR:FUNC VOLT", ":SOUR:VOLT:MODE FIX", ":SENS:CURR:PROT 0.005", ":SOUR:VOLT 1")


class Stubborn:
    """An instrument that does not take its protection: it keeps 0.1 A and lists an error."""

    def __init__(self) -> None:
        self.protection = "0.1"
        self.errors: list[str] = []
        self.says = True
        self.lists_errors = True

    def __call__(self, line: str) -> str | None:
        if line.startswith(":SENS:CURR:PROT ") and self.lists_errors:
            self.errors.append('-222,"Parameter data out of range"')
        elif line == "*CLS":
            self.errors.clear()
        elif line == ":SENS:CURR:PROT?":
            return self.protection if self.says else None
        elif line.endswith(":SYST:ERR?"):
            return self.errors.pop(0) if self.errors else '0,"No error"'
        elif line == ":OUTP?":
            return "0"
        return "ACME,Model 1,1,1" if "?" in line else None


Holding = Callable[..., Held]


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Holding]:
    """Hold an instrument as the keeper does, limited to 10 V and 10 mA."""
    with contextlib.ExitStack() as undo:

        def hold(resource: str, strict: bool = True) -> Held:
            lease = Lease.take(tmp_path, resource, {})
            undo.callback(lease.release)
            held = Held(resource, {}, lease, tmp_path, {}, lambda event: None)
            guard = Guard(
                MANIFEST.dialect, LIMITS, strict=strict, subject="smu1", source="bench.yaml"
            )
            safe = {**(MANIFEST.safe_state or {}), "deadline_s": 0.3}
            held.setup = Setup(safe_state=safe, guard=guard, knows_energising=True)
            undo.callback(held.park)
            return held

        yield hold


@pytest.fixture
def stubborn(line_instrument: Any) -> tuple[Any, Stubborn]:
    behaviour = Stubborn()
    return line_instrument(behaviour), behaviour


def asked(instrument: Any) -> int:
    return sum(line == ":SENS:CURR:PROT?" for line in instrument.lines)


def test_a_protection_that_the_instrument_refused_does_not_count(stubborn, holding):
    instrument, _ = stubborn
    held = holding(instrument.resource)
    held.write_each(READY)

    with pytest.raises(LimitError, match=r"says '0.1'") as refused:
        held.write(":OUTP ON")

    assert refused.value.code == "L008"
    assert ":OUTP ON" not in instrument.lines
    assert not held.armed


def test_control_a_protection_that_it_has_is_asked_for_once(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.protection = "5.000000E-03"
    held = holding(instrument.resource)
    held.write_each(READY)

    held.write(":OUTP ON")
    held.write(":OUTP ON")

    assert asked(instrument) == 1
    assert held.armed


def test_an_empty_list_of_errors_confirms_what_was_set_before(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.lists_errors = False
    held = holding(instrument.resource)
    held.write_each(READY)
    held.query(":SYST:ERR?")

    held.write(":OUTP ON")

    assert asked(instrument) == 0


@pytest.mark.parametrize(
    "take_it",
    [
        lambda held: [held.query(":SYST:ERR?"), held.query(":SYST:ERR?")],
        lambda held: [held.write("*CLS"), held.query(":SYST:ERR?")],
        lambda held: [held.write(":SYST:ERR?"), held.read(), held.query(":SYST:ERR?")],
        lambda held: [held.query("*IDN?;:SYST:ERR?"), held.query(":SYST:ERR?")],
    ],
    ids=["read", "cleared", "read by hand", "read among others"],
)
def test_a_list_of_errors_that_somebody_emptied_confirms_nothing(stubborn, holding, take_it):
    instrument, _ = stubborn
    held = holding(instrument.resource)
    held.write_each(READY)
    take_it(held)

    with pytest.raises(LimitError, match=r"says '0.1'"):
        held.write(":OUTP ON")

    assert asked(instrument) == 1


class OnALine:
    """The same instrument on a serial line, which stays open when it loses its power."""

    def __init__(self, behaviour: Stubborn) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.resource = f"ASRL{os.ttyname(self.slave)}::INSTR"
        self.lines: list[str] = []
        self._behaviour = behaviour
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while True:
                *whole, rest = (rest + os.read(self.master, 4096)).split(b"\n")
                for line in map(bytes.decode, whole):
                    self.lines.append(line)
                    answer = self._behaviour(line)
                    if answer is not None:
                        os.write(self.master, answer.encode() + b"\n")


@pytest.fixture
def on_a_line() -> Iterator[tuple[OnALine, Stubborn]]:
    behaviour = Stubborn()
    behaviour.protection = "0.005"
    behaviour.lists_errors = False
    instrument = OnALine(behaviour)
    yield instrument, behaviour
    os.close(instrument.slave)
    os.close(instrument.master)


def on_and_off(held: Held) -> None:
    held.write_each(READY)
    held.query(":SYST:ERR?")
    held.write(":OUTP ON")
    held.write(":OUTP OFF")
    assert held.query(":OUTP?") == "0"


def test_on_a_line_a_protection_lost_with_the_power_is_noticed_before_the_next_on(
    on_a_line, holding
):
    instrument, behaviour = on_a_line
    held = holding(parse_resource(instrument.resource).text)
    on_and_off(held)
    behaviour.protection = "0.1"  # switched off and on: as it came from its maker
    held.query(":SYST:ERR?")

    with pytest.raises(LimitError, match=r"says '0.1'"):
        held.write(":OUTP ON")

    on_and_off(held)  # set anew, it is believed anew


def test_control_a_connection_that_would_have_broken_needs_no_such_question(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.lists_errors = False
    held = holding(instrument.resource)
    on_and_off(held)

    held.write(":OUTP ON")

    assert asked(instrument) == 0


ALL_IN_ONE = ":SENS:CURR:PROT 0.005;:OUTP ON"


def test_a_protection_in_one_message_with_what_switches_on_is_asked_for_after_it(stubborn, holding):
    instrument, _ = stubborn
    held = holding(instrument.resource)
    held.write_each(READY[:2])
    held.write(":SOUR:VOLT 1")

    with pytest.raises(LimitError, match=r"says '0.1'"):
        held.write(ALL_IN_ONE)

    after = instrument.lines[instrument.lines.index(ALL_IN_ONE) + 1 :]
    assert after[:3] == [":SENS:CURR:PROT?", ":ABOR", ":OUTP OFF"]
    assert held.state == "safe"


def test_control_one_that_was_taken_in_such_a_message_leaves_it_on(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.protection = "0.005"
    held = holding(instrument.resource)
    held.write_each(READY[:2])
    held.write(":SOUR:VOLT 1")

    held.write(ALL_IN_ONE)

    assert asked(instrument) == 1
    assert held.state == "energised"


def test_a_driver_that_reads_its_protection_back_has_confirmed_it(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.protection = "0.005"
    held = holding(instrument.resource)
    held.write_each(READY)
    held.query(":SENS:CURR:PROT?")

    held.write(":OUTP ON")

    assert asked(instrument) == 1


def test_a_protection_that_is_set_again_is_confirmed_again(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.protection = "0.005"
    held = holding(instrument.resource)
    held.write_each(READY)
    held.write(":OUTP ON")
    held.write(":OUTP OFF")
    behaviour.protection = "0.1"

    held.write(":SENS:CURR:PROT 0.002")

    with pytest.raises(LimitError, match="was not taken"):
        held.write(":OUTP ON")


def test_an_instrument_that_does_not_say_is_not_switched_on(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.says = False
    held = holding(instrument.resource)
    held.write_each(READY)

    with pytest.raises(LimitError, match="does not say what became of it"):
        held.write(":OUTP ON")


def test_an_answer_that_somebody_waits_for_is_not_thrown_away_for_the_question(stubborn, holding):
    instrument, behaviour = stubborn
    behaviour.protection = "0.005"
    held = holding(instrument.resource)
    held.write_each(READY)
    held.write("*IDN?")

    with pytest.raises(LimitError, match="does not say"):
        held.write(":OUTP ON")

    assert held.read() == "ACME,Model 1,1,1"
    held.write(":OUTP ON")


def test_without_limits_of_a_bench_nothing_is_asked(stubborn, holding):
    instrument, _ = stubborn
    held = holding(instrument.resource, strict=False)
    held.write_each(READY)

    held.write(":OUTP ON")

    held.query("*IDN?")
    assert asked(instrument) == 0


def sweep(tmp_path: Path, name: str, limits: dict[str, Any] | None) -> list[str]:
    """What a sweep of the built-in driver says to the instrument, with or without limits."""
    with Keithley2400Server(device=Resistor(1e3), time_scale=0.0, log_traffic=True) as server:
        smu1 = {"resource": server.resource} | ({"limits": limits} if limits else {})
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"instruments": {"smu1": smu1}}))
        with Bay(bench=path) as bay:
            run = bay.open("smu1").iv_sweep(start_v=0, stop_v=1, points=11, compliance_a=0.01)

        assert run.state == "done"
        return [event["text"] for event in server.log.named("message")]


def test_a_driver_that_checks_its_errors_is_asked_nothing_more_under_limits(tmp_path):
    limits = {"voltage_v": [-1, 1], "current_a": [-0.01, 0.01]}

    limited, free = sweep(tmp_path, "limited", limits), sweep(tmp_path, "free", None)

    assert ":OUTP ON" in limited
    assert limited == free
