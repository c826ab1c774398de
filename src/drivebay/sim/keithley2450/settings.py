"""Everything a 2450 can be set to, with its ``*RST`` defaults.

Defaults from the 2450 reference manual, 2450-901-01 Rev. B, section 6, the table at the head of
each command. Never checks a value: the commands do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_LIST_LINE, MAX_LIST, MAX_READINGS = 100, 2500, 100_000


@dataclass(slots=True)
class Side:
    """What there is once for voltage and once for current.

    Attributes:
        limit: of this quantity while the other one is sourced.
        source_range: nominal.
        sense_range: nominal.
    """

    limit: float
    source_range: float
    sense_range: float
    source_auto: bool = True
    sense_auto: bool = True
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
    res_auto_range: bool = True
    res_offset: bool = False
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
    sweep_delay_s: float = 0.0
    fail_abort: bool = True
    data: str = "ASC"
    swapped: bool = True
    precision: int = 0


def defaults() -> Settings:
    """The settings after ``*RST``."""
    volt = Side(limit=21.0, source_range=0.02, sense_range=0.02)
    curr = Side(limit=1.05e-4, source_range=1e-8, sense_range=1e-4)
    return Settings(VOLT=volt, CURR=curr)
