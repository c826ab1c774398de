"""The B2900's commands, as data: header, what it sets or answers, and its limits.

Promises: every header here does what it says; a header the simulation does not have is -113, never
silently taken. Never holds state: that is in the channels and in the instrument.

From the *Agilent B2900 Series SCPI Command Reference*, B2910-90030 Edition 2, chapters 3 and 4. Not
simulated, hence -113: CALCulate, DISPlay, LXI, MMEMory, PROGram, SCHannel, digital I/O, pulses,
external triggers, and channel 2 of a model with one channel (which may be -114 on a real one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from drivebay.sim.b2900 import handlers as h
from drivebay.sim.b2900.channel import KEYS
from drivebay.sim.declaring import action, choose, number, query, store, toggle
from drivebay.sim.standard import common, error_queue, status_registers
from drivebay.sim.syntax import Command, CommandTree

_NAMES = {"VOLT": "VOLTage", "CURR": "CURRent"}
_UNITS = {"VOLT": "V", "CURR": "A"}
_LONGEST_S = 1e5
_SOURCES = ("AINT", "BUS", "TIMer")


def _of(number_: int, command: Command) -> Command:
    """A command of one channel as a command of the instrument."""

    def on_channel(handler: Callable[[Any, list[str]], Any]) -> Callable[[Any, list[str]], Any]:
        return lambda inst, arguments: handler(inst.channels[number_ - 1], arguments)

    return replace(
        command,
        write=on_channel(command.write) if command.write else None,
        query=on_channel(command.query) if command.query else None,
    )


def _source(c: str, key: str) -> tuple[Command, ...]:
    name = f"[:SOURce{c}]:{_NAMES[key]}"
    listed = f"[:SOURce{c}]:LIST:{_NAMES[key]}"
    level = partial(h.source_number, key)
    return (
        Command(
            (f"{name}[:LEVel][:IMMediate][:AMPLitude]",), h.set_level(key), level("level").query
        ),
        Command((f"{name}:MODE",), h.set_mode(key), h.mode(key)),
        Command((f"{name}:RANGe",), h.set_source_range(key), level("range").query),
        Command((f"{name}:RANGe:AUTO",), h.set_source_auto(key), h.source_auto(key)),
        replace(level("start"), patterns=(f"{name}:STARt",)),
        replace(level("stop"), patterns=(f"{name}:STOP",)),
        number(f"{name}:POINts", "sweep_points", 1, 2500, 1, whole=True),
        Command((listed,), h.set_list(key), h.source_list(key)),
        Command((f"{listed}:APPend",), h.append_list(key)),
        query(f"{listed}:POINts", h.list_points(key)),
    )


def _sense(c: str, key: str) -> tuple[Command, ...]:
    name = f":SENSe{c}:{_NAMES[key]}[:DC]"
    return (
        Command((f"{name}:PROTection[:LEVel][:BOTH]",), h.set_limit(key), h.limit(key)),
        query(f"{name}:PROTection:TRIPped", h.tripped(key)),
        Command((f"{name}:RANGe[:UPPer]",), h.set_sense_range(key), h.sense_range(key)),
        Command((f"{name}:RANGe:AUTO",), h.set_sense_auto(key), h.sense_auto(key)),
        number(f"{name}:NPLCycles", "nplc", 4e-4, 100.0, 1.0),
        Command((f"{name}:APERture",), h.set_aperture, h.aperture),
    )


def _action(c: str, node: str, names: tuple[str, ...]) -> tuple[Command, ...]:
    """The arm and trigger layers of one action, or with ``[:ALL]`` of both."""
    return tuple(
        Command((f":{layer}{c}{node}:{word}",), *h.of_actions(names, attribute, kind))
        for layer, word, attribute, kind in (
            ("TRIGger", "COUNt", "count", "count"),
            ("TRIGger", "DELay", "delay_s", "delay"),
            ("TRIGger", "SOURce[:SIGNal]", "source", "source"),
            ("TRIGger", "TIMer", "timer_s", "timer"),
            ("ARM", "COUNt", "arm_count", "count"),
            ("ARM", "SOURce[:SIGNal]", "arm_source", "source"),
        )
    )


def _channel(number_: int) -> tuple[Command, ...]:
    c = "[1]" if number_ == 1 else str(number_)
    commands = (
        Command((f":OUTPut{c}[:STATe]",), h.set_output, h.output, urgent=True),
        toggle(f":OUTPut{c}:ON:AUTO", "auto_on"),
        toggle(f":OUTPut{c}:OFF:AUTO", "auto_off"),
        choose(f":OUTPut{c}:OFF:MODE", "off_mode", "NORMal", "HIZ", "ZERO"),
        choose(f":OUTPut{c}:LOW", "low_terminal", "GROund", "FLOat"),
        toggle(f":OUTPut{c}:PROTection[:STATe]", "protection"),
        Command((f"[:SOURce{c}]:FUNCtion:MODE",), h.set_function, h.function),
        choose(f"[:SOURce{c}]:FUNCtion:SHAPe", "shape", "DC"),
        toggle(f"[:SOURce{c}]:FUNCtion:TRIGgered:CONTinuous", "holds_last"),
        toggle(f"[:SOURce{c}]:WAIT[:STATe]", "source_wait"),
        toggle(f"[:SOURce{c}]:WAIT:AUTO", "source_wait_auto"),
        toggle(f":SENSe{c}:WAIT[:STATe]", "sense_wait"),
        toggle(f":SENSe{c}:WAIT:AUTO", "sense_wait_auto"),
        choose(f"[:SOURce{c}]:SWEep:SPACing", "spacing", "LINear", "LOGarithmic"),
        choose(f"[:SOURce{c}]:SWEep:DIRection", "direction", "UP", "DOWN"),
        choose(f"[:SOURce{c}]:SWEep:STAir", "stair", "SINGle", "DOUBle"),
        number(f"[:SOURce{c}]:SWEep:POINts", "sweep_points", 1, 2500, 1, whole=True),
        toggle(f":SENSe{c}:REMote", "four_wire"),
        Command((f":SENSe{c}:FUNCtion[:ON]",), h.functions_on, h.functions),
        Command((f":SENSe{c}:FUNCtion:OFF",), h.functions_off),
        action(f":SENSe{c}:FUNCtion[:ON]:ALL", h.all_functions),
        *(each for key in KEYS for each in (*_source(c, key), *_sense(c, key))),
        *_action(c, ":TRANsient", ("transient",)),
        *_action(c, ":ACQuire", ("acquire",)),
        *_action(c, "[:ALL]", ("transient", "acquire")),
    )
    return tuple(_of(number_, each) for each in commands)


_FETCHES = tuple(
    command
    for verb, write in (("FETCh", h.fetch), ("READ", h.read), ("MEASure", h.measure))
    for command in h.readers(verb, write)
)

INSTRUMENT = (
    *common(reset_is_urgent=True),
    *error_queue("1999.0"),
    *status_registers(measurement=True),
    *_FETCHES,
    Command(("*TRG",), write=h.bus_trigger, urgent=True),
    Command((":ABORt[:ALL]",), write=h.abort, urgent=True),
    Command((":ABORt:ACQuire",), write=h.abort, urgent=True),
    Command((":ABORt:TRANsient",), write=h.abort, urgent=True),
    Command((":INITiate[:IMMediate][:ALL]",), write=h.initiate(source_moves=True)),
    Command((":INITiate[:IMMediate]:ACQuire",), write=h.initiate(source_moves=False)),
    Command((":IDLE[:ALL]",), query=lambda inst, arguments: "1", when_idle=True),
    store(":FORMat[:DATA]", h.set_data_format, lambda inst: inst.data_format),
    store(":FORMat:BORDer", h.set_byte_order, lambda inst: "SWAP" if inst.swapped else "NORM"),
    store(":FORMat:ELEMents:SENSe", h.set_elements, lambda inst: ",".join(inst.elements)),
    query(":SYSTem:TIME:TIMer:COUNt", lambda inst, arguments: f"{inst.stamp_s():+.6E}"),
    action(":SYSTem:TIME:TIMer:COUNt:RESet[:IMMediate]", lambda inst: inst.reset_stamp()),
    store(
        ":SYSTem:TIME:TIMer:COUNt:RESet:AUTO",
        h.set_stamp_auto,
        lambda inst: str(int(inst.stamp_resets)),
    ),
    query(":SYSTem:INTerlock:TRIPped", h.interlock_tripped),
    store(":SYSTem:LFRequency", h.set_line_frequency, lambda inst: f"{inst.frequency_hz:.0f}"),
    store(":SYSTem:BEEPer:STATe", h.set_beeper, lambda inst: str(int(inst.beeper))),
)


def tree(channels: int) -> CommandTree:
    """The commands of a model with one or two channels."""
    of_channels = (each for n in range(1, channels + 1) for each in _channel(n))
    return CommandTree((*INSTRUMENT, *of_channels))
