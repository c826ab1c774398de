"""What a 2450 makes of a reading before it stores it: another unit, an offset, math.

Promises: in the manual's order, unit, relative offset, math (2461-901-01 Rev. A, 6-19 to 6-24, 6-67
to 6-69, 6-72). Never touches what is at the terminals. Only for voltage and current.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from drivebay.sim.declaring import only, store
from drivebay.sim.keithley2450.settings import Side
from drivebay.sim.keithley2450.sweeps import LONG
from drivebay.sim.parameters import bounded, choice, setting_text, switch
from drivebay.sim.syntax import Command

if TYPE_CHECKING:
    from drivebay.sim.keithley2450.instrument import Keithley2450

OVERFLOW = 9.9e37


def made_of(reading: float, volt: float, amp: float, side: Side) -> float:
    """What is stored of a reading.

    Args:
        reading: as it was converted.
        volt: what it was, for another unit.
        amp: the same.
        side: the settings of what was measured.
    """
    if abs(reading) >= OVERFLOW:
        return reading
    if side.unit == "OHM":
        reading = volt / amp if amp else OVERFLOW
    elif side.unit == "WATT":
        reading = volt * amp
    if side.relative_on:
        reading -= side.relative
    return _math(reading, side) if side.math_on else reading


def _math(reading: float, side: Side) -> float:
    if side.math == "MXB":
        return side.math_m * reading + side.math_b
    if side.math == "REC":
        return 1.0 / reading if reading else OVERFLOW
    if not side.math_percent:
        return OVERFLOW
    return (reading - side.math_percent) / side.math_percent * 100.0


def calculations(key: str) -> tuple[Command, ...]:
    """The commands for VOLT or CURR."""
    sense, calculate = f"[:SENSe[1]]:{LONG[key]}[:DC]", f":CALCulate[1]:{LONG[key]}[:DC]:MATH"
    own = "VOLT" if key == "VOLT" else "AMP"
    wide = (-1e12, 1e12)
    return (
        _number(key, f"{sense}:RELative", "relative", wide, 0.0),
        _switch(key, f"{sense}:RELative:STATe", "relative_on"),
        _name(key, f"{sense}:UNIT", "unit", (own, "OHM", "WATT")),
        _switch(key, f"{calculate}:STATe", "math_on"),
        _name(key, f"{calculate}:FORMat", "math", ("MXB", "PERCent", "RECiprocal")),
        _number(key, f"{calculate}:MMFactor", "math_m", wide, 1.0),
        _number(key, f"{calculate}:MBFactor", "math_b", wide, 0.0),
        _number(key, f"{calculate}:PERCent", "math_percent", wide, 1.0),
    )


def _setting(
    key: str, header: str, name: str, read: Callable[[str], float | bool | str]
) -> Command:
    def write(inst: Keithley2450, arguments: list[str]) -> None:
        setattr(inst.side(key), name, read(only(arguments)))

    return store(header, write, lambda inst: setting_text(getattr(inst.side(key), name)))


def _number(key: str, header: str, name: str, ends: tuple[float, float], default: float) -> Command:
    return _setting(key, header, name, lambda text: bounded(text, *ends, default))


def _switch(key: str, header: str, name: str) -> Command:
    return _setting(key, header, name, switch)


def _name(key: str, header: str, name: str, names: tuple[str, ...]) -> Command:
    return _setting(key, header, name, lambda text: choice(text, names))
