"""The commands of a 2450, each as section 6 of 2450-901-01 Rev. B lists it.

Promises: a command that is refused changes nothing and queues the error. Never measures.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from drivebay.sim.declaring import (
    action,
    choose,
    limit_named,
    none,
    number,
    only,
    query,
    store,
    toggle,
)
from drivebay.sim.keithley2450.settings import MAX_LIST, MAX_LIST_LINE, MAX_READINGS
from drivebay.sim.parameters import (
    bounded,
    choice,
    definite_block,
    doubles,
    numbers,
    setting_text,
    singles,
    string,
    switch,
)
from drivebay.sim.standard import common, error_queue, status_registers
from drivebay.sim.syntax import Command, CommandTree, ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2450.instrument import Keithley2450

UNIT = {"VOLT": "V", "CURR": "A"}
# Lowest limits that can be set; not checked against the manual.
LOWEST_LIMIT = {"VOLT": 0.02, "CURR": 1e-9}
ELEMENTS = ("READing", "SOURce", "RELative", "SOURSTATus", "STATus")
PLACES = {"READ": 0, "SOUR": 1, "REL": 2, "SOURSTAT": 3, "STAT": 4}
BINARY_ELEMENTS = {"READ", "SOUR", "REL"}  # ":TRACe:DATA?", Details
BUFFERS = {"defbuffer1", "defbuffer2"}


def opposite(key: str) -> str:
    return "CURR" if key == "VOLT" else "VOLT"


def check_power(inst: Keithley2450, source_range: float, limit: float) -> None:
    """Refuses a range and a limit that leave the operating boundaries together."""
    volt, amp = source_range, limit
    if inst.settings.function == "CURR":
        volt, amp = amp, volt
    if not inst.model.allows(volt, amp):
        raise ScpiError(-221)


def _level(key: str) -> Command:
    def write(inst: Keithley2450, arguments: list[str]) -> None:
        largest, side = inst.model.largest(key), inst.side(key)
        value = bounded(only(arguments), -largest, largest, 0.0, UNIT[key])
        if inst.busy:
            raise ScpiError(-221)
        if not side.source_auto and abs(value) > 1.05 * side.source_range * 1.000001:
            raise ScpiError(-222)
        if inst.output_on and key == "VOLT" and not inst.channel.interlock.allows(value):
            raise ScpiError(-221)
        if side.source_auto:
            if key == inst.settings.function:
                check_power(inst, abs(value), inst.side(opposite(key)).limit)
            side.source_range = inst.model.range_of(key, value)
        side.level = value

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        largest = inst.model.largest(key)
        named = limit_named(arguments, -largest, largest, 0.0)
        return setting_text(inst.side(key).level if named is None else named)

    long = "VOLTage" if key == "VOLT" else "CURRent"
    return Command((f":SOURce[1]:{long}[:LEVel][:IMMediate][:AMPLitude]",), write=write, query=ask)


def _limit(key: str) -> tuple[Command, ...]:
    """The limit of a quantity while the other one is sourced."""

    def write(inst: Keithley2450, arguments: list[str]) -> None:
        low, high = LOWEST_LIMIT[key], inst.model.largest(key)
        value = bounded(only(arguments), low, high, 21.0 if key == "VOLT" else 1.05e-4, UNIT[key])
        other = opposite(key)
        if inst.settings.function == other:
            side = inst.side(other)
            check_power(inst, abs(side.level) if side.source_auto else side.source_range, value)
        inst.side(key).limit = value

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        named = limit_named(arguments, LOWEST_LIMIT[key], inst.model.largest(key), 1.05e-4)
        return setting_text(inst.side(key).limit if named is None else named)

    def tripped(inst: Keithley2450, arguments: list[str]) -> str:
        none(arguments)
        return setting_text(inst.output_on and inst.channel.now().limited)

    head = ":SOURce[1]:CURRent:VLIMit" if key == "VOLT" else ":SOURce[1]:VOLTage:ILIMit"
    return (
        Command((f"{head}[:LEVel]",), write=write, query=ask),
        query(f"{head}[:LEVel]:TRIPped", tripped),
    )


def _range(key: str, header: str, name: str, automatic: str) -> tuple[Command, ...]:
    def write(inst: Keithley2450, arguments: list[str]) -> None:
        largest, side = inst.model.largest(key), inst.side(key)
        value = bounded(only(arguments), -largest, largest, largest, UNIT[key])
        chosen = inst.model.range_of(key, value)
        if name == "source_range" and key == inst.settings.function:
            check_power(inst, chosen, inst.side(opposite(key)).limit)
        setattr(side, name, chosen)
        setattr(side, automatic, False)

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        ranges = inst.model.ranges(key)
        named = limit_named(arguments, ranges[0], ranges[-1], ranges[-1])
        return setting_text(float(getattr(inst.side(key), name)) if named is None else named)

    def write_auto(inst: Keithley2450, arguments: list[str]) -> None:
        setattr(inst.side(key), automatic, switch(only(arguments)))

    def ask_auto(inst: Keithley2450) -> str:
        return setting_text(bool(getattr(inst.side(key), automatic)))

    return (
        Command((header,), write=write, query=ask),
        store(f"{header.removesuffix('[:UPPer]')}:AUTO", write_auto, ask_auto),
    )


def _listed(inst: Keithley2450, key: str, arguments: list[str]) -> list[float]:
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if len(arguments) > MAX_LIST_LINE:
        raise ScpiError(-223)
    values = numbers(arguments, UNIT[key])
    if max(map(abs, values)) > inst.model.largest(key):
        raise ScpiError(-222)
    return values


def _lists(key: str, long: str) -> tuple[Command, ...]:
    def write(inst: Keithley2450, arguments: list[str]) -> None:
        inst.side(key).points = _listed(inst, key, arguments)

    def append(inst: Keithley2450, arguments: list[str]) -> None:
        values, side = _listed(inst, key, arguments), inst.side(key)
        if len(side.points) + len(values) > MAX_LIST:
            raise ScpiError(-223)
        side.points += values

    def ask(inst: Keithley2450) -> str:
        return ",".join(map(setting_text, inst.side(key).points))

    def sweep_list(inst: Keithley2450, arguments: list[str]) -> None:
        start = int(bounded(arguments[0] if arguments else "1", 1, MAX_LIST, 1))
        points = inst.side(key).points[start - 1 :]
        _arrange(inst, key, points, arguments[1:4], arguments[4:])

    def sweep_linear(inst: Keithley2450, arguments: list[str]) -> None:
        if len(arguments) < 3:
            raise ScpiError(-109)
        largest = inst.model.largest(key)
        start, stop = (bounded(each, -largest, largest, 0.0, UNIT[key]) for each in arguments[:2])
        count = int(bounded(arguments[2], 2, 1e6, 2))
        points = [start + (stop - start) * k / (count - 1) for k in range(count)]
        if len(arguments) > 7 and switch(arguments[7]):
            points += points[-2::-1]
        fail = arguments[6:7] or ["ON"]
        timing = [*(arguments[3:5] + ["0", "1"][len(arguments[3:5]) :]), *fail]
        _arrange(inst, key, points, timing, arguments[8:])

    return (
        store(f":SOURce[1]:LIST:{long}", write, ask),
        store(f":SOURce[1]:LIST:{long}:APPend", append),
        query(
            f":SOURce[1]:LIST:{long}:POINts",
            lambda inst, arguments: str(len(inst.side(key).points)),
        ),
        store(f":SOURce[1]:SWEep:{long}:LIST", sweep_list),
        store(f":SOURce[1]:SWEep:{long}:LINear", sweep_linear),
    )


def _arrange(
    inst: Keithley2450, key: str, points: list[float], timing: list[str], buffer: list[str]
) -> None:
    """Sets up a sweep: ``timing`` is delay, count, fail abort."""
    delay_s = bounded(timing[0], 0, 1e4, 0) if timing else 0.0
    count = int(bounded(timing[1], 1, 268435455, 1)) if len(timing) > 1 else 1
    if inst.busy or key != inst.settings.function or not points:
        raise ScpiError(-221)
    _buffer(buffer[0] if buffer else '"defbuffer1"')
    side, largest = inst.side(key), max(map(abs, points))
    if not side.source_auto and largest > 1.05 * side.source_range * 1.000001:
        raise ScpiError(-222)
    check_power(inst, largest, inst.side(opposite(key)).limit)
    inst.settings.fail_abort = switch(timing[2]) if len(timing) > 2 else True
    inst.settings.sweep_delay_s = delay_s
    inst.settings.sweep = points * count


def _buffer(text: str) -> None:
    if string(text) not in BUFFERS:
        raise ScpiError(-224)


def set_function(inst: Keithley2450, arguments: list[str]) -> None:
    """Another source function switches the output off and forgets the sweep."""
    chosen = choice(only(arguments), ("VOLTage", "CURRent"))
    if chosen != inst.settings.function:
        inst.channel.set_output(False, "source function")
        inst.settings.function, inst.settings.sweep = chosen, []


def set_sense(inst: Keithley2450, arguments: list[str]) -> None:
    name = string(only(arguments)).upper().removesuffix(":DC")
    inst.settings.sense_function = choice(name, ("VOLTage", "CURRent", "RESistance"))


def _sense(inst: Keithley2450) -> str:
    name = inst.settings.sense_function
    return f'"{name}:DC"' if name != "RES" else '"RES"'


def set_output(inst: Keithley2450, arguments: list[str]) -> None:
    inst.set_output(switch(only(arguments)))


def answered(inst: Keithley2450, rows: list[tuple[float, ...]], names: list[str]) -> bytes:
    """Rows in the selected format."""
    chosen = [choice(name, ELEMENTS) for name in names] or ["READ"]
    places = [PLACES[name] for name in chosen]
    flat = list(chain.from_iterable([row[place] for place in places] for row in rows))
    s = inst.settings
    if s.data == "ASC":
        return ",".join(f"{value:.{s.precision or 7}E}" for value in flat).encode()
    if not set(chosen) <= BINARY_ELEMENTS:
        raise ScpiError(-224)
    packed = (singles if s.data == "SRE" else doubles)(flat, s.swapped)
    return definite_block(packed)


def trace(inst: Keithley2450, arguments: list[str]) -> bytes:
    if len(arguments) < 2:
        raise ScpiError(-109)
    first, last = (int(bounded(each, 1, MAX_READINGS, 1)) for each in arguments[:2])
    if len(arguments) > 2:
        _buffer(arguments[2])
    if not first <= last <= len(inst.rows):
        raise ScpiError(-222)
    return answered(inst, inst.rows[first - 1 : last], arguments[3:])


def latest(inst: Keithley2450, arguments: list[str]) -> bytes:
    if arguments:
        _buffer(arguments[0])
    if not inst.rows:
        raise ScpiError(-230)
    return answered(inst, inst.rows[-1:], arguments[1:])


def read(inst: Keithley2450, arguments: list[str]) -> None:
    """Remembers what the answer is to be, and measures."""
    if arguments:
        _buffer(arguments[0])
        for name in arguments[1:]:
            choice(name, ELEMENTS)
    inst.read_elements = list(arguments)
    inst.read()


def trace_trigger(inst: Keithley2450, arguments: list[str]) -> None:
    if arguments:
        _buffer(only(arguments))
    inst.measure_now(inst.settings.count)


def clear(inst: Keithley2450, arguments: list[str]) -> None:
    if arguments:
        _buffer(only(arguments))
    inst.clear()


def set_size(inst: Keithley2450, arguments: list[str]) -> None:
    inst.points_size = int(bounded(arguments[0] if arguments else "", 10, 4_500_000, MAX_READINGS))
    inst.clear()


LAST_READING = Command(
    (":FETCh:PENDing",),
    query=lambda inst, arguments: latest(inst, inst.read_elements),
    when_idle=True,
)


def _source(key: str, long: str) -> tuple[Command, ...]:
    name = key.lower()
    head = f":SOURce[1]:{long}"

    def write_delay(inst: Keithley2450, arguments: list[str]) -> None:
        setattr(inst.settings, f"{name}_delay_s", bounded(only(arguments), 0, 1e4, 0))
        setattr(inst.settings, f"{name}_delay_auto", False)

    def delay(inst: Keithley2450) -> str:
        return setting_text(float(getattr(inst.settings, f"{name}_delay_s")))

    return (
        _level(key),
        *_range(key, f"{head}:RANGe", "source_range", "source_auto"),
        store(f"{head}:DELay", write_delay, delay),
        toggle(f"{head}:DELay:AUTO", f"{name}_delay_auto"),
        toggle(f"{head}:READ:BACK", f"{name}_read_back"),
        toggle(f"{head}:HIGH:CAPacitance", f"{name}_high_capacitance"),
        choose(
            f":OUTPut[1]:{long}:SMODe",
            f"{name}_off_mode",
            "NORMal",
            "HIMPedance",
            "ZERO",
            "GUARd",
        ),
        *_lists(key, long),
        *_limit(key),
        *_range(key, f":SENSe[1]:{long}[:DC]:RANGe[:UPPer]", "sense_range", "sense_auto"),
    )


def _measured(name: str, header: str) -> tuple[Command, ...]:
    return (
        number(f"{header}:NPLCycles", f"{name}_nplc", 0.01, 10, 1),
        toggle(f"{header}:RSENse", f"{name}_four_wire"),
        toggle(f"{header}:AZERo[:STATe]", f"{name}_auto_zero"),
        toggle(f"{header}:AVERage[:STATe]", f"{name}_average"),
        number(f"{header}:AVERage:COUNt", f"{name}_average_count", 1, 100, 10, whole=True),
    )


def _state(look: Callable[[Keithley2450], str]) -> Callable[[Keithley2450, list[str]], str]:
    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        none(arguments)
        return look(inst)

    return ask


TREE = CommandTree(
    (
        *common(),
        *error_queue("1999.0"),
        *status_registers(),
        query("*LANG", _state(lambda inst: inst.language)),
        *_source("VOLT", "VOLTage"),
        *_source("CURR", "CURRent"),
        *_measured("volt", ":SENSe[1]:VOLTage[:DC]"),
        *_measured("curr", ":SENSe[1]:CURRent[:DC]"),
        *_measured("res", ":SENSe[1]:RESistance"),
        toggle(":SENSe[1]:RESistance:RANGe:AUTO", "res_auto_range"),
        toggle(":SENSe[1]:RESistance:OCOMpensated", "res_offset"),
        store(":SOURce[1]:FUNCtion[:MODE]", set_function, lambda inst: inst.settings.function),
        store(":SENSe[1]:FUNCtion[:ON]", set_sense, _sense),
        number(":SENSe[1]:COUNt", "count", 1, 300_000, 1, whole=True),
        store(":OUTPut[1][:STATe]", set_output, lambda inst: str(int(inst.output_on))),
        query(
            ":OUTPut[1]:INTerlock:TRIPped",
            _state(lambda inst: str(int(inst.channel.interlock.closed))),
        ),
        choose(":ROUTe:TERMinals", "rear_terminals", "FRONt", "REAR", flag=True),
        choose(":FORMat[:DATA]", "data", "ASCii", "REAL", "SREal"),
        choose(":FORMat:BORDer", "swapped", "NORMal", "SWAPped", flag=True),
        number(":FORMat:ASCii:PRECision", "precision", 0, 16, 0, whole=True),
        store(":TRACe:CLEar", clear),
        query(":TRACe:ACTual", lambda inst, arguments: str(len(inst.rows))),
        query(":TRACe:DATA", trace),
        store(":TRACe:TRIGger", trace_trigger),
        store(":TRACe:POINts", set_size, lambda inst: str(inst.points_size)),
        query(":FETCh", latest),
        query(":READ", read),
        query(
            ":TRIGger:STATe",
            _state(lambda inst: "RUNNING;RUNNING;4" if inst.busy else "IDLE;IDLE;6"),
        ),
        action(":INITiate[:IMMediate]", lambda inst: inst.initiate()),
        Command((":ABORt",), write=lambda inst, arguments: inst.abort(), urgent=True),
        action(":SYSTem:BEEPer[:IMMediate]", lambda inst: None),
        query(":SYSTem:LFRequency", lambda inst, arguments: f"{inst.line_frequency_hz:.0f}"),
    )
)
