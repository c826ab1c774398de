"""Handlers of the commands that are neither SOURce nor SENSe.

Promises: a command that is refused changes nothing and raises the error the instrument would queue.
Never talks to a client: answers are returned.

From the 2400 Series User's Manual, sections 16 to 18. Error numbers from appendix B, table B-1.
Where the manual does not say which number a refusal has, SCPI's own is used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivebay.sim.declaring import limit_named, none, only
from drivebay.sim.keithley2400.functions import Query, Write, sense_of
from drivebay.sim.keithley2400.sensing import functions
from drivebay.sim.keithley2400.settings import ELEMENTS, MAX_READINGS, defaults
from drivebay.sim.parameters import (
    bounded,
    choice,
    number,
    readings_text,
    setting_text,
    string,
    switch,
)
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2400.instrument import Keithley2400


# Common commands


def save(inst: Keithley2400, arguments: list[str]) -> None:
    inst.memories[int(bounded(only(arguments), 0, 4, 0))] = copy.deepcopy(inst.settings)


def recall(inst: Keithley2400, arguments: list[str]) -> None:
    inst.recall(int(bounded(only(arguments), 0, 4, 0)))


def bus_trigger(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.bus_trigger()


# Signal oriented commands


def abort(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.abort()


def initiate(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.initiate()


def read(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.read()


def fetch(inst: Keithley2400, arguments: list[str]) -> bytes:
    none(arguments)
    return inst.fetch()


def latest(inst: Keithley2400, arguments: list[str]) -> bytes:
    none(arguments)
    return inst.fetch(inst.readings.last(1))


def active_functions(inst: Keithley2400, arguments: list[str]) -> str:
    return functions(inst, arguments)


def configure(key: str) -> Write:
    """``:CONFigure``: one function, its defaults, one reading, output on (section 17)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        none(arguments)
        s, fresh = inst.settings, defaults(inst.model)
        s.functions = [key]
        if key == "RES":
            s.ohm_mode, s.ohm_auto_range, s.ohm_range = "AUTO", True, fresh.ohm_range
        else:
            sense_of(inst, key).auto_range = True
        s.nplc, s.average, s.auto_zero = fresh.nplc, False, "ON"
        s.arm_source = s.trigger_source = "IMM"
        s.arm_count = s.trigger_count = 1
        s.trigger_delay_s = 0.0
        inst.trace.set_storing(False) if inst.trace.storing else None
        inst.set_output(True)

    return write


def measure(key: str) -> Callable[[Keithley2400, list[str]], None]:
    """``:MEASure:<function>?``: configure and read."""
    prepare = configure(key)

    def query(inst: Keithley2400, arguments: list[str]) -> None:
        prepare(inst, arguments)
        inst.read()

    return query


def measure_present(inst: Keithley2400, arguments: list[str]) -> None:
    """``:MEASure?``: configure for the function selected now, and read."""
    functions_now = inst.settings.functions
    measure(functions_now[0] if functions_now else "CURR")(inst, arguments)


# OUTPut


def set_output(inst: Keithley2400, arguments: list[str]) -> None:
    inst.set_output(switch(only(arguments)))


# ARM and TRIGger


def set_arm_count(inst: Keithley2400, arguments: list[str]) -> None:
    text = only(arguments)
    if text.upper() in {"INF", "INFINITE"}:
        inst.settings.arm_count = math.inf
        return
    value = int(bounded(text, 1, MAX_READINGS, 1))
    if value * inst.settings.trigger_count > MAX_READINGS:
        raise ScpiError(-222)
    inst.settings.arm_count = value


def arm_count(inst: Keithley2400, arguments: list[str]) -> str:
    named = limit_named(arguments, 1, MAX_READINGS, 1)
    return setting_text(inst.settings.arm_count if named is None else int(named))


def set_trigger_count(inst: Keithley2400, arguments: list[str]) -> None:
    """The product of both finite counts is at most 2500 (section 11, "Counters")."""
    value = int(bounded(only(arguments), 1, MAX_READINGS, 1))
    arms = inst.settings.arm_count
    if math.isfinite(arms) and value * arms > MAX_READINGS:
        raise ScpiError(-222)
    inst.settings.trigger_count = value


def trigger_count(inst: Keithley2400, arguments: list[str]) -> str:
    named = limit_named(arguments, 1, MAX_READINGS, 1)
    return str(inst.settings.trigger_count if named is None else int(named))


# FORMat


def set_data_format(inst: Keithley2400, arguments: list[str]) -> None:
    """``ASCii``, ``REAL,32`` or ``SREal``."""
    if not arguments:
        raise ScpiError(-109)
    chosen = choice(arguments[0], ("ASCii", "REAL", "SREal"))
    if chosen == "REAL":
        if len(arguments) > 1 and number(arguments[1]) != 32:
            raise ScpiError(-224)
    elif len(arguments) > 1:
        raise ScpiError(-108)
    inst.format.data = "ASC" if chosen == "ASC" else "REAL"


