"""What the 2400's commands do that is more than storing one setting.

Promises: a command that is refused changes nothing and raises the error the instrument would queue.
Never talks to a client: answers are returned.

From the 2400 Series User's Manual, sections 16 to 18. Error numbers from appendix B, table B-1. Where the manual
does not say which number a refusal has, SCPI's own is used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from drivebay.sim.keithley2400.factories import limit_named, none, only
from drivebay.sim.keithley2400.settings import (
    ELEMENTS,
    MAX_LIST_LINE,
    MAX_READINGS,
    Sense,
    Source,
    defaults,
)
from drivebay.sim.parameters import (
    bounded,
    choice,
    number,
    numbers,
    readings_text,
    setting_text,
    string,
    switch,
)
from drivebay.sim.status import error_text
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2400.instrument import Keithley2400

Write = Callable[["Keithley2400", list[str]], None]
Query = Callable[["Keithley2400", list[str]], str]
_UNIT = {"VOLT": "V", "CURR": "A"}
_FUNCTIONS = ("VOLTage[:DC]", "CURRent[:DC]", "RESistance")


def _source(inst: Keithley2400, key: str) -> Source:
    return inst.settings.volt if key == "VOLT" else inst.settings.curr


def _sense(inst: Keithley2400, key: str) -> Sense:
    return inst.settings.sense_volt if key == "VOLT" else inst.settings.sense_curr


def _largest(inst: Keithley2400, key: str) -> float:
    return inst.model.max_voltage_v if key == "VOLT" else inst.model.max_current_a


def _range_for(inst: Keithley2400, key: str, level: float) -> float:
    return inst.model.voltage_range(level) if key == "VOLT" else inst.model.current_range(level)


def _check_power(inst: Keithley2400, key: str, source_range: float, limit: float) -> None:
    """Error +826: source range and compliance together leave the operating boundaries (section 6)."""
    if key != inst.settings.function:
        return
    volts, amps = (source_range, limit) if key == "VOLT" else (limit, source_range)
    if not inst.model.allows(volts, amps):
        raise ScpiError(826)


def _opposite(key: str) -> str:
    return "CURR" if key == "VOLT" else "VOLT"


# Common commands


def nothing(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)


def clear_status(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.status.clear()


def operation_complete(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.operation_complete()


def set_event_enable(inst: Keithley2400, arguments: list[str]) -> None:
    inst.status.standard.enable = int(bounded(only(arguments), 0, 255, 0))


def set_service_enable(inst: Keithley2400, arguments: list[str]) -> None:
    inst.status.service_enable = int(bounded(only(arguments), 0, 255, 0)) & ~64


def take_standard_event(inst: Keithley2400, arguments: list[str]) -> str:
    none(arguments)
    return str(inst.status.standard.take_event())


def reset(inst: Keithley2400, arguments: list[str]) -> None:
    none(arguments)
    inst.reset()


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
    """``:CONFigure:<function>``: one function, its defaults, one reading, output on (section 17)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        none(arguments)
        s, fresh = inst.settings, defaults(inst.model)
        s.functions = [key]
        if key == "RES":
            s.ohm_mode, s.ohm_auto_range, s.ohm_range = "AUTO", True, fresh.ohm_range
        else:
            _sense(inst, key).auto_range = True
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


# SOURce


def set_source_function(inst: Keithley2400, arguments: list[str]) -> None:
    chosen = choice(only(arguments), ("VOLTage", "CURRent"))
    if chosen == inst.settings.function:
        return
    # Changing the source function turns the output off (section 18, "Select function modes").
    inst.set_output(False, "source function")
    inst.settings.function = chosen


