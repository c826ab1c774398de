"""The E4980A's commands: header, what it sets or answers, and its limits.

Promises: every header here does what the *Keysight E4980A/E4980AL Precision LCR Meter User's
Guide*, E4980-90230, "SCPI Command Reference", says of it; what the simulation does not have is
-113. Never holds state: that is in the meter's settings.
"""

from __future__ import annotations

from typing import Any

from drivebay.sim.declaring import action, choose, none, number, only, query, toggle
from drivebay.sim.parameters import bounded, choice, numbers, setting_text, switch
from drivebay.sim.standard import common, error_queue, status_registers
from drivebay.sim.syntax import Command, CommandTree, ScpiError

MOST_POINTS = 201
FUNCTIONS = (
    *("CPD", "CPQ", "CPG", "CPRP", "CSD", "CSQ", "CSRS", "LPQ", "LPD", "LPG", "LPRP"),
    *("LSD", "LSQ", "LSRS", "RX", "ZTD", "ZTR", "GB", "YTD", "YTR"),
)


def _answer(meter: Any, arguments: list[str]) -> bytes:
    return bytes(meter.formatted())


FETCH = Command((":FETCh[:IMPedance][:FORMatted]",), query=_answer, when_idle=True)


def fetch(meter: Any, arguments: list[str]) -> None:
    """Answers when it has measured."""
    none(arguments)
    meter.fetch()


def corrected(meter: Any, arguments: list[str]) -> str:
    """``FETCh:IMPedance:CORRected?``: resistance and reactance."""
    none(arguments)
    real, imaginary = meter.impedance()
    return f"{real:+.5E},{imaginary:+.5E}"


def set_frequency(meter: Any, arguments: list[str]) -> None:
    """``FREQuency``."""
    top = meter.model.top_hz
    meter.settings.frequency_hz = bounded(only(arguments), 20.0, top, 1000.0, "HZ")


def set_level(meter: Any, arguments: list[str]) -> None:
    """``VOLTage``."""
    top = meter.model.top_level_v
    meter.settings.level_v = bounded(only(arguments), 0.0, top, 1.0, "V")


def set_bias_level(meter: Any, arguments: list[str]) -> None:
    """``BIAS:VOLTage``; it does not switch the bias on."""
    meter.settings.bias_v = meter.check_bias(bounded(only(arguments), -40.0, 40.0, 0.0, "V"))


def set_bias_state(meter: Any, arguments: list[str]) -> None:
    """``BIAS:STATe``."""
    meter.set_bias(switch(only(arguments)))


def set_aperture(meter: Any, arguments: list[str]) -> None:
    """``APERture SHORt|MEDium|LONG[,averages]``."""
    if not 1 <= len(arguments) <= 2:
        raise ScpiError(-109 if not arguments else -108)
    chosen = choice(arguments[0], ("SHORt", "MEDium", "LONG"))
    averages = round(bounded(arguments[1], 1, 256, 1)) if len(arguments) == 2 else None
    meter.settings.aperture = chosen
    if averages is not None:
        meter.settings.averages = averages


def aperture(meter: Any, arguments: list[str]) -> str:
    """``APERture?``."""
    return f"{meter.settings.aperture},{meter.settings.averages}"


def _listed(arguments: list[str], unit: str) -> list[float]:
    if not arguments:
        raise ScpiError(-109)
    if len(arguments) > MOST_POINTS:
        raise ScpiError(-223)
    return numbers(arguments, unit)


def set_list_frequency(meter: Any, arguments: list[str]) -> None:
    """``LIST:FREQuency``."""
    values = _listed(arguments, "HZ")
    if not all(20.0 <= value <= meter.model.top_hz for value in values):
        raise ScpiError(-222)
    meter.settings.list_hz = values


def set_list_bias(meter: Any, arguments: list[str]) -> None:
    """``LIST:BIAS:VOLTage``."""
    meter.settings.list_bias_v = [meter.check_bias(each) for each in _listed(arguments, "V")]


def set_list_level(meter: Any, arguments: list[str]) -> None:
    """``LIST:VOLTage``."""
    values = _listed(arguments, "V")
    if not all(0.0 <= value <= meter.model.top_level_v for value in values):
        raise ScpiError(-222)
    meter.settings.list_level_v = values


def clear_lists(meter: Any) -> None:
    """``LIST:CLEar:ALL``."""
    meter.settings.list_hz = []
    meter.settings.list_bias_v = []
    meter.settings.list_level_v = []


def _list(name: str) -> Any:
    def query_(meter: Any, arguments: list[str]) -> str:
        values = getattr(meter.settings, name)
        return ",".join(f"{value:+.5E}" for value in values) or "+9.90000E+37"

    return query_


def _kept(pattern: str, name: str) -> Command:
    def write(meter: Any, arguments: list[str]) -> None:
        setattr(meter.kept, name, switch(only(arguments)))

    return Command(
        (pattern,),
        write=write,
        query=lambda meter, arguments: setting_text(bool(getattr(meter.kept, name))),
    )


def set_cable(meter: Any, arguments: list[str]) -> None:
    """``CORRection:LENGth``: 0, 1, 2 or 4 m."""
    value = round(bounded(only(arguments), 0, 4, 0, "M"))
    if value == 3:
        raise ScpiError(-224)
    meter.kept.cable_m = value


