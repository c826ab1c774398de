"""The commands of a 2450, each as its reference manual lists it.

Promises: a command that is refused changes nothing and queues the error; where the manual says that
the instrument changes a limit by itself and warns, it does, and the warning is not in the error
queue. Never measures.

Section 6 of 2450-901-01 Rev. B (2450) and 2461-901-01 Rev. A (2461), section 12 of 2470-901-01
Rev. A (2470). Assumed, as no manual was found to give numbers: a command that conflicts with a
setting or with the interlock is -221.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from drivebay.sim.declaring import (
    action,
    choose,
    limit_named,
    measure_number,
    none,
    number,
    only,
    query,
    store,
    toggle,
)
from drivebay.sim.keithley2450 import buffers
from drivebay.sim.keithley2450.calculations import calculations
from drivebay.sim.keithley2450.sweeps import LONG, UNIT, lists, opposite, sweeps
from drivebay.sim.parameters import bounded, choice, setting_text, string, switch
from drivebay.sim.standard import common, next_error, status_registers
from drivebay.sim.syntax import Command, CommandTree, ScpiError

if TYPE_CHECKING:
    from drivebay.sim.keithley2450.instrument import Keithley2450

_MOST_READINGS = 6_875_000  # of a standard buffer, 6-165
# 2461: up to PROT80 (6-96); the 2450's go on to 180 V.
_PROTECTIONS = tuple(f"PROT{v}" for v in (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180))


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
            side.source_range = inst.model.range_of(key, value)
        side.level = value
        inst.fit_limit(key)

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        largest = inst.model.largest(key)
        named = limit_named(arguments, -largest, largest, 0.0)
        return setting_text(inst.side(key).level if named is None else named)

    return Command((f":SOURce[1]:{LONG[key]}[:LEVel][:IMMediate][:AMPLitude]",), write, ask)


def _limit(key: str) -> tuple[Command, ...]:
    """The limit of a quantity while the other one is sourced (2450: 6-71; 2461: 6-94)."""

    def write(inst: Keithley2450, arguments: list[str]) -> None:
        model, side = inst.model, inst.side(key)
        high = model.largest(key)
        value = bounded(only(arguments), -high, high, model.default_limit(key), UNIT[key])
        value = abs(value)  # "Limits are absolute values"
        if value < model.lowest_limit(key):
            raise ScpiError(-222)
        other = opposite(key)
        if inst.settings.function == other and value > inst.largest_limit(key):
            # 2-100: "the source limit is not changed and a warning is generated".
            inst.warn("limit not changed: not appropriate for the source range", limit=value)
            return
        side.limit = value
        inst.raise_limit(key)

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        model = inst.model
        low, default = model.lowest_limit(key), model.default_limit(key)
        named = limit_named(arguments, low, model.largest(key), default)
        return setting_text(inst.side(key).limit if named is None else named)

    def tripped(inst: Keithley2450, arguments: list[str]) -> str:
        none(arguments)
        return setting_text(inst.output_on and inst.channel.now().limited)

    head = ":SOURce[1]:CURRent:VLIMit" if key == "VOLT" else ":SOURce[1]:VOLTage:ILIMit"
    return (
        Command((f"{head}[:LEVel]",), write=write, query=ask),
        query(f"{head}[:LEVel]:TRIPped", tripped),
    )


def _range(key: str, header: str, name: str) -> tuple[Command, ...]:
    """The range of a source or of a meter; ``name`` is source or sense."""
    fixed, automatic = f"{name}_range", f"{name}_auto"

    def write(inst: Keithley2450, arguments: list[str]) -> None:
        largest, side = inst.model.largest(key), inst.side(key)
        top = inst.model.ranges(key)[-1]
        value = bounded(only(arguments), -max(top, largest), max(top, largest), top, UNIT[key])
        setattr(side, fixed, inst.model.range_of(key, value))
        setattr(side, automatic, False)
        if name == "source":
            inst.fit_limit(key)
        else:
            inst.raise_limit(key)

    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        ranges = inst.model.ranges(key)
        named = limit_named(arguments, ranges[0], ranges[-1], ranges[-1])
        return setting_text(float(getattr(inst.side(key), fixed)) if named is None else named)

    def write_auto(inst: Keithley2450, arguments: list[str]) -> None:
        setattr(inst.side(key), automatic, switch(only(arguments)))

    def ask_auto(inst: Keithley2450) -> str:
        return setting_text(bool(getattr(inst.side(key), automatic)))

    return (
        Command((header,), write=write, query=ask),
        store(f"{header.removesuffix('[:UPPer]')}:AUTO", write_auto, ask_auto),
    )


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


# -- buffers ------------------------------------------------------------------------------------


def _named(inst: Keithley2450, arguments: list[str]) -> str:
    """The one buffer that a command names, or defbuffer1."""
    return inst.buffer_name(only(arguments)) if arguments else "defbuffer1"


def make(inst: Keithley2450, arguments: list[str]) -> None:
    if len(arguments) < 2:
        raise ScpiError(-109)
    name, size = string(arguments[0]), int(bounded(arguments[1], 10, _MOST_READINGS, 10))
    if len(arguments) > 2 and arguments[2]:
        choice(arguments[2], ("COMPact", "STANdard", "FULL", "WRITable", "FULLWRITable"))
    if not name or name in inst.buffers:
        raise ScpiError(1115)
    inst.buffers[name] = buffers.Buffer(size)


def delete(inst: Keithley2450, arguments: list[str]) -> None:
    name = inst.buffer_name(only(arguments))
    if name in ("defbuffer1", "defbuffer2"):
        raise ScpiError(-221)
    del inst.buffers[name]


def set_size(inst: Keithley2450, arguments: list[str]) -> None:
    buffer = inst.buffers[_named(inst, arguments[1:])]
    buffer.size = int(bounded(arguments[0] if arguments else "", 10, _MOST_READINGS, 100_000))
    buffer.clear()


def trace(inst: Keithley2450, arguments: list[str]) -> bytes:
    if len(arguments) < 2:
        raise ScpiError(-109)
    first, last = (int(bounded(each, 1, _MOST_READINGS, 1)) for each in arguments[:2])
    readings = inst.buffers[_named(inst, arguments[2:3])].readings
    if not first <= last <= len(readings):
        raise ScpiError(-222)
    return inst.written(readings[first - 1 : last], arguments[3:])


def latest(inst: Keithley2450, arguments: list[str]) -> bytes:
    readings = inst.buffers[_named(inst, arguments[:1])].readings
    if not readings:
        raise ScpiError(-230)
    return inst.written(readings[-1:], arguments[1:])


def read(inst: Keithley2450, arguments: list[str]) -> None:
    """Remembers what the answer is to be, and measures."""
    name = _named(inst, arguments[:1])
    buffers.chosen(arguments[1:], inst.settings.data)
    inst.asked = list(arguments)
    inst.read(name)


def trace_trigger(inst: Keithley2450, arguments: list[str]) -> None:
    inst.measure_now(inst.settings.count, _named(inst, arguments))


def _measure(name: str, header: str) -> Command:
    """``:MEASure``: another function, then a reading; without one, as ``:READ?``."""

    def ask(inst: Keithley2450, arguments: list[str]) -> None:
        if name:
            inst.settings.sense_function = name
        read(inst, arguments)

    return Command((header,), query=ask)


def _statistics() -> tuple[Command, ...]:
    def of(name: str) -> Callable[[Keithley2450, list[str]], str]:
        def ask(inst: Keithley2450, arguments: list[str]) -> str:
            readings = inst.buffers[_named(inst, arguments)].readings
            if not readings:
                raise ScpiError(-230)
            return f"{buffers.STATISTICS[name]([each.reading for each in readings]):.6E}"

        return ask

    return tuple(query(f":TRACe:STATistics:{name}", of(name)) for name in buffers.STATISTICS)


LAST_READING = Command(
    (":FETCh:PENDing",),
    query=lambda inst, arguments: latest(inst, inst.asked),
    when_idle=True,
)


# -- the tree -----------------------------------------------------------------------------------


def _source(key: str) -> tuple[Command, ...]:
    name, long = key.lower(), LONG[key]
    head = f":SOURce[1]:{long}"

    def write_delay(inst: Keithley2450, arguments: list[str]) -> None:
        setattr(inst.settings, f"{name}_delay_s", bounded(only(arguments), 0, 1e4, 0))
        setattr(inst.settings, f"{name}_delay_auto", False)

    def delay(inst: Keithley2450) -> str:
        return setting_text(float(getattr(inst.settings, f"{name}_delay_s")))

    modes = ("NORMal", "HIMPedance", "ZERO", "GUARd")
    return (
        _level(key),
        *_range(key, f"{head}:RANGe", "source"),
        store(f"{head}:DELay", write_delay, delay),
        toggle(f"{head}:DELay:AUTO", f"{name}_delay_auto"),
        toggle(f"{head}:READ:BACK", f"{name}_read_back"),
        toggle(f"{head}:HIGH:CAPacitance", f"{name}_high_capacitance"),
        choose(f":OUTPut[1]:{long}:SMODe", f"{name}_off_mode", *modes),
        *lists(key),
        *sweeps(key),
        *_limit(key),
        *_range(key, f"[:SENSe[1]]:{long}[:DC]:RANGe[:UPPer]", "sense"),
        *calculations(key),
    )


def _measured(name: str, header: str) -> tuple[Command, ...]:
    return (
        number(f"{header}:NPLCycles", f"{name}_nplc", 0.01, 10, 1),
        toggle(f"{header}:RSENse", f"{name}_four_wire"),
        toggle(f"{header}:AZERo[:STATe]", f"{name}_auto_zero"),
        toggle(f"{header}:AVERage[:STATe]", f"{name}_average"),
        number(f"{header}:AVERage:COUNt", f"{name}_average_count", 1, 100, 10, whole=True),
        choose(f"{header}:AVERage:TCONtrol", f"{name}_average_type", "REPeat", "MOVing"),
    )


def _state(look: Callable[[Keithley2450], str]) -> Callable[[Keithley2450, list[str]], str]:
    def ask(inst: Keithley2450, arguments: list[str]) -> str:
        none(arguments)
        return look(inst)

    return ask


def _clear_events(inst: Keithley2450) -> None:
    for register in (inst.status.standard, inst.status.operation, inst.status.questionable):
        register.event = 0


def _beep(inst: Keithley2450, arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise ScpiError(-109 if len(arguments) < 2 else -108)
    bounded(arguments[0], 20, 8000, 1000, "HZ")
    bounded(arguments[1], 0.001, 100, 1, "S")


ERRORS = (
    Command((":SYSTem:ERRor[:NEXT]",), query=next_error),
    query(":SYSTem:ERRor:CODE[:NEXT]", _state(lambda inst: str(inst.status.errors.take()))),
    query(":SYSTem:ERRor:COUNt", _state(lambda inst: str(len(inst.status.errors)))),
    action(":SYSTem:CLEar", lambda inst: inst.status.errors.clear()),
    query(":SYSTem:VERSion", _state(lambda inst: "1996.0")),
)
READINGS = (
    store(":TRACe:CLEar", lambda inst, arguments: inst.buffers[_named(inst, arguments)].clear()),
    query(
        ":TRACe:ACTual",
        lambda inst, arguments: str(len(inst.buffers[_named(inst, arguments)].readings)),
    ),
    query(":TRACe:DATA", trace),
    store(":TRACe:MAKE", make),
    store(":TRACe:DELete", delete),
    store(":TRACe:TRIGger", trace_trigger),
    Command(
        (":TRACe:POINts",),
        write=set_size,
        query=lambda inst, arguments: str(inst.buffers[_named(inst, arguments)].size),
    ),
    *_statistics(),
    query(":FETCh", latest),
    query(":READ", read),
    _measure("", ":MEASure"),
    _measure("VOLT", ":MEASure:VOLTage[:DC]"),
    _measure("CURR", ":MEASure:CURRent[:DC]"),
    _measure("RES", ":MEASure:RESistance"),
)
TREE = CommandTree(
    (
        *common(),
        *ERRORS,
        *status_registers(),
        action(":STATus:CLEar", _clear_events),
        query("*LANG", _state(lambda inst: inst.language)),
        *_source("VOLT"),
        *_source("CURR"),
        choose(":SOURce[1]:VOLTage:PROTection[:LEVel]", "protection", "NONE", *_PROTECTIONS),
        query(
            ":SOURce[1]:VOLTage:PROTection[:LEVel]:TRIPped",
            _state(lambda inst: setting_text(inst.protected())),
        ),
        *_measured("volt", "[:SENSe[1]]:VOLTage[:DC]"),
        *_measured("curr", "[:SENSe[1]]:CURRent[:DC]"),
        *_measured("res", "[:SENSe[1]]:RESistance"),
        toggle("[:SENSe[1]]:RESistance:RANGe:AUTO", "res_auto_range"),
        measure_number("[:SENSe[1]]:RESistance:RANGe[:UPPer]", "res_range", 0, 2e8, 2e8, "OHM"),
        toggle("[:SENSe[1]]:RESistance:OCOMpensated", "res_offset"),
        action("[:SENSe[1]]:AZERo:ONCE", lambda inst: None),
        store(":SOURce[1]:FUNCtion[:MODE]", set_function, lambda inst: inst.settings.function),
        store("[:SENSe[1]]:FUNCtion[:ON]", set_sense, _sense),
        number("[:SENSe[1]]:COUNt", "count", 1, 300_000, 1, whole=True),
        store(":OUTPut[1][:STATe]", set_output, lambda inst: str(int(inst.output_on))),
        query(
            ":OUTPut[1]:INTerlock:TRIPped",
            _state(lambda inst: str(int(inst.channel.interlock.closed))),
        ),
        choose(":ROUTe:TERMinals", "rear_terminals", "FRONt", "REAR", flag=True),
        choose(":FORMat[:DATA]", "data", "ASCii", "REAL", "SREal"),
        choose(":FORMat:BORDer", "swapped", "NORMal", "SWAPped", flag=True),
        number(":FORMat:ASCii:PRECision", "precision", 0, 16, 0, whole=True),
        *READINGS,
        query(":TRIGger:STATe", _state(lambda inst: inst.trigger_state())),
        action(":INITiate[:IMMediate]", lambda inst: inst.initiate()),
        Command((":ABORt",), write=lambda inst, arguments: inst.abort(), urgent=True),
        store(":SYSTem:BEEPer[:IMMediate]", _beep),
        query(":SYSTem:LFRequency", _state(lambda inst: f"{inst.line_frequency_hz:.0f}")),
    )
)
