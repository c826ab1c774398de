"""Handlers of the SENSe subsystem: functions, measure ranges and compliance.

Promises: a command that is refused changes nothing and raises the error the instrument would queue.
Never sources.

From the 2400 Series User's Manual, section 18, "SENSe1 subsystem"; limits from section 6,
"Compliance limit".
"""

from __future__ import annotations

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
from drivebay.sim.parameters import bounded, setting_text, string, switch
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2400.instrument import Keithley2400

_FUNCTIONS = ("VOLTage[:DC]", "CURRent[:DC]", "RESistance")


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
    """A fixed measure range, not above the compliance range (section 18)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        text, sense, largest = (
            only(arguments).upper(),
            sense_of(inst, key),
            largest_level(inst, key),
        )
        if text in {"UP", "DOWN"}:
            chosen = next_range(inst, key, sense.range, text == "UP")
        else:
            default = 1.05e-4 if key == "CURR" else 21.0
            value = bounded(text, -largest, largest, min(default, largest), UNIT[key])
            chosen = range_for(inst, key, 0.0 if text in {"MIN", "MINIMUM"} else value)
        if key != inst.settings.function and chosen > range_for(inst, key, sense.limit) * 1.000001:
            raise ScpiError(824)
        sense.range, sense.auto_range = chosen, False

    return write


def sense_range(key: str) -> Query:
    """While a function is sourced, its measure range is the source range (section 18)."""

    def query(inst: Keithley2400, arguments: list[str]) -> str:
        low, high = range_for(inst, key, 0.0), largest_level(inst, key)
        named = limit_named(arguments, low, high, 1.05e-4 if key == "CURR" else 21.0)
        if named is not None:
            return setting_text(named)
        sourced = key == inst.settings.function
        return setting_text(source_of(inst, key).range if sourced else sense_of(inst, key).range)

    return query


def set_sense_auto(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        sense_of(inst, key).auto_range = switch(only(arguments))

    return write


def sense_auto(key: str) -> Query:
    return lambda inst, arguments: setting_text(sense_of(inst, key).auto_range)


def set_lower_limit(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest = largest_level(inst, key)
        sense_of(inst, key).lower_limit = abs(
            bounded(only(arguments), -largest, largest, 0.0, UNIT[key])
        )

    return write


def lower_limit(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        return setting_text(range_for(inst, key, sense_of(inst, key).lower_limit))

    return query


def upper_limit(key: str) -> Query:
    return lambda inst, arguments: setting_text(range_for(inst, key, sense_of(inst, key).limit))


def set_limit(key: str) -> Write:
    """Compliance within the operating boundaries, without its sign (section 6)."""

    def write(inst: Keithley2400, arguments: list[str]) -> None:
        largest, sense = largest_level(inst, key), sense_of(inst, key)
        default = 1.05e-4 if key == "CURR" else 21.0
        value = abs(bounded(only(arguments), -largest, largest, default, UNIT[key]))
        if key != inst.settings.function:
            source_key = opposite(key)
            check_power(inst, source_key, source_of(inst, source_key).range, value)
        # A fixed measure range can limit a thousandth of itself at the least (appendix B, +822).
        if not sense.auto_range and key in inst.settings.functions and value < sense.range / 1050:
            raise ScpiError(822)
        sense.limit = value
        if not sense.auto_range and sense.synchronised:
            sense.range = range_for(inst, key, value)

    return write


def limit(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        largest = largest_level(inst, key)
        named = limit_named(arguments, -largest, largest, 1.05e-4 if key == "CURR" else 21.0)
        return setting_text(sense_of(inst, key).limit if named is None else named)

    return query


def tripped(key: str) -> Query:
    def query(inst: Keithley2400, arguments: list[str]) -> str:
        return setting_text(key != inst.settings.function and inst.in_compliance())

    return query


def set_synchronised(key: str) -> Write:
    def write(inst: Keithley2400, arguments: list[str]) -> None:
        sense_of(inst, key).synchronised = switch(only(arguments))

    return write


def synchronised(key: str) -> Query:
    return lambda inst, arguments: setting_text(sense_of(inst, key).synchronised)