def data_format(inst: Keithley2400, arguments: list[str]) -> str:
    return "ASC" if inst.format.data == "ASC" else "REAL,32"


def set_elements(inst: Keithley2400, arguments: list[str]) -> None:
    if not arguments:
        raise ScpiError(-109)
    names = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
    chosen = {choice(text, names) for text in arguments}
    inst.format.elements = tuple(name for name in ELEMENTS if name in chosen)


def elements(inst: Keithley2400, arguments: list[str]) -> str:
    return ",".join(inst.format.elements)


def set_byte_order(inst: Keithley2400, arguments: list[str]) -> None:
    inst.format.swapped = choice(only(arguments), ("NORMal", "SWAPped")) == "SWAP"


def set_status_format(inst: Keithley2400, arguments: list[str]) -> None:
    inst.format.status_format = choice(only(arguments), ("ASCii", "HEXadecimal", "OCTal", "BINary"))


def _status_value(inst: Keithley2400, value: int) -> str:
    styles = {"ASC": "{:d}", "HEX": "#H{:X}", "OCT": "#Q{:o}", "BIN": "#B{:b}"}
    return styles[inst.format.status_format].format(value)


# TRACe


def trace_data(inst: Keithley2400, arguments: list[str]) -> bytes:
    none(arguments)
    return inst.fetch(inst.trace.stored())


def set_trace_points(inst: Keithley2400, arguments: list[str]) -> None:
    inst.trace.set_size(int(bounded(only(arguments), 1, MAX_READINGS, 100)))


def trace_points(inst: Keithley2400, arguments: list[str]) -> str:
    named = limit_named(arguments, 1, MAX_READINGS, 100)
    return str(inst.trace.size if named is None else int(named))


def set_trace_feed(inst: Keithley2400, arguments: list[str]) -> None:
    """Raw readings only: the CALCulate feeds are not simulated."""
    if inst.trace.storing:
        raise ScpiError(800)
    choice(only(arguments).removesuffix("1"), ("SENSe",))


def set_trace_control(inst: Keithley2400, arguments: list[str]) -> None:
    inst.trace.set_storing(choice(only(arguments), ("NEXT", "NEVer")) == "NEXT")


def trace_control(inst: Keithley2400, arguments: list[str]) -> str:
    return "NEXT" if inst.trace.storing else "NEV"


def set_trace_times(inst: Keithley2400, arguments: list[str]) -> None:
    inst.trace.delta_times = choice(only(arguments), ("ABSolute", "DELTa")) == "DELT"


def trace_times(inst: Keithley2400, arguments: list[str]) -> str:
    return "DELT" if inst.trace.delta_times else "ABS"


def set_statistic(inst: Keithley2400, arguments: list[str]) -> None:
    names = ("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK")
    inst.trace.statistic = choice(only(arguments), names)


def statistic_data(inst: Keithley2400, arguments: list[str]) -> str:
    none(arguments)
    return readings_text(inst.trace.statistics())


# STATus and SYSTem


def take_event(name: str) -> Query:
    return lambda inst, arguments: _status_value(inst, getattr(inst.status, name).take_event())


def condition(name: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        return _status_value(inst, getattr(inst.status, name).condition)

    return query


def set_enable(name: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        getattr(inst.status, name).enable = int(bounded(only(arguments), 0, 65535, 0)) & 0x7FFF

    return write


def enable(name: str) -> Query:
    return lambda inst, arguments: _status_value(inst, getattr(inst.status, name).enable)


def all_error_codes(inst: Keithley2400, arguments: list[str]) -> str:
    none(arguments)
    errors = inst.status.errors
    return ",".join(str(errors.take()) for _ in range(max(len(errors), 1)))


def reset_time(inst: Keithley2400) -> None:
    inst.time_zero_s = inst.clock.now_s()


def set_auto_zero(inst: Keithley2400, arguments: list[str]) -> None:
    text = only(arguments).upper()
    if text != "ONCE":
        inst.settings.auto_zero = "ON" if switch(text) else "OFF"


def beep(inst: Keithley2400, arguments: list[str]) -> None:
    """Frequency and duration are checked; a simulator makes no sound."""
    if len(arguments) > 2:
        raise ScpiError(-108)
    for text, low, high in zip(arguments, (65.0, 0.0), (2e6, 7.9), strict=False):
        bounded(text, low, high, low)


def set_beeper(inst: Keithley2400, arguments: list[str]) -> None:
    inst.beeper = switch(only(arguments))


def set_line_frequency(inst: Keithley2400, arguments: list[str]) -> None:
    value = number(only(arguments), "HZ")
    if value not in {50.0, 60.0}:
        raise ScpiError(-222)
    inst.line_frequency_hz = value


def set_line_auto(inst: Keithley2400, arguments: list[str]) -> None:
    inst.line_frequency_auto = switch(only(arguments))


def set_text(inst: Keithley2400, arguments: list[str]) -> None:
    text = string(only(arguments))
    if len(text) > 20:
        raise ScpiError(-223)
    inst.settings.display_text = text
