"""Handlers of the SOURce subsystem: levels, ranges, sweeps and lists.

Promises: a command that is refused changes nothing and raises the error the instrument would queue.
Never measures.

From the 2400 Series User's Manual, section 18, "SOURce subsystem", and section 10 for the sweeps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drivebay.sim.declaring import limit_named, only
from drivebay.sim.keithley2400.functions import (
    UNIT,
    Query,
    Write,
    check_power,
    largest_level,
    next_range,
    opposite,
    range_for,
    sense_of,
    source_of,
)
from drivebay.sim.keithley2400.settings import MAX_LIST_LINE, MAX_READINGS, defaults
from drivebay.sim.parameters import bounded, choice, numbers, readings_text, setting_text, switch
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2400.instrument import Keithley2400


def set_source_function(inst: Keithley2400, arguments: list[str]) -> None:
    chosen = choice(only(arguments), ("VOLTage", "CURRent"))
    if chosen == inst.settings.function:
        return
    # Changing the source function turns the output off (section 18, "Select function modes").
    inst.set_output(False, "source function")
    inst.settings.function = chosen


def set_source_mode(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source_of(inst, key).mode = choice(only(arguments), ("FIXed", "SWEep", "LIST"))

    return write


def source_mode(key: str) -> Query:
    return lambda inst, arguments: source_of(inst, key).mode


def _checked_level(inst: Keithley2400, key: str, text: str) -> float:
    source, largest = source_of(inst, key), largest_level(inst, key)
    value = bounded(text, -largest, largest, 0.0, UNIT[key])
    if not source.auto_range and abs(value) > source.range * 1.000001:
        raise ScpiError(-222)
    if source.auto_range:
        chosen = range_for(inst, key, value)
        check_power(inst, key, chosen, sense_of(inst, opposite(key)).limit)
        source.range = chosen
    return value


def set_level(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        inst.set_level(key, _checked_level(inst, key, only(arguments)))

    return write


def level(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        largest = largest_level(inst, key)
        named = limit_named(arguments, -largest, largest, 0.0)
        return setting_text(source_of(inst, key).level if named is None else named)

    return query


def set_triggered_level(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source_of(inst, key).triggered_level = _checked_level(inst, key, only(arguments))

    return write


def triggered_level(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = source_of(inst, key)
        return setting_text(
            source.level if source.triggered_level is None else source.triggered_level
        )

    return query


def set_source_range(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        text, source, largest = (
            only(arguments).upper(),
            source_of(inst, key),
            largest_level(inst, key),
        )
        if text in {"UP", "DOWN"}:
            chosen = next_range(inst, key, source.range, text == "UP")
        else:
            default = _source_default(inst, key)
            value = bounded(text, -largest, largest, default, UNIT[key])
            chosen = range_for(inst, key, 0.0 if text in {"MIN", "MINIMUM"} else value)
        check_power(inst, key, chosen, sense_of(inst, opposite(key)).limit)
        source.range, source.auto_range = chosen, False
        if abs(source.level) > chosen:
            inst.set_level(key, math.copysign(chosen, source.level))

    return write


def _source_default(inst: Keithley2400, key: str) -> float:
    fresh = defaults(inst.model)
    return fresh.volt.range if key == "VOLT" else fresh.curr.range


def source_range(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        low, high = range_for(inst, key, 0.0), largest_level(inst, key)
        named = limit_named(arguments, low, high, _source_default(inst, key))
        return setting_text(source_of(inst, key).range if named is None else named)

    return query


def set_source_auto(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source = source_of(inst, key)
        source.auto_range = switch(only(arguments))
        if source.auto_range:
            source.range = range_for(inst, key, source.level)

    return write


def source_auto(key: str) -> Query:
    return lambda inst, arguments: setting_text(source_of(inst, key).auto_range)


def _sweep_value(inst: Keithley2400, key: str, text: str) -> float:
    largest = largest_level(inst, key)
    return bounded(text, -largest, largest, 0.0, UNIT[key])


def set_edge(key: str, name: str) -> Write:
    """``STARt`` and ``STOP``."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        setattr(source_of(inst, key), name, _sweep_value(inst, key, only(arguments)))

    return write


