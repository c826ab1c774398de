"""Everything a 2450 can be set to, with its ``*RST`` defaults.

Defaults from the tables at the heads of the commands: 2450-901-01 Rev. B and 2461-901-01 Rev. A,
section 6, and 2470-901-01 Rev. A, section 12. Never checks a value: the commands do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drivebay.sim.keithley2450.models import Model

MAX_LIST_LINE, MAX_LIST = 100, 2500


@dataclass(slots=True)
class Side:
    """What there is once for voltage and once for current.

    Attributes:
        limit: of this quantity while the other one is sourced.
        source_range: nominal.
        sense_range: nominal.
        relative: an offset that is taken off readings if ``relative_on``.
        unit: what readings are given in: VOLT, AMP, OHM or WATT.
        math: what is made of readings if ``math_on``: MXB, PERC or REC.
    """

    limit: float
    source_range: float
    sense_range: float
    source_auto: bool = True
    sense_auto: bool = True
    relative: float = 0.0
    relative_on: bool = False
    unit: str = ""
    math_on: bool = False
    math: str = "PERC"
    math_m: float = 1.0
    math_b: float = 0.0
    math_percent: float = 1.0
    level: float = 0.0
    points: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Settings:
    """What ``*RST`` puts back."""

    VOLT: Side
    CURR: Side
    function: str = "VOLT"
    sense_function: str = "CURR"
    volt_nplc: float = 1.0
    curr_nplc: float = 1.0
    res_nplc: float = 1.0
    volt_four_wire: bool = False
    curr_four_wire: bool = False
    res_four_wire: bool = False
    volt_auto_zero: bool = True
    curr_auto_zero: bool = True
    res_auto_zero: bool = True
    volt_average: bool = False
    curr_average: bool = False
    res_average: bool = False
    volt_average_count: int = 10
    curr_average_count: int = 10
    res_average_count: int = 10
    volt_average_type: str = "REP"
    curr_average_type: str = "REP"
    res_average_type: str = "REP"
    res_auto_range: bool = True
    res_range: float = 2e8
    res_offset: bool = False
    protection: str = "NONE"
    volt_delay_s: float = 0.0
    curr_delay_s: float = 0.0
    volt_delay_auto: bool = True
    curr_delay_auto: bool = True
    volt_read_back: bool = True
    curr_read_back: bool = True
    volt_high_capacitance: bool = False
    curr_high_capacitance: bool = False
    volt_off_mode: str = "NORM"
    curr_off_mode: str = "NORM"
    rear_terminals: bool = False
    count: int = 1
    sweep: list[float] = field(default_factory=list)
    sweep_delay_s: float | None = 0.0
    sweep_buffer: str = "defbuffer1"
    fail_abort: bool = True
    data: str = "ASC"
    swapped: bool = True
    precision: int = 0


def defaults(model: Model) -> Settings:
    """The settings after ``*RST``."""
    volt, curr = (
        Side(model.default_limit(key), model.ranges(key)[0], model.ranges(key)[0])
        for key in ("VOLT", "CURR")
    )
    volt.unit, curr.unit = "VOLT", "AMP"
    return Settings(VOLT=volt, CURR=curr)