def set_source_mode(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _source(inst, key).mode = choice(only(arguments), ("FIXed", "SWEep", "LIST"))

    return write


def source_mode(key: str) -> Query:
    return lambda inst, arguments: _source(inst, key).mode


def _checked_level(inst: Keithley2400, key: str, text: str) -> float:
    source, largest = _source(inst, key), _largest(inst, key)
    value = bounded(text, -largest, largest, 0.0, _UNIT[key])
    if not source.auto_range and abs(value) > source.range * 1.000001:
        raise ScpiError(-222)
    if source.auto_range:
        chosen = _range_for(inst, key, value)
        _check_power(inst, key, chosen, _sense(inst, _opposite(key)).limit)
        source.range = chosen
    return value


def set_level(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        inst.set_level(key, _checked_level(inst, key, only(arguments)))

    return write


def level(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        largest = _largest(inst, key)
        named = limit_named(arguments, -largest, largest, 0.0)
        return setting_text(_source(inst, key).level if named is None else named)

    return query


def set_triggered_level(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _source(inst, key).triggered_level = _checked_level(inst, key, only(arguments))

    return write


def triggered_level(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = _source(inst, key)
        return setting_text(
            source.level if source.triggered_level is None else source.triggered_level
        )

    return query


def set_source_range(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        text, source, largest = only(arguments).upper(), _source(inst, key), _largest(inst, key)
        if text in {"UP", "DOWN"}:
            chosen = _next_range(inst, key, source.range, text == "UP")
        else:
            default = _source_default(inst, key)
            value = bounded(text, -largest, largest, default, _UNIT[key])
            chosen = _range_for(inst, key, 0.0 if text in {"MIN", "MINIMUM"} else value)
        _check_power(inst, key, chosen, _sense(inst, _opposite(key)).limit)
        source.range, source.auto_range = chosen, False
        if abs(source.level) > chosen:
            inst.set_level(key, math.copysign(chosen, source.level))

    return write


def _source_default(inst: Keithley2400, key: str) -> float:
    fresh = defaults(inst.model)
    return fresh.volt.range if key == "VOLT" else fresh.curr.range


def _next_range(inst: Keithley2400, key: str, now: float, up: bool) -> float:
    ranges = inst.model.voltage_ranges_v if key == "VOLT" else inst.model.current_ranges_a
    full = [_range_for(inst, key, nominal) for nominal in ranges]
    place = full.index(now) + (1 if up else -1)
    return full[min(max(place, 0), len(full) - 1)]


def source_range(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        low, high = _range_for(inst, key, 0.0), _largest(inst, key)
        named = limit_named(arguments, low, high, _source_default(inst, key))
        return setting_text(_source(inst, key).range if named is None else named)

    return query


def set_source_auto(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source = _source(inst, key)
        source.auto_range = switch(only(arguments))
        if source.auto_range:
            source.range = _range_for(inst, key, source.level)

    return write


def source_auto(key: str) -> Query:
    return lambda inst, arguments: setting_text(_source(inst, key).auto_range)


def _sweep_value(inst: Keithley2400, key: str, text: str) -> float:
    largest = _largest(inst, key)
    return bounded(text, -largest, largest, 0.0, _UNIT[key])


def set_edge(key: str, name: str) -> Write:
    """``STARt`` and ``STOP``."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        setattr(_source(inst, key), name, _sweep_value(inst, key, only(arguments)))

    return write


def edge(key: str, name: str) -> Query:
    return lambda inst, arguments: setting_text(float(getattr(_source(inst, key), name)))


def _set_edges(inst: Keithley2400, key: str, center: float, span: float) -> None:
    source, largest = _source(inst, key), _largest(inst, key)
    start, stop = center - span / 2, center + span / 2
    if max(abs(start), abs(stop)) > largest:
        raise ScpiError(-222)
    source.start, source.stop = start, stop


def set_center(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source = _source(inst, key)
        _set_edges(inst, key, _sweep_value(inst, key, only(arguments)), source.stop - source.start)

    return write


def center(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = _source(inst, key)
        return setting_text((source.start + source.stop) / 2)

    return query


def set_span(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        source, largest = _source(inst, key), _largest(inst, key)
        value = bounded(only(arguments), -2 * largest, 2 * largest, 0.0, _UNIT[key])
        _set_edges(inst, key, (source.start + source.stop) / 2, value)

    return write


def span(key: str) -> Query:
    return lambda inst, arguments: setting_text(_source(inst, key).stop - _source(inst, key).start)


def set_step(key: str) -> Write:
    """``STEP``: sets the number of points; start, stop and step must fit (section 18)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest, source = _largest(inst, key), _source(inst, key)
        step_ = bounded(only(arguments), -2 * largest, 2 * largest, 0.0, _UNIT[key])
        if step_ == 0 or (source.stop - source.start) / step_ < 0:
            raise ScpiError(-221)
        points = math.floor((source.stop - source.start) / step_ + 1e-6) + 1
        if not 2 <= points <= MAX_READINGS:
            raise ScpiError(-222)
        inst.settings.sweep_points = points

    return write


def step(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        source = _source(inst, key)
        return setting_text((source.stop - source.start) / max(inst.settings.sweep_points - 1, 1))

    return query


def _list_values(inst: Keithley2400, key: str, arguments: list[str]) -> list[float]:
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if len(arguments) > MAX_LIST_LINE:
        raise ScpiError(-223)
    values = numbers(arguments, _UNIT[key])
    largest = max(map(abs, values))
    if largest > _largest(inst, key):
        raise ScpiError(-222)
    source = _source(inst, key)
    if not source.auto_range and inst.settings.sweep_ranging == "FIX" and largest > source.range:
        raise ScpiError(-222)
    return values


def set_list(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _source(inst, key).points = _list_values(inst, key, arguments)

    return write


def append_list(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        values, source = _list_values(inst, key, arguments), _source(inst, key)
        if len(source.points) + len(values) > MAX_READINGS:
            raise ScpiError(-223)
        source.points = source.points + values

    return write


def source_list(key: str) -> Query:
    return lambda inst, arguments: readings_text(_source(inst, key).points)


def list_points(key: str) -> Query:
    return lambda inst, arguments: str(len(_source(inst, key).points))


def set_list_start(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _source(inst, key).list_start = int(bounded(only(arguments), 1, MAX_READINGS, 1))

    return write


def list_start(key: str) -> Query:
    return lambda inst, arguments: str(_source(inst, key).list_start)


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


# SENSe


def _function_of(text: str) -> str:
    name = string(text).strip().upper()
    for key, spelled in (("VOLT", _FUNCTIONS[0]), ("CURR", _FUNCTIONS[1]), ("RES", _FUNCTIONS[2])):
        long = spelled.partition("[")[0].upper()
        tails = ("", ":DC") if "[" in spelled else ("",)
        if name in {head + tail for head in (key, long) for tail in tails}:
            return key
    raise ScpiError(-224)


def functions_on(inst: Keithley2400, arguments: list[str]) -> None:
    if not arguments:
        raise ScpiError(-109)
    wanted = [_function_of(text) for text in arguments]
    s = inst.settings
    if not s.concurrent and len(wanted) > 1:
        raise ScpiError(-108)
    s.functions = wanted if not s.concurrent else list(dict.fromkeys([*s.functions, *wanted]))


def functions_off(inst: Keithley2400, arguments: list[str]) -> None:
    unwanted = {_function_of(text) for text in arguments}
    inst.settings.functions = [key for key in inst.settings.functions if key not in unwanted]


def all_functions_on(inst: Keithley2400) -> None:
    if not inst.settings.concurrent:
        raise ScpiError(-221)
    inst.settings.functions = ["VOLT", "CURR", "RES"]


def all_functions_off(inst: Keithley2400) -> None:
    inst.settings.functions = []


def _named(keys: list[str]) -> str:
    names = {"VOLT": '"VOLT:DC"', "CURR": '"CURR:DC"', "RES": '"RES"'}
    return ",".join(name for key, name in names.items() if key in keys)


def functions(inst: Keithley2400, arguments: list[str]) -> str:
    return _named(inst.settings.functions)


def functions_not_on(inst: Keithley2400, arguments: list[str]) -> str:
    return _named([key for key in ("VOLT", "CURR", "RES") if key not in inst.settings.functions])


def set_sense_range(key: str) -> Write:
    """A fixed measure range, not above the compliance range (section 18, "Select measurement range")."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        text, sense, largest = only(arguments).upper(), _sense(inst, key), _largest(inst, key)
        if text in {"UP", "DOWN"}:
            chosen = _next_range(inst, key, sense.range, text == "UP")
        else:
            default = 1.05e-4 if key == "CURR" else 21.0
            value = bounded(text, -largest, largest, min(default, largest), _UNIT[key])
            chosen = _range_for(inst, key, 0.0 if text in {"MIN", "MINIMUM"} else value)
        if key != inst.settings.function and chosen > _range_for(inst, key, sense.limit) * 1.000001:
            raise ScpiError(824)
        sense.range, sense.auto_range = chosen, False

    return write


def sense_range(key: str) -> Query:
    """While a function is sourced, its measure range is the source range (section 18)."""

    def query(inst: Keithley2400, arguments: list[str]) -> str:
        low, high = _range_for(inst, key, 0.0), _largest(inst, key)
        named = limit_named(arguments, low, high, 1.05e-4 if key == "CURR" else 21.0)
        if named is not None:
            return setting_text(named)
        sourced = key == inst.settings.function
        return setting_text(_source(inst, key).range if sourced else _sense(inst, key).range)

    return query


def set_sense_auto(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _sense(inst, key).auto_range = switch(only(arguments))

    return write


def sense_auto(key: str) -> Query:
    return lambda inst, arguments: setting_text(_sense(inst, key).auto_range)


def set_lower_limit(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest = _largest(inst, key)
        _sense(inst, key).lower_limit = abs(
            bounded(only(arguments), -largest, largest, 0.0, _UNIT[key])
        )

    return write


def lower_limit(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        return setting_text(_range_for(inst, key, _sense(inst, key).lower_limit))

    return query


def upper_limit(key: str) -> Query:
    return lambda inst, arguments: setting_text(_range_for(inst, key, _sense(inst, key).limit))


def set_limit(key: str) -> Write:
    """Compliance, within the operating boundaries; its sign is ignored (section 6, "Compliance limit")."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest, sense = _largest(inst, key), _sense(inst, key)
        default = 1.05e-4 if key == "CURR" else 21.0
        value = abs(bounded(only(arguments), -largest, largest, default, _UNIT[key]))
        if key != inst.settings.function:
            source_key = _opposite(key)
            _check_power(inst, source_key, _source(inst, source_key).range, value)
        # A fixed measure range can limit a thousandth of itself at the least (appendix B, +822).
        if not sense.auto_range and key in inst.settings.functions and value < sense.range / 1050:
            raise ScpiError(822)
        sense.limit = value
        if not sense.auto_range and sense.synchronised:
            sense.range = _range_for(inst, key, value)

    return write


def limit(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        largest = _largest(inst, key)
        named = limit_named(arguments, -largest, largest, 1.05e-4 if key == "CURR" else 21.0)
        return setting_text(_sense(inst, key).limit if named is None else named)

    return query


def tripped(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        return setting_text(key != inst.settings.function and inst.in_compliance())

    return query


def set_synchronised(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        _sense(inst, key).synchronised = switch(only(arguments))

    return write


def synchronised(key: str) -> Query:
    return lambda inst, arguments: setting_text(_sense(inst, key).synchronised)


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


def next_error(inst: Keithley2400, arguments: list[str]) -> str:
    none(arguments)
    return error_text(inst.status.errors.take())


def all_errors(inst: Keithley2400, arguments: list[str]) -> str:
    return _drained(inst, error_text)


def all_error_codes(inst: Keithley2400, arguments: list[str]) -> str:
    return _drained(inst, str)


def _drained(inst: Keithley2400, spell: Callable[[int], str]) -> str:
    errors = inst.status.errors
    texts = [spell(errors.take()) for _ in range(max(len(errors), 1))]
    return ",".join(texts)


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
