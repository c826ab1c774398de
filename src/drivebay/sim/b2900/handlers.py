"""What the B2900's commands do where it is more than keeping a setting.

Promises: a command that is refused changes nothing and raises the error that is queued. Never
measures. A handler of a channel gets the channel, one of the instrument gets the instrument.

From the *Agilent B2900 Series SCPI Command Reference*, B2910-90030 Edition 2, chapter 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drivebay.sim.b2900.channel import ELEMENTS, Channel
from drivebay.sim.b2900.models import full_scale, largest
from drivebay.sim.declaring import limit_named, none, only
from drivebay.sim.parameters import (
    bounded,
    choice,
    number,
    numbers,
    readings_text,
    setting_text,
    string,
    switch,
)
from drivebay.sim.syntax import Command, ScpiError

if TYPE_CHECKING:
    from drivebay.sim.b2900.instrument import B2900

Write = Callable[[Any, list[str]], None]
Query = Callable[[Any, list[str]], str]
MAX_LIST, MAX_COUNT = 2500, 100_000
_LONGEST_S = 1e5
_NAMES = ("VOLTage", "CURRent")
_UNIT = {"VOLT": "V", "CURR": "A"}
_CHANNELS = re.compile(r"\(@\s*(\d)\s*(?:([,:])\s*(\d)\s*)?\)\Z")


# -- the output and the source -------------------------------------------------------------------


def set_output(channel: Channel, arguments: list[str]) -> None:
    channel.set_output(switch(only(arguments)))


def output(channel: Channel, arguments: list[str]) -> str:
    none(arguments)
    return str(int(channel.source.output_on))


def set_function(channel: Channel, arguments: list[str]) -> None:
    """Another function turns the output off; assumed, as the family before it does."""
    chosen = choice(only(arguments), _NAMES)
    if chosen != channel.settings.function:
        channel.set_output(False, "source function")
        channel.settings.function = chosen
        channel.apply()


def function(channel: Channel, arguments: list[str]) -> str:
    none(arguments)
    return channel.settings.function


def _level(key: str, text: str) -> float:
    return bounded(text, -largest(key), largest(key), 0.0, _UNIT[key])


def set_level(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        value, source = _level(key, only(arguments)), channel.settings.source[key]
        if key == channel.settings.function:
            channel.check(value)
        source.level = value
        channel.apply()

    return write


def source_number(key: str, name: str) -> Command:
    """A number of a source function, without consequences."""

    def write(channel: Channel, arguments: list[str]) -> None:
        setattr(channel.settings.source[key], name, _level(key, only(arguments)))

    def look(channel: Channel, arguments: list[str]) -> str:
        named = limit_named(arguments, -largest(key), largest(key), 0.0)
        value = getattr(channel.settings.source[key], name) if named is None else named
        return setting_text(float(value))

    return Command((), write=write, query=look)


def set_mode(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        channel.settings.source[key].mode = choice(only(arguments), ("FIXed", "SWEep", "LIST"))

    return write


def mode(key: str) -> Query:
    return lambda channel, arguments: str(channel.settings.source[key].mode)


def set_source_range(key: str) -> Write:
    """Effective while automatic ranging is off (4-95); a level beyond it is refused."""

    def write(channel: Channel, arguments: list[str]) -> None:
        source = channel.settings.source[key]
        chosen = channel.model.range_for(key, _level(key, only(arguments)))
        if not source.auto_range and abs(source.level) > full_scale(chosen) * 1.000001:
            raise ScpiError(-221)
        source.range = chosen

    return write


def set_source_auto(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        channel.settings.source[key].auto_range = switch(only(arguments))

    return write


def source_auto(key: str) -> Query:
    return lambda channel, arguments: setting_text(channel.settings.source[key].auto_range)


def _list(key: str, arguments: list[str], before: int) -> list[float]:
    if not arguments or not arguments[0]:
        raise ScpiError(-109)
    if before + len(arguments) > MAX_LIST:
        raise ScpiError(-223)
    values = numbers(arguments, _UNIT[key])
    if max(map(abs, values)) > largest(key):
        raise ScpiError(-222)
    return values


def set_list(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        channel.settings.source[key].points = _list(key, arguments, 0)

    return write


def append_list(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        source = channel.settings.source[key]
        source.points = source.points + _list(key, arguments, len(source.points))

    return write


def source_list(key: str) -> Query:
    return lambda channel, arguments: readings_text(channel.settings.source[key].points)


def list_points(key: str) -> Query:
    return lambda channel, arguments: str(len(channel.settings.source[key].points))


# -- the meter and the limits --------------------------------------------------------------------


def set_limit(key: str) -> Write:
    """Both sides of the compliance of a quantity."""

    def write(channel: Channel, arguments: list[str]) -> None:
        sense, top = channel.settings.sense[key], largest(key)
        before, sense.limit = sense.limit, abs(bounded(only(arguments), -top, top, top, _UNIT[key]))
        try:
            if key == channel.limited and channel.source.output_on:
                channel.check(channel.own.level)
        except ScpiError:
            sense.limit = before
            raise
        channel.apply()

    return write


def limit(key: str) -> Query:
    def look(channel: Channel, arguments: list[str]) -> str:
        named = limit_named(arguments, 0.0, largest(key), 2.0 if key == "VOLT" else 1e-4)
        return setting_text(channel.settings.sense[key].limit if named is None else named)

    return look


def tripped(key: str) -> Query:
    def look(channel: Channel, arguments: list[str]) -> str:
        none(arguments)
        on = channel.source.output_on and key == channel.limited
        return str(int(on and channel.source.now().limited))

    return look


def set_sense_range(key: str) -> Write:
    """Effective while automatic ranging is off."""

    def write(channel: Channel, arguments: list[str]) -> None:
        value = _level(key, only(arguments))
        channel.settings.sense[key].range = channel.model.range_for(key, value)

    return write


def sense_range(key: str) -> Query:
    return lambda channel, arguments: setting_text(channel.settings.sense[key].range)


def set_sense_auto(key: str) -> Write:
    def write(channel: Channel, arguments: list[str]) -> None:
        channel.settings.sense[key].auto_range = switch(only(arguments))

    return write


def sense_auto(key: str) -> Query:
    return lambda channel, arguments: setting_text(channel.settings.sense[key].auto_range)


def set_aperture(channel: Channel, arguments: list[str]) -> None:
    """The integration time in seconds; here of 50 Hz, as the number of periods is kept."""
    channel.settings.nplc = bounded(only(arguments), 8e-6, 2.0, 0.02, "S") * 50.0


def aperture(channel: Channel, arguments: list[str]) -> str:
    none(arguments)
    return setting_text(channel.settings.nplc / 50.0)


def functions_on(channel: Channel, arguments: list[str]) -> None:
    chosen = [choice(string(each), (*_NAMES, "RESistance")) for each in arguments]
    channel.settings.functions = sorted({*channel.settings.functions, *chosen})


def functions_off(channel: Channel, arguments: list[str]) -> None:
    gone = [choice(string(each), (*_NAMES, "RESistance")) for each in arguments]
    kept = [each for each in channel.settings.functions if each not in gone]
    channel.settings.functions = kept


def functions(channel: Channel, arguments: list[str]) -> str:
    none(arguments)
    return ",".join(f'"{each}"' for each in channel.settings.functions)


def all_functions(channel: Channel) -> None:
    channel.settings.functions = ["CURR", "RES", "VOLT"]


# -- triggers ------------------------------------------------------------------------------------


def of_actions(names: tuple[str, ...], attribute: str, kind: str) -> tuple[Write, Query | None]:
    """Sets something of one action, or of both; only of one it can be asked."""

    def read(text: str) -> int | float | str:
        if kind == "count":
            return round(bounded(text, 1, MAX_COUNT, 1))
        if kind == "delay":
            return bounded(text, 0.0, _LONGEST_S, 0.0, "S")
        if kind == "timer":
            return bounded(text, 1e-5, _LONGEST_S, 1e-5, "S")
        return choice(text, ("AINT", "BUS", "TIMer"))

    def write(channel: Channel, arguments: list[str]) -> None:
        value = read(only(arguments))
        for name in names:
            setattr(getattr(channel.settings, name), attribute, value)

    def look(channel: Channel, arguments: list[str]) -> str:
        none(arguments)
        return setting_text(getattr(getattr(channel.settings, names[0]), attribute))

    return write, look if len(names) == 1 else None


def channels_of(inst: B2900, arguments: list[str]) -> list[Channel]:
    """The channels of a list, channel 1 without one (1-8).

    Raises:
        ScpiError: -224, no list, or of a channel that the model does not have.
    """
    if not arguments:
        return inst.channels[:1]
    match = _CHANNELS.match(only(arguments))
    if match is None:
        raise ScpiError(-224)
    numbers_ = sorted({int(each) for each in (match[1], match[3]) if each})
    if numbers_[0] < 1 or numbers_[-1] > len(inst.channels):
        raise ScpiError(-224)
    return [inst.channels[each - 1] for each in numbers_]


def initiate(*, source_moves: bool) -> Write:
    def write(inst: B2900, arguments: list[str]) -> None:
        inst.initiate(channels_of(inst, arguments), source_moves=source_moves)

    return write


def abort(inst: B2900, arguments: list[str]) -> None:
    channels_of(inst, arguments)
    inst.abort()


def bus_trigger(inst: B2900, arguments: list[str]) -> None:
    none(arguments)
    if not inst.trigger.bus_trigger("trigger"):
        raise ScpiError(-211)


# -- readings ------------------------------------------------------------------------------------


def readers(verb: str, make: Callable[[int, str], Query]) -> tuple[Command, ...]:
    """``:FETCh:ARRay?``, ``:FETCh[:SCALar]?`` and so on, for all elements or for one."""
    shapes = {":ARRay": 0, "[:SCALar]": 1} if verb != "MEASure" else {"": 1}
    elements = {"": "", ":VOLTage": "VOLT", ":CURRent": "CURR", ":RESistance": "RES"}
    if verb != "MEASure":
        elements |= {":TIME": "TIME", ":STATus": "STAT", ":SOURce": "SOUR"}
    return tuple(
        Command((f":{verb}{shape}{node}",), query=make(last, element), when_idle=verb == "FETCh")
        for shape, last in shapes.items()
        for node, element in elements.items()
    )


def fetch(last: int, element: str) -> Query:
    """The readings; the latest one only if ``last``."""

    def look(inst: B2900, arguments: list[str]) -> Any:
        channels = channels_of(inst, arguments)
        return inst.answer(channels, (element,) if element else inst.elements, latest=bool(last))

    return look


def read(last: int, element: str) -> Any:
    """Initiates, and fetches once it is idle again."""

    def look(inst: B2900, arguments: list[str]) -> None:
        channels = channels_of(inst, arguments)
        inst.initiate(channels, source_moves=True)
        answer = fetch(last, element)
        inst.query_when_idle(Command((), query=lambda it, _: answer(it, arguments)))

    return look


def measure(last: int, element: str) -> Any:
    """One spot measurement with the output on, whatever the trigger counts are."""

    def look(inst: B2900, arguments: list[str]) -> None:
        channels = channels_of(inst, arguments)
        inst.initiate(channels, source_moves=False, once=True)
        answer = fetch(last, element)
        inst.query_when_idle(Command((), query=lambda it, _: answer(it, arguments)))

    return look


# -- the instrument ------------------------------------------------------------------------------


def set_data_format(inst: B2900, arguments: list[str]) -> None:
    text = ",".join(each.upper() for each in arguments)
    known: dict[str, str] = {"ASC": "ASC", "ASCII": "ASC"}
    known |= {f"REAL{comma}{bits}": f"REAL,{bits}" for comma in ("", ",") for bits in (32, 64)}
    if text not in known:
        raise ScpiError(-224)
    inst.data_format = known[text]


def set_byte_order(inst: B2900, arguments: list[str]) -> None:
    inst.swapped = choice(only(arguments), ("NORMal", "SWAPped")) == "SWAP"


def set_elements(inst: B2900, arguments: list[str]) -> None:
    """Whatever the order of the words, the elements have one of their own."""
    if not arguments:
        raise ScpiError(-109)
    words = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus", "SOURce")
    chosen = {choice(each, words) for each in arguments}
    inst.elements = tuple(each for each in ELEMENTS if each in chosen)


def set_stamp_auto(inst: B2900, arguments: list[str]) -> None:
    inst.stamp_resets = switch(only(arguments))


def interlock_tripped(inst: B2900, arguments: list[str]) -> str:
    none(arguments)
    return str(int(not inst.channels[0].source.interlock.closed))


def set_line_frequency(inst: B2900, arguments: list[str]) -> None:
    value = number(only(arguments), "HZ")
    if value not in {50.0, 60.0}:
        raise ScpiError(-224)
    inst.frequency_hz = value


def set_beeper(inst: B2900, arguments: list[str]) -> None:
    inst.beeper = switch(only(arguments))
