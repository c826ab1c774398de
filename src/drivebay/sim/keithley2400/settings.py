"""Everything a 2400 can be set to, with its ``*RST`` defaults.

Defaults from the 2400 Series User's Manual, section 18, tables 18-1 to 18-11. Never checks a value:
the commands do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from drivebay.sim.keithley2400.models import Model

MAX_READINGS = 2500
MAX_LIST_LINE = 100
ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT")


@dataclass(slots=True)
class Source:
    """One source function (voltage or current)."""

    range: float
    mode: str = "FIX"
    level: float = 0.0
    triggered_level: float | None = None
    auto_range: bool = True
    start: float = 0.0
    stop: float = 0.0
    points: list[float] = field(default_factory=lambda: [0.0])
    list_start: int = 1


@dataclass(slots=True)
class Sense:
    """One measure function."""

    range: float
    limit: float
    auto_range: bool = True
    lower_limit: float = 0.0
    synchronised: bool = False


@dataclass(slots=True)
class Settings:
    """The settings that ``*RST``, ``*SAV`` and ``*RCL`` handle together."""

    volt: Source
    curr: Source
    sense_volt: Sense
    sense_curr: Sense
    ohm_range: float = 2.1e5
    ohm_auto_range: bool = True
    ohm_mode: str = "AUTO"
    ohm_compensated: bool = False
    function: str = "VOLT"
    functions: list[str] = field(default_factory=lambda: ["CURR"])
    concurrent: bool = True
    nplc: float = 1.0
    average: bool = False
    average_count: int = 10
    average_control: str = "REP"
    source_delay_s: float = 0.0
    source_delay_auto: bool = True
    auto_clear: bool = False
    auto_clear_mode: str = "ALW"
    spacing: str = "LIN"
    direction: str = "UP"
    sweep_ranging: str = "BEST"
    compliance_abort: str = "NEV"
    sweep_points: int = MAX_READINGS
    protection_v: float = 0.0
    arm_count: float = 1
    arm_source: str = "IMM"
    arm_timer_s: float = 0.1
    trigger_count: int = 1
    trigger_source: str = "IMM"
    trigger_delay_s: float = 0.0
    arm_direction: str = "ACC"
    trigger_direction: str = "ACC"
    arm_input_line: int = 1
    arm_output_line: int = 2
    trigger_input_line: int = 1
    trigger_output_line: int = 2
    arm_output: str = "NONE"
    trigger_output: str = "NONE"
    off_mode: str = "NORM"
    output_enable: bool = False
    four_wire: bool = False
    guard: str = "CABL"
    auto_zero: str = "ON"
    rear_terminals: bool = False
    display: bool = True
    display_text: str = ""
    display_text_on: bool = False
    digits: int = 6


@dataclass(slots=True)
class DataFormat:
    """How readings and status are sent; ``*RST`` sets it, memory locations do not hold it."""

    data: str = "ASC"
    swapped: bool = False
    elements: tuple[str, ...] = ELEMENTS
    status_format: str = "ASC"


def defaults(model: Model) -> Settings:
    """The settings after ``*RST``."""
    return Settings(
        volt=Source(range=model.voltage_range(model.default_voltage_range_v)),
        curr=Source(range=model.current_range(1e-4)),
        sense_volt=Sense(range=model.voltage_range(model.default_voltage_range_v), limit=21.0),
        sense_curr=Sense(range=1.05e-4, limit=1.05e-4),
        protection_v=model.max_voltage_v,
    )
