"""The Truevolt meters' commands: header, what it sets or answers, and its limits.

Promises: every header here does what the *Truevolt Series DMM Operating and Service Guide*,
34460-90901, "SCPI Programming Reference", says of it; what the simulation does not have is -113.
Never holds state: that is in the meter's settings.

Not simulated: AC, frequency, temperature, capacitance, diode, continuity, ratio, CALCulate,
MMEMory, level triggers and pre-triggers (the settings exist). Numbers that are settings of the
trigger are answered with seven digits, the real one has nine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivebay.sim.declaring import action, choose, limit_named, none, number, only, query, toggle
from drivebay.sim.parameters import (
    bounded,
    choice,
    definite_block,
    setting_text,
    string,
    switch,
)
from drivebay.sim.standard import common, error_queue, status_registers
from drivebay.sim.syntax import Command, CommandTree, ScpiError

if TYPE_CHECKING:
    from drivebay.sim.truevolt.models import Model

NAMES = {"VOLT": "VOLTage[:DC]", "CURR": "CURRent[:DC]", "RES": "RESistance", "FRES": "FRESistance"}
_UNITS = {"VOLT": "V", "CURR": "A", "RES": "OHM", "FRES": "OHM"}
_DAC_UNITS = {"VOLT": "VDC", "CURR": "ADC", "RES": "OHM", "FRES": "OHM"}


# -- readings -------------------------------------------------------------------------------------


def fetch(meter: Any, arguments: list[str]) -> bytes:
    """All readings; they stay in the memory."""
    none(arguments)
    if not meter.memory:
        raise ScpiError(-230)
    return bytes(meter.formatted(list(meter.memory)))


def read(meter: Any, arguments: list[str]) -> None:
    """Initiates, and answers later."""
    none(arguments)
    meter.read()


def initiate(meter: Any, arguments: list[str]) -> None:
    """Initiates."""
    none(arguments)
    meter.initiate()


def remove(meter: Any, arguments: list[str]) -> bytes | None:
    """``DATA:REMove? n[,WAIT]``: exactly that many of the oldest readings.

    Raises:
        ScpiError: -222, there are not so many and it was not told to wait.
    """
    if not 1 <= len(arguments) <= 2:
        raise ScpiError(-109 if not arguments else -108)
    count = int(bounded(arguments[0], 1, meter.model.memory, 1))
    waits = len(arguments) == 2
    if waits:
        choice(arguments[1], ("WAIT",))
    if count > len(meter.memory):
        if waits and meter.busy:
            meter.query_when_idle(Command((":DATA:REMove",), query=_removed(count), when_idle=True))
            return None
        raise ScpiError(-222)
    return bytes(meter.formatted(meter.remove(count)))


def _removed(count: int) -> Any:
    def query_(meter: Any, arguments: list[str]) -> bytes:
        if count > len(meter.memory):
            raise ScpiError(-222)
        return bytes(meter.formatted(meter.remove(count)))

    return query_


def remove_up_to(meter: Any, arguments: list[str]) -> bytes:
    """``R? [n]``: up to so many of the oldest readings, as a block, whatever the format."""
    most = len(meter.memory)
    if arguments:
        most = min(most, int(bounded(only(arguments), 1, meter.model.memory, 1)))
    values = meter.remove(most)
    if meter.format.bits:
        return bytes(meter.formatted(values)) if values else definite_block(b"")
    return definite_block(meter.formatted(values)) if values else definite_block(b"")


def last(meter: Any, arguments: list[str]) -> str:
    """``DATA:LAST?``: the newest reading with its unit; 9.91E37 if there is none."""
    none(arguments)
    value = meter.memory[-1] if meter.memory else 9.91e37
    return f"{value:+.8E} {_DAC_UNITS[meter.settings.function]}"


FETCH = Command((":FETCh",), query=fetch, when_idle=True)

READINGS = (
    FETCH,
    Command((":READ",), query=read),
    Command((":INITiate[:IMMediate]",), write=initiate),
    action(":ABORt", lambda meter: meter.abort()),
    action("*TRG", lambda meter: meter.bus_trigger()),
    Command((":R",), query=remove_up_to),
    Command((":DATA:REMove",), query=remove),
    query(":DATA:POINts", lambda meter, arguments: f"{len(meter.memory):+d}"),
    query(":DATA:LAST", last),
    number(":DATA:POINts:EVENt:THReshold", "threshold", 1, 2_000_000, 1, whole=True),
)


# -- function and ranges --------------------------------------------------------------------------


def set_function(meter: Any, arguments: list[str]) -> None:
    """``[SENSe:]FUNCtion "VOLT"``.

    Raises:
        ScpiError: -224, a function that the simulation does not have.
    """
    name = string(only(arguments)).upper().removesuffix(":DC")
    for key, pattern in NAMES.items():
        if name in {key, pattern.removesuffix("[:DC]").upper()}:
            meter.settings.function = key
            return
    raise ScpiError(-224)


def range_of(meter: Any, function: str, text: str, top: float = math.inf) -> float:
    """The range that holds a value, of those up to one.

    Raises:
        ScpiError: -222, none does.
    """
    ranges = [full for full in meter.model.ranges(function) if full <= top]
    value = abs(bounded(text, -ranges[-1], ranges[-1], ranges[-1], _UNITS[function]))
    value = ranges[0] if text.upper() in {"MIN", "MINIMUM"} else value
    return float(next(full for full in ranges if value <= full * 1.000001))


def _set_range(function: str) -> Any:
    # That of 10 A is chosen by its terminals or by CONFigure, never here ("CURRent:RANGe").
    top = 3.0 if function == "CURR" else math.inf

    def write(meter: Any, arguments: list[str]) -> None:
        sensing = meter.settings.sensing[function]
        sensing.range = range_of(meter, function, only(arguments), top)
        sensing.auto_range = False
        if function == "CURR" and meter.settings.terminals == "10":
            sensing.range = 10.0

    return write


def _range(function: str) -> Any:
    def query_(meter: Any, arguments: list[str]) -> str:
        ranges = meter.model.ranges(function)
        named = limit_named(arguments, ranges[0], ranges[-1], ranges[-1])
        full = meter.settings.sensing[function].range if named is None else named
        return f"{full:+.8E}"

    return query_


def _switch(function: str, name: str, *, once: bool = False) -> tuple[Any, Any]:
    def write(meter: Any, arguments: list[str]) -> None:
        text = only(arguments)
        on = False if once and text.upper() == "ONCE" else switch(text)
        setattr(meter.settings.sensing[function], name, on)

    def query_(meter: Any, arguments: list[str]) -> str:
        return setting_text(bool(getattr(meter.settings.sensing[function], name)))

    return write, query_


def _set_nplc(function: str) -> Any:
    def write(meter: Any, arguments: list[str]) -> None:
        steps = list(meter.model.nplc)
        wanted = bounded(only(arguments), steps[0], steps[-1], 10.0)
        sensing = meter.settings.sensing[function]
        sensing.nplc = next(each for each in steps if wanted <= each * 1.000001)
        sensing.by_aperture = False

    return write


def _nplc(function: str) -> Any:
    def query_(meter: Any, arguments: list[str]) -> str:
        steps = list(meter.model.nplc)
        named = limit_named(arguments, steps[0], steps[-1], 10.0)
        return f"{meter.settings.sensing[function].nplc if named is None else named:+.8E}"

    return query_


def _set_resolution(function: str) -> Any:
    def write(meter: Any, arguments: list[str]) -> None:
        sensing = meter.settings.sensing[function]
        shares = meter.model.nplc
        finest, coarsest = min(shares.values()), max(shares.values())
        wanted = bounded(
            only(arguments), finest * sensing.range, coarsest * sensing.range, 1e-6 * sensing.range
        )
        sensing.nplc = next(
            (nplc for nplc, share in shares.items() if share * sensing.range <= wanted * 1.000001),
            max(shares),
        )
        sensing.by_aperture = False

    return write


def _resolution(function: str) -> Any:
    def query_(meter: Any, arguments: list[str]) -> str:
        sensing = meter.settings.sensing[function]
        return f"{meter.model.nplc[sensing.nplc] * sensing.range:+.8E}"

    return query_


def _set_aperture(function: str) -> Any:
    def write(meter: Any, arguments: list[str]) -> None:
        sensing = meter.settings.sensing[function]
        sensing.aperture_s = bounded(only(arguments), 20e-6, 1.0, 0.2, "S")
        sensing.by_aperture = True

    return write


def _aperture(function: str) -> Any:
    return lambda meter, arguments: f"{meter.settings.sensing[function].aperture_s:+.8E}"


def _sense(function: str, model: Model) -> list[Command]:
    head = f"[:SENSe]:{NAMES[function]}"
    auto = _switch(function, "auto_range", once=True)
    zero = _switch(function, "auto_zero", once=True)
    commands = [
        Command((f"{head}:RANGe[:UPPer]",), write=_set_range(function), query=_range(function)),
        Command((f"{head}:RANGe[:UPPer]:AUTO",), write=auto[0], query=auto[1]),
        Command((f"{head}:RANGe:AUTO",), write=auto[0], query=auto[1]),
        Command((f"{head}:NPLCycles",), write=_set_nplc(function), query=_nplc(function)),
        Command(
            (f"{head}:RESolution",), write=_set_resolution(function), query=_resolution(function)
        ),
        Command((f"{head}:ZERO:AUTO",), write=zero[0], query=zero[1]),
    ]
    if model.digitizes:
        by_aperture = _switch(function, "by_aperture")
        commands += [
            Command(
                (f"{head}:APERture",), write=_set_aperture(function), query=_aperture(function)
            ),
            Command((f"{head}:APERture:ENABled",), write=by_aperture[0], query=by_aperture[1]),
        ]
        if function in {"RES", "FRES"}:
            offset = _switch(function, "offset_compensation")
            commands.append(Command((f"{head}:OCOMpensated",), write=offset[0], query=offset[1]))
    return commands


def configure(function: str) -> Any:
    """``CONFigure``: defaults, then the range and the resolution that are given.

    Args:
        function: what it chooses.
    """

    def write(meter: Any, arguments: list[str]) -> None:
        if len(arguments) > 2:
            raise ScpiError(-108)
        ranged = bool(arguments) and arguments[0].upper() not in {"AUTO", "DEF", "DEFAULT"}
        full = range_of(meter, function, arguments[0]) if ranged else 0.0
        meter.configure(function)
        if ranged:
            sensing = meter.settings.sensing[function]
            sensing.range, sensing.auto_range = full, False
            if function == "CURR":
                meter.settings.terminals = "10" if full == 10.0 else "3"
        if len(arguments) == 2 and arguments[1].upper() not in {"DEF", "DEFAULT"}:
            _set_resolution(function)(meter, arguments[1:])

    return write


def measure(function: str) -> Any:
    """``MEASure``: ``CONFigure`` and ``READ?``."""
    set_up = configure(function)

    def query_(meter: Any, arguments: list[str]) -> None:
        set_up(meter, arguments)
        meter.read()

    return query_


def configured(meter: Any, arguments: list[str]) -> str:
    """``CONFigure?``."""
    function, sensing = meter.settings.function, meter.sensing
    share = meter.model.nplc[sensing.nplc]
    return f'"{function} {sensing.range:+.8E},{share * sensing.range:+.8E}"'


def set_terminals(meter: Any, arguments: list[str]) -> None:
    """``CURRent:TERMinals``: those for 10 A have one range."""
    meter.settings.terminals = choice(only(arguments), ("3", "10"))
    sensing = meter.settings.sensing["CURR"]
    if meter.settings.terminals == "10":
        sensing.range = 10.0
    elif sensing.range == 10.0:
        sensing.range = 3.0


# -- trigger, format, system ----------------------------------------------------------------------


def set_trigger_count(meter: Any, arguments: list[str]) -> None:
    """``TRIGger:COUNt``, which may be infinite."""
    text = only(arguments)
    if text.upper() in {"INF", "INFINITY"}:
        meter.settings.trigger_count = float("inf")
    else:
        most = meter.model.most_samples
        meter.settings.trigger_count = float(round(bounded(text, 1, most, 1)))


def set_trigger_delay(meter: Any, arguments: list[str]) -> None:
    """``TRIGger:DELay``, which switches the automatic one off."""
    meter.settings.trigger_delay_s = bounded(only(arguments), 0.0, 3600.0, 0.0, "S")
    meter.settings.auto_delay = False


def set_format(meter: Any, arguments: list[str]) -> None:
    """``FORMat[:DATA] ASCii|REAL[,32|64]``."""
    if not 1 <= len(arguments) <= 2:
        raise ScpiError(-109 if not arguments else -108)
    if choice(arguments[0], ("ASCii", "REAL")) == "ASC":
        meter.format.bits = 0
        return
    bits = int(bounded(arguments[1], 32, 64, 32)) if len(arguments) == 2 else 32
    if bits not in {32, 64}:
        raise ScpiError(-224)
    meter.format.bits = bits


def data_format(meter: Any, arguments: list[str]) -> str:
    """``FORMat?``."""
    return f"REAL,{meter.format.bits:d}" if meter.format.bits else "ASC,9"


def set_border(meter: Any, arguments: list[str]) -> None:
    """``FORMat:BORDer``."""
    meter.format.swapped = choice(only(arguments), ("NORMal", "SWAPped")) == "SWAP"


def set_text(meter: Any, arguments: list[str]) -> None:
    """``DISPlay:TEXT``."""
    meter.front.text = string(only(arguments))


def set_display(meter: Any, arguments: list[str]) -> None:
    """``DISPlay``."""
    meter.front.on = switch(only(arguments))


def _clear_text(meter: Any) -> None:
    meter.front.text = ""


def _trigger(model: Model) -> tuple[Command, ...]:
    sources = ("IMMediate", "EXTernal", "BUS", *(("INTernal",) if model.digitizes else ()))
    shared = (
        choose(":TRIGger:SOURce", "trigger_source", *sources),
        Command(
            (":TRIGger:COUNt",),
            write=set_trigger_count,
            query=lambda meter, arguments: setting_text(meter.settings.trigger_count),
        ),
        Command(
            (":TRIGger:DELay",),
            write=set_trigger_delay,
            query=lambda meter, arguments: f"{meter.settings.trigger_delay_s:+.8E}",
        ),
        toggle(":TRIGger:DELay:AUTO", "auto_delay"),
        choose(":TRIGger:SLOPe", "trigger_slope", "POSitive", "NEGative"),
        number(":SAMPle:COUNt", "samples", 1, model.most_samples, 1, whole=True),
    )
    if not model.digitizes:
        return shared
    return (
        *shared,
        number(":TRIGger:LEVel", "trigger_level", -1000, 1000, 0),
        number(":SAMPle:COUNt:PRETrigger", "pretrigger", 0, model.memory - 1, 0, whole=True),
        choose(":SAMPle:SOURce", "sample_source", "IMMediate", "TIMer"),
        Command(
            (":SAMPle:TIMer",),
            write=_set_sample_timer,
            query=_sample_timer,
        ),
    )


def _set_sample_timer(meter: Any, arguments: list[str]) -> None:
    meter.settings.sample_timer_s = bounded(only(arguments), 20e-6, 3600.0, 1.0, "S")


def _sample_timer(meter: Any, arguments: list[str]) -> str:
    # "? MIN" is what the present settings take (SAMPle:TIMer).
    least_s = 20e-6
    if arguments:
        before, meter.settings.sample_source = meter.settings.sample_source, "IMM"
        least_s = max(least_s, meter.cycle_s)
        meter.settings.sample_source = before
    named = limit_named(arguments, least_s, 3600.0, 1.0)
    return f"{meter.settings.sample_timer_s if named is None else named:+.8E}"


SYSTEM = (
    Command((":FORMat[:DATA]",), write=set_format, query=data_format),
    Command(
        (":FORMat:BORDer",),
        write=set_border,
        query=lambda meter, arguments: "SWAP" if meter.format.swapped else "NORM",
    ),
    query(":ROUTe:TERMinals", lambda meter, arguments: "FRON"),
    query(":SYSTem:LFRequency", lambda meter, arguments: f"{meter.line_frequency_hz:+.0f}"),
    action(":SYSTem:BEEPer[:IMMediate]", lambda meter: None),
    action(":SYSTem:PRESet", lambda meter: meter.reset()),
    action(":SYSTem:LOCal", lambda meter: None),
    action(":SYSTem:REMote", lambda meter: None),
    Command(
        (":DISPlay[:STATe]",),
        write=set_display,
        query=lambda meter, arguments: setting_text(bool(meter.front.on)),
    ),
    Command(
        (":DISPlay:TEXT[:DATA]",),
        write=set_text,
        query=lambda meter, arguments: f'"{meter.front.text}"',
    ),
    action(":DISPlay:TEXT:CLEar", _clear_text),
)


def tree_of(model: Model) -> CommandTree:
    """The commands of a model."""
    digitizes = model.digitizes
    commands = [
        *common(reset_is_urgent=False),
        *error_queue("1994.0"),
        *status_registers(),
        query("*OPT", lambda meter, arguments: "0,0,DIG,0,0" if digitizes else "0,0,0,0,0"),
        query(":SYSTem:LICense:CATalog", lambda meter, arguments: '"DIG"' if digitizes else '""'),
        *READINGS,
        *SYSTEM,
        *_trigger(model),
        Command(
            ("[:SENSe]:FUNCtion[:ON]",),
            write=set_function,
            query=lambda meter, arguments: f'"{meter.settings.function}"',
        ),
        toggle("[:SENSe]:VOLTage[:DC]:IMPedance:AUTO", "high_impedance"),
        query(":CONFigure", configured),
    ]
    for function, name in NAMES.items():
        commands += _sense(function, model)
        spelled = f"[:{name.replace('[:DC]', '')}]:DC" if function == "VOLT" else f":{name}"
        commands.append(Command((f":CONFigure{spelled}",), write=configure(function)))
        commands.append(Command((f":MEASure{spelled}",), query=measure(function)))
    if model.currents_a[-1] == 10.0:
        commands.append(
            Command(
                ("[:SENSe]:CURRent[:DC]:TERMinals",),
                write=set_terminals,
                query=lambda meter, arguments: str(meter.settings.terminals),
            )
        )
    return CommandTree(commands)
