"""The two functions of a source-meter, and what limits them together.

Promises: a range, a largest level and a unit for "VOLT" and for "CURR", and the power limit that
binds one to the other. Never changes anything.

From the 2400 Series User's Manual, section 6, "Operating boundaries", and appendix B, table B-1
(+826).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from drivebay.sim.keithley2400.settings import Sense, Source
from drivebay.sim.syntax import ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2400.instrument import Keithley2400

Write = Callable[["Keithley2400", list[str]], None]
Query = Callable[["Keithley2400", list[str]], str]
UNIT = {"VOLT": "V", "CURR": "A"}


def source_of(inst: Keithley2400, key: str) -> Source:
    return inst.settings.volt if key == "VOLT" else inst.settings.curr


def sense_of(inst: Keithley2400, key: str) -> Sense:
    return inst.settings.sense_volt if key == "VOLT" else inst.settings.sense_curr


def largest_level(inst: Keithley2400, key: str) -> float:
    return inst.model.max_voltage_v if key == "VOLT" else inst.model.max_current_a


def range_for(inst: Keithley2400, key: str, level: float) -> float:
    return inst.model.voltage_range(level) if key == "VOLT" else inst.model.current_range(level)


def check_power(inst: Keithley2400, key: str, source_range: float, limit: float) -> None:
    """Error +826: range and compliance leave the operating boundaries (section 6)."""
    if key != inst.settings.function:
        return
    volts, amps = (source_range, limit) if key == "VOLT" else (limit, source_range)
    if not inst.model.allows(volts, amps):
        raise ScpiError(826)


def opposite(key: str) -> str:
    return "CURR" if key == "VOLT" else "VOLT"


def next_range(inst: Keithley2400, key: str, now: float, up: bool) -> float:
    ranges = inst.model.voltage_ranges_v if key == "VOLT" else inst.model.current_ranges_a
    full = [range_for(inst, key, nominal) for nominal in ranges]
    place = full.index(now) + (1 if up else -1)
    return full[min(max(place, 0), len(full) - 1)]