def edge(key: str, name: str) -> Query:
    return lambda inst, arguments: setting_text(float(getattr(source_of(inst, key), name)))


def _set_edges(inst: Keithley2400, key: str, center: float, span: float) -> None:
    source, largest = source_of(inst, key), largest_level(inst, key)
    start, stop = center - span / 2, center + span / 2
    if max(abs(start), abs(stop)) > largest:
        raise ScpiError(-222)
    source.start, source.stop = start, stop


def set_center(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source = source_of(inst, key)
        _set_edges(inst, key, _sweep_value(inst, key, only(arguments)), source.stop - source.start)

    return write


def center(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = source_of(inst, key)
        return setting_text((source.start + source.stop) / 2)

    return query


def set_span(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source, largest = source_of(inst, key), largest_level(inst, key)
        value = bounded(only(arguments), -2 * largest, 2 * largest, 0.0, UNIT[key])
        _set_edges(inst, key, (source.start + source.stop) / 2, value)

    return write


def span(key: str) -> Query:
    return lambda inst, arguments: setting_text(
        source_of(inst, key).stop - source_of(inst, key).start
    )


def set_step(key: str) -> Write:
    """``STEP``: sets the number of points; start, stop and step must fit (section 18)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest, source = largest_level(inst, key), source_of(inst, key)
        step_ = bounded(only(arguments), -2 * largest, 2 * largest, 0.0, UNIT[key])
        if step_ == 0 or (source.stop - source.start) / step_ < 0:
            raise ScpiError(-221)
        points = math.floor((source.stop - source.start) / step_ + 1e-6) + 1
        if not 2 <= points <= MAX_READINGS:
            raise ScpiError(-222)
        inst.settings.sweep_points = points

    return write


def step(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = source_of(inst, key)
        return setting_text((source.stop - source.start) / max(inst.settings.sweep_points - 1, 1))

    return query


def _list_values(inst: Keithley2400, key: str, arguments: list[str]) -> list[float]:
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if len(arguments) > MAX_LIST_LINE:
        raise ScpiError(-223)
    values = numbers(arguments, UNIT[key])
    largest = max(map(abs, values))
    if largest > largest_level(inst, key):
        raise ScpiError(-222)
    source = source_of(inst, key)
    if not source.auto_range and inst.settings.sweep_ranging == "FIX" and largest > source.range:
        raise ScpiError(-222)
    return values


def set_list(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source_of(inst, key).points = _list_values(inst, key, arguments)

    return write


def append_list(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        values, source = _list_values(inst, key, arguments), source_of(inst, key)
        if len(source.points) + len(values) > MAX_READINGS:
            raise ScpiError(-223)
        source.points = source.points + values

    return write


def source_list(key: str) -> Query:
    return lambda inst, arguments: readings_text(source_of(inst, key).points)


def list_points(key: str) -> Query:
    return lambda inst, arguments: str(len(source_of(inst, key).points))


def set_list_start(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source_of(inst, key).list_start = int(bounded(only(arguments), 1, MAX_READINGS, 1))

    return write


def list_start(key: str) -> Query:
    return lambda inst, arguments: str(source_of(inst, key).list_start)


def set_protection(inst: Keithley2400, arguments: list[str]) -> None:
    largest = inst.model.max_voltage_v
    text = "MAX" if only(arguments).upper() == "NONE" else only(arguments)
    inst.settings.protection_v = abs(bounded(text, -largest, largest, largest, "V"))


def protection(inst: Keithley2400, arguments: list[str]) -> str:
    return setting_text(inst.settings.protection_v)


def set_source_delay(inst: Keithley2400, arguments: list[str]) -> None:
    """A delay of one's own turns auto delay off (section 18, "Set delay")."""
    inst.settings.source_delay_s = bounded(only(arguments), 0.0, 9999.999, 0.0, "S")
    inst.settings.source_delay_auto = False


def source_delay(inst: Keithley2400, arguments: list[str]) -> str:
    named = limit_named(arguments, 0.0, 9999.999, 0.0)
    return setting_text(inst.settings.source_delay_s if named is None else named)
