"""When to kill: the phases of a sweep, and the message at which each is caught.

The phases of every measurement with an output: it is prepared (``before on``), the output comes on
(``armed``), the instrument sweeps (``sweeping``), it answers (``read-out``), the output goes off
(``off``). A moment is a message held on its way, so that the phase is certain, or the beginning of
a sweep in the simulator's log.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lab import Event, Log, Wire

# Three segments of at most 113 points: about 0.14 s each.
SWEEP: Final[dict[str, Any]] = {
    "start_v": 0,
    "stop_v": 1,
    "points": 300,
    "compliance_a": 0.01,
    "nplc": 0.01,
    "delay_s": 0.001,
}
SHORT: Final[dict[str, Any]] = SWEEP | {"points": 5}

PREPARING: Final = (
    b"*CLS",
    b":TRIG:DEL 0",
    b":SOUR:VOLT 0",
    b":SENS:CURR:PROT 0",
    b":SOUR:VOLT:MODE LIST",
    b":SYST:ERR?",
)
ARMING: Final = (b":OUTP ON", b":SOUR:LIST:VOLT", b":SOUR:LIST:VOLT", b":TRIG:COUN 11", b":READ?")
LEAVING: Final = (b":OUTP OFF", b":OUTP?", b":OUTP?", b":SYST:ERR?", b":SYST:ERR?")

# Of 40: at least five in each phase, more where there is most to lose.
SHARES: Final = {"before on": 6, "armed": 8, "sweeping": 9, "read-out": 9, "off": 8}
PHASES: Final = tuple(SHARES)


@dataclass(frozen=True)
class Moment:
    """When somebody is to be killed.

    Attributes:
        phase: of the measurement.
        message: what is held then; a sweep's beginning for ``sweeping``.
        count: the how-manieth of these since the measurement began.
        keep: bytes of it that have passed by then.
    """

    phase: str
    message: bytes
    count: int = 1
    keep: int = 0

    def await_it(self, wire: Wire, log: Log, begin: Callable[[], object]) -> Callable[[], None]:
        """Begin the measurement and return at the moment; the result lets the traffic go on."""
        mark = len(log)
        if self.phase == "sweeping":
            begin()
            log.wait("sweep_begin", self.count, mark)
            return lambda: None
        if self.phase == "read-out":
            held = wire.hold(
                "down", lambda message: len(message) > 500, count=self.count, keep=self.keep
            )
        else:
            held = wire.hold("up", self.message, count=self.count, keep=self.keep)
        begin()
        held.wait()
        # What passed before it has also been executed.
        if self.message in ARMING[1:]:
            log.wait("output_on", since=mark)
        if self.message == b":OUTP?":
            log.wait("output_off", since=mark)
        return held.release


def moments(count: int, seed: int) -> list[Moment]:
    """Choose moments by chance that is the same each time, with the shares of the phases."""
    chance = random.Random(seed)
    phases = [phase for phase, share in SHARES.items() for _ in range(share)]
    many = (phases * (count // len(phases) + 1))[:count] if count >= len(phases) else []
    chosen = many or [PHASES[i % len(PHASES)] for i in range(count)]
    chance.shuffle(chosen)
    return [_moment(phase, chance) for phase in chosen]


def _moment(phase: str, chance: random.Random) -> Moment:
    if phase == "before on":
        message = chance.choice(PREPARING)
        return Moment(phase, message, keep=chance.randrange(len(message)))
    if phase == "armed":
        message = chance.choice(ARMING)
        return Moment(phase, message, keep=chance.randrange(len(message)))
    if phase == "sweeping":
        # By the third some points were handed out.
        return Moment(phase, b"", count=3)
    if phase == "read-out":
        return Moment(phase, b"", count=chance.choice((2, 2, 3)), keep=chance.randrange(1, 4000))
    message = chance.choice(LEAVING)
    # The errors are asked for at the end of the preparation already.
    return Moment(phase, message, count=2 if message == b":SYST:ERR?" else 1)


def phase_in(events: list[Event], at: float) -> str:
    """The phase a measurement was in, from the simulator's log alone.

    Args:
        events: from the beginning of the measurement on.
        at: the moment, on the machine's monotonic clock.
    """
    phase = "before on"
    names = {"output_on": "armed", "sweep_begin": "sweeping", "sweep_end": "read-out"}
    for event in events:
        if event["t"] > at:
            break
        if event["event"] == "output_off" and phase != "before on":
            phase = "off"
        phase = names.get(event["event"], phase)
    return phase