def set_format(meter: Any, arguments: list[str]) -> None:
    """``FORMat ASCii|REAL[,64]``."""
    if not 1 <= len(arguments) <= 2:
        raise ScpiError(-109 if not arguments else -108)
    meter.kept.binary = choice(arguments[0], ("ASCii", "REAL")) == "REAL"


def set_border(meter: Any, arguments: list[str]) -> None:
    """``FORMat:BORDer``."""
    meter.kept.swapped = choice(only(arguments), ("NORMal", "SWAPped")) == "SWAP"


def set_continuous(meter: Any, arguments: list[str]) -> None:
    """``INITiate:CONTinuous``; on arms it."""
    meter.settings.continuous = switch(only(arguments))
    if meter.settings.continuous and not meter.busy:
        meter.abort()


def trigger(meter: Any, arguments: list[str]) -> None:
    """``TRIGger``: starts, and answers nothing."""
    none(arguments)
    meter.start()


def trigger_and_answer(meter: Any, arguments: list[str]) -> None:
    """``*TRG``, which is a command with an answer here."""
    none(arguments)
    meter.trigger_and_answer()


SIGNAL = (
    Command(
        (":FREQuency[:CW]",),
        write=set_frequency,
        query=lambda meter, arguments: f"{meter.settings.frequency_hz:+.5E}",
    ),
    Command(
        (":VOLTage[:LEVel]",),
        write=set_level,
        query=lambda meter, arguments: f"{meter.settings.level_v:+.5E}",
    ),
    toggle(":AMPLitude:ALC", "level_control"),
    choose(":FUNCtion:IMPedance[:TYPE]", "function", *FUNCTIONS),
    toggle(":FUNCtion:IMPedance:RANGe:AUTO", "auto_range"),
    number(":FUNCtion:IMPedance:RANGe[:VALue]", "range_ohm", 0.1, 1e5, 100, "OHM"),
    Command((":APERture",), write=set_aperture, query=aperture),
    Command(
        (":BIAS:VOLTage[:LEVel]",),
        write=set_bias_level,
        query=lambda meter, arguments: f"{meter.settings.bias_v:+.5E}",
    ),
    Command(
        (":BIAS:STATe",),
        write=set_bias_state,
        query=lambda meter, arguments: setting_text(bool(meter.bias_on)),
    ),
    toggle(":BIAS:RANGe:AUTO", "bias_range_auto"),
)

LISTS = (
    Command((":LIST:FREQuency",), write=set_list_frequency, query=_list("list_hz")),
    Command((":LIST:BIAS:VOLTage",), write=set_list_bias, query=_list("list_bias_v")),
    Command((":LIST:VOLTage",), write=set_list_level, query=_list("list_level_v")),
    choose(":LIST:MODE", "list_mode", "SEQuence", "STEPped"),
    action(":LIST:CLEar:ALL", clear_lists),
    choose(":DISPlay:PAGE", "page", "MEASurement", "LIST", "MSETup", "CSETup", "LSETup"),
)

TRIGGER = (
    FETCH,
    Command((":FETCh:IMPedance:CORRected",), query=corrected, when_idle=True),
    Command((":TRIGger[:IMMediate]",), write=trigger),
    Command(("*TRG",), write=trigger_and_answer, query=trigger_and_answer),
    choose(":TRIGger:SOURce", "trigger_source", "INTernal", "HOLD", "EXTernal", "BUS"),
    number(":TRIGger:TDELay", "trigger_delay_s", 0, 999, 0, "S"),
    number(":TRIGger:DELay", "step_delay_s", 0, 999, 0, "S"),
    action(":INITiate[:IMMediate]", lambda meter: meter.arm()),
    Command(
        (":INITiate:CONTinuous",),
        write=set_continuous,
        query=lambda meter, arguments: setting_text(bool(meter.settings.continuous)),
    ),
    action(":ABORt", lambda meter: meter.abort()),
)

KEPT = (
    _kept(":CORRection:OPEN:STATe", "open_on"),
    _kept(":CORRection:SHORt:STATe", "short_on"),
    _kept(":CORRection:LOAD:STATe", "load_on"),
    action(":CORRection:OPEN[:EXECute]", lambda meter: None),
    action(":CORRection:SHORt[:EXECute]", lambda meter: None),
    Command(
        (":CORRection:LENGth",),
        write=set_cable,
        query=lambda meter, arguments: f"{meter.kept.cable_m:+d}",
    ),
    Command(
        (":FORMat[:DATA]",),
        write=set_format,
        query=lambda meter, arguments: "REAL" if meter.kept.binary else "ASC",
    ),
    Command(
        (":FORMat:BORDer",),
        write=set_border,
        query=lambda meter, arguments: "SWAP" if meter.kept.swapped else "NORM",
    ),
    query("*OPT", lambda meter, arguments: str(meter.model.options or "0")),
)

# The first of two commands with one header is the one that counts: this FETCh? may start a reading.
TREE = CommandTree(
    (
        *common(reset_is_urgent=False),
        *error_queue("1999.0"),
        *status_registers(),
        Command((":FETCh[:IMPedance][:FORMatted]",), query=fetch),
        *SIGNAL,
        *LISTS,
        *TRIGGER,
        *KEPT,
    )
)
