"""The sweeps of a 2450: lists, and the four commands that set one up.

Promises: what cannot be swept is refused when the sweep is set up. Never energises anything:
``:INITiate`` does. Pages are those of 2461-901-01 Rev. A, section 6. Simplified: a sweep cannot
repeat for ever (count 0), and a list is always that of ``:SOURce:LIST``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drivebay.sim.declaring import query, store
from drivebay.sim.keithley2450.settings import MAX_LIST, MAX_LIST_LINE
from drivebay.sim.parameters import bounded, choice, numbers, setting_text, switch
from drivebay.sim.syntax import Command, ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2450.instrument import Keithley2450

UNIT = {"VOLT": "V", "CURR": "A"}
LONG = {"VOLT": "VOLTage", "CURR": "CURRent"}
SHORTEST_DELAY_S = 50e-6
_AUTO_DELAY = -1.0
_MOST_POINTS, _MOST_SWEEPS = 1_000_000, 268_435_455


def opposite(key: str) -> str:
    """The quantity that is limited while the other is sourced."""
    return "CURR" if key == "VOLT" else "VOLT"


def _listed(inst: Keithley2450, key: str, arguments: list[str]) -> list[float]:
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if len(arguments) > MAX_LIST_LINE:
        raise ScpiError(-223)
    values = numbers(arguments, UNIT[key])
    if max(map(abs, values)) > inst.model.largest(key):
        raise ScpiError(-222)
    return values


def lists(key: str) -> tuple[Command, ...]:
    """``:SOURce:LIST``, 6-101 to 6-103: 100 values a command, 2,500 in all."""
    head = f":SOURce[1]:LIST:{LONG[key]}"

    def write(inst: Keithley2450, arguments: list[str]) -> None:
        inst.side(key).points = _listed(inst, key, arguments)

    def append(inst: Keithley2450, arguments: list[str]) -> None:
        values, side = _listed(inst, key, arguments), inst.side(key)
        if len(side.points) + len(values) > MAX_LIST:
            raise ScpiError(-223)
        side.points = side.points + values

    def ask(inst: Keithley2450) -> str:
        return ",".join(map(setting_text, inst.side(key).points))

    return (
        store(head, write, ask),
        store(f"{head}:APPend", append),
        query(f"{head}:POINts", lambda inst, arguments: str(len(inst.side(key).points))),
    )


def _ends(inst: Keithley2450, key: str, arguments: list[str]) -> tuple[float, float, str]:
    if len(arguments) < 3:
        raise ScpiError(-109)
    largest = inst.model.largest(key)
    start, stop = (bounded(each, -largest, largest, 0.0, UNIT[key]) for each in arguments[:2])
    return start, stop, arguments[2]


def _spread(start: float, stop: float, count: int) -> list[float]:
    return [start + (stop - start) * k / (count - 1) for k in range(count)]


def sweeps(key: str) -> tuple[Command, ...]:
    """``:SOURce:SWEep``: a list, and linear and logarithmic sweeps (6-124 to 6-131)."""
    head = f":SOURce[1]:SWEep:{LONG[key]}"

    def by_list(inst: Keithley2450, arguments: list[str]) -> None:
        start = int(bounded(arguments[0] if arguments else "1", 1, MAX_LIST, 1))
        timing = [*arguments[1:4], *["0", "1", "ON"][len(arguments[1:4]) :]]
        _arrange(inst, key, inst.side(key).points[start - 1 :], timing, arguments[4:5])

    def linear(inst: Keithley2450, arguments: list[str]) -> None:
        start, stop, count = _ends(inst, key, arguments)
        points = _spread(start, stop, int(bounded(count, 2, _MOST_POINTS, 2)))
        _between(inst, key, points, arguments[3:])

    def stepped(inst: Keithley2450, arguments: list[str]) -> None:
        start, stop, step = _ends(inst, key, arguments)
        each = bounded(step, 0, inst.model.largest(key) * 2, 0.0, UNIT[key])
        if each <= 0:
            raise ScpiError(-222)
        count = round(abs(stop - start) / each) + 1
        _between(inst, key, _spread(start, stop, max(count, 2)), arguments[3:])

    def logarithmic(inst: Keithley2450, arguments: list[str]) -> None:
        start, stop, count = _ends(inst, key, arguments)
        if start * stop <= 0:
            raise ScpiError(-222)
        exponents = _spread(
            math.log(abs(start)), math.log(abs(stop)), int(bounded(count, 2, _MOST_POINTS, 2))
        )
        points = [math.copysign(math.exp(each), start) for each in exponents]
        _between(inst, key, points, arguments[3:])

    return (
        store(f"{head}:LIST", by_list),
        store(f"{head}:LINear", linear),
        store(f"{head}:LINear:STEP", stepped),
        store(f"{head}:LOG", logarithmic),
    )


def _between(inst: Keithley2450, key: str, points: list[float], more: list[str]) -> None:
    """What follows the ends: delay, count, range type, fail abort, dual, buffer."""
    delay, count, kind, fail, dual, *buffer = [
        *more,
        *["-1", "1", "BEST", "ON", "OFF"][len(more) :],
    ]
    choice(kind, ("AUTO", "BEST", "FIXed"))
    if switch(dual):
        points = points + points[-2::-1]
    _arrange(inst, key, points, [delay, count, fail], buffer[:1])


def _delay_s(text: str) -> float | None:
    """None is the automatic one."""
    value = bounded(text, _AUTO_DELAY, 1e4, 0.0)
    if value == _AUTO_DELAY:
        return None
    if value < 0 or 0 < value < SHORTEST_DELAY_S:
        raise ScpiError(-222)
    return value


def _arrange(
    inst: Keithley2450, key: str, points: list[float], timing: list[str], buffer: list[str]
) -> None:
    """Sets up a sweep: ``timing`` is delay, count, fail abort."""
    delay_s = _delay_s(timing[0])
    count = int(bounded(timing[1], 1, _MOST_SWEEPS, 1))
    if inst.busy or key != inst.settings.function or not points:
        raise ScpiError(-221)
    name = inst.buffer_name(buffer[0] if buffer else '"defbuffer1"')
    side, largest = inst.side(key), max(map(abs, points))
    if not side.source_auto and largest > 1.05 * side.source_range * 1.000001:
        raise ScpiError(-222)
    inst.check_boundaries(largest)
    settings = inst.settings
    settings.fail_abort, settings.sweep_buffer = switch(timing[2]), name
    settings.sweep_delay_s = delay_s
    settings.sweep = points * count
