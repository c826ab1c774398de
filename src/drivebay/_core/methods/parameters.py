"""Parameters that several standard methods share, each with its unit, limit and sentence.

Pure data: a parameter that means the same has the same sentence on every method, because it is
written once.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from drivebay._core.methods.levels import MAX_POINTS, MAX_READINGS
from drivebay._core.methods.spec import Column, quantity

Points = Annotated[
    int, quantity("", "Levels on one way, both ends included", code="P002", ge=2, le=MAX_POINTS)
]
DelayS = Annotated[
    float, quantity("s", "Wait between a level and its measurement", limit="delay_s", ge=0)
]
HoldS = Annotated[float, quantity("s", "Wait at the first level before the sweep goes on", ge=0)]
Nplc = Annotated[
    float, quantity("", "Integration time in periods of the mains", limit="nplc", gt=0)
]
UpAndDown = Annotated[
    bool, msgspec.Meta(description="Come back the same way; the turning point is taken once")
]
FourWire = Annotated[
    bool, msgspec.Meta(description="Sense the voltage at the device with two more leads")
]
Spacing = Annotated[
    Literal["linear", "log", "list"],
    msgspec.Meta(description="linear steps, equal ratios, or exactly the levels that are given"),
]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
SourceRangeV = Annotated[
    _Positive | None,
    quantity("V", "Fixed source range; by default the smallest that holds every level"),
]
SourceRangeA = Annotated[
    _Positive | None,
    quantity("A", "Fixed source range; by default the smallest that holds every level"),
]
SenseRangeV = Annotated[
    _Positive | None,
    quantity("V", "Fixed voltage range; by default the instrument ranges by itself"),
]
SenseRangeA = Annotated[
    _Positive | None,
    quantity("A", "Fixed current range; by default the instrument ranges by itself"),
]
ComplianceA = Annotated[
    float,
    quantity(
        "A",
        "Current the instrument never exceeds, set before the output goes on",
        limit="current_a",
        code="P006",
        gt=0,
    ),
]
ComplianceV = Annotated[
    float,
    quantity(
        "V",
        "Voltage the instrument never exceeds, set before the output goes on",
        limit="voltage_v",
        code="P006",
        gt=0,
    ),
]
Readings = Annotated[
    int, quantity("", "How many readings are taken", code="P002", ge=1, le=MAX_READINGS)
]
IntervalS = Annotated[
    float,
    quantity("s", "From the start of one reading to the next; 0 is as quick as it goes", ge=0),
]
OptionalDelayS = Annotated[
    Annotated[float, msgspec.Meta(ge=0)] | None,
    quantity(
        "s",
        "Settling before a reading; by default what the instrument thinks right",
        limit="delay_s",
    ),
]

VOLTAGE = Column("voltage_v", "V", help="measured voltage at the terminals or sense leads")
CURRENT = Column("current_a", "A", help="measured current, positive out of the high terminal")
TIME = Column("time_s", "s", help="time of the measurement since it began")
COMPLIANCE = Column("in_compliance", "", "bool", help="whether the instrument was limiting")
OVERLOAD = Column(
    "overload", "", "bool", help="whether the instrument said that it could not measure here"
)
