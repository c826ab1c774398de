"""The 2400's commands, as data: header, what it sets or answers, and its limits.

Promises: every header here does what it says; a header the simulation does not have is -113, never
silently taken. Never holds state: that is in the instrument's settings.

From the 2400 Series User's Manual, sections 16 (common commands), 17 (signal oriented) and 18 (SCPI
reference). Not simulated, hence -113: CALCulate1 and 2, source memory sweeps, digital I/O, contact
check, 2430 pulse mode.
"""

from __future__ import annotations

from drivebay.sim.declaring import (
    action,
    choose,
    measure_number,
    number,
    query,
    store,
    toggle,
)
from drivebay.sim.keithley2400 import handlers as h
from drivebay.sim.keithley2400 import sensing, sourcing
from drivebay.sim.keithley2400.settings import MAX_READINGS
from drivebay.sim.standard import all_errors, common, next_error, reset
from drivebay.sim.syntax import Command, CommandTree

FETCH = Command((":FETCh",), query=h.fetch, when_idle=True)
_LIMITED = 999.9999
_ARM_SOURCES = ("IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest")

COMMON = (
    *common(),
    Command(("*OPT",), query=lambda i, a: "0"),
    Command(("*RCL",), write=h.recall, urgent=True),
    Command(("*SAV",), write=h.save),
    Command(("*TRG",), write=h.bus_trigger, urgent=True),
)

SIGNAL = (
    FETCH,
    Command((":ABORt",), write=h.abort, urgent=True),
    Command((":INITiate[:IMMediate]",), write=h.initiate),
    Command((":READ",), query=h.read),
    Command(("[:SENSe[1]]:DATA[:LATest]",), query=h.latest, when_idle=True),
    Command((":CONFigure",), query=h.active_functions),
    Command((":MEASure",), query=h.measure_present),
    Command((":CONFigure:CURRent[:DC]",), write=h.configure("CURR")),
    Command((":CONFigure:VOLTage[:DC]",), write=h.configure("VOLT")),
    Command((":CONFigure:RESistance",), write=h.configure("RES")),
    Command((":MEASure:CURRent[:DC]",), query=h.measure("CURR")),
    Command((":MEASure:VOLTage[:DC]",), query=h.measure("VOLT")),
    Command((":MEASure:RESistance",), query=h.measure("RES")),
)

OUTPUT = (
    Command((":OUTPut[1][:STATe]",), write=h.set_output, query=lambda i, a: str(int(i.output_on))),
    choose(":OUTPut[1]:SMODe", "off_mode", "HIMPedance", "NORMal", "ZERO", "GUARd"),
    toggle(":OUTPut[1]:ENABle[:STATe]", "output_enable"),
    query(":OUTPut[1]:ENABle:TRIPped", lambda i, a: str(int(i.interlock_closed))),
    choose(":ROUTe:TERMinals", "rear_terminals", "FRONt", "REAR", flag=True),
)

SOURCE = (
    Command(
        (":SOURce[1]:FUNCtion[:MODE]",),
        write=sourcing.set_source_function,
        query=lambda i, a: i.settings.function,
    ),
    *(
        command
        for function, key in (("VOLTage", "VOLT"), ("CURRent", "CURR"))
        for command in (
            Command(
                (f":SOURce[1]:{function}:MODE",),
                write=sourcing.set_source_mode(key),
                query=sourcing.source_mode(key),
            ),
            Command(
                (f":SOURce[1]:{function}[:LEVel][:IMMediate][:AMPLitude]",),
                write=sourcing.set_level(key),
                query=sourcing.level(key),
            ),
            Command(
                (f":SOURce[1]:{function}[:LEVel]:TRIGgered[:AMPLitude]",),
                write=sourcing.set_triggered_level(key),
                query=sourcing.triggered_level(key),
            ),
            Command(
                (f":SOURce[1]:{function}:RANGe",),
                write=sourcing.set_source_range(key),
                query=sourcing.source_range(key),
            ),
            Command(
                (f":SOURce[1]:{function}:RANGe:AUTO",),
                write=sourcing.set_source_auto(key),
                query=sourcing.source_auto(key),
            ),
            Command(
                (f":SOURce[1]:{function}:STARt",),
                write=sourcing.set_edge(key, "start"),
                query=sourcing.edge(key, "start"),
            ),
            Command(
                (f":SOURce[1]:{function}:STOP",),
                write=sourcing.set_edge(key, "stop"),
                query=sourcing.edge(key, "stop"),
            ),
            Command(
                (f":SOURce[1]:{function}:CENTer",),
                write=sourcing.set_center(key),
                query=sourcing.center(key),
            ),
            Command(
                (f":SOURce[1]:{function}:SPAN",),
                write=sourcing.set_span(key),
                query=sourcing.span(key),
            ),
            Command(
                (f":SOURce[1]:{function}:STEP",),
                write=sourcing.set_step(key),
                query=sourcing.step(key),
            ),
            Command(
                (f":SOURce[1]:LIST:{function}",),
                write=sourcing.set_list(key),
                query=sourcing.source_list(key),
            ),
            Command((f":SOURce[1]:LIST:{function}:APPend",), write=sourcing.append_list(key)),
            Command((f":SOURce[1]:LIST:{function}:POINts",), query=sourcing.list_points(key)),
            Command(
                (f":SOURce[1]:LIST:{function}:STARt",),
                write=sourcing.set_list_start(key),
                query=sourcing.list_start(key),
            ),
        )
    ),
    Command(
        (":SOURce[1]:VOLTage:PROTection[:LEVel]",),
        write=sourcing.set_protection,
        query=sourcing.protection,
    ),
    query(":SOURce[1]:VOLTage:PROTection:TRIPped", lambda i, a: "0"),
    Command((":SOURce[1]:DELay",), write=sourcing.set_source_delay, query=sourcing.source_delay),
    toggle(":SOURce[1]:DELay:AUTO", "source_delay_auto"),
    toggle(":SOURce[1]:CLEar:AUTO", "auto_clear"),
    choose(":SOURce[1]:CLEar:AUTO:MODE", "auto_clear_mode", "ALWays", "TCOunt"),
    action(":SOURce[1]:CLEar[:IMMediate]", lambda i: i.set_output(False)),
    choose(":SOURce[1]:SWEep:SPACing", "spacing", "LINear", "LOGarithmic"),
    number(":SOURce[1]:SWEep:POINts", "sweep_points", 2, MAX_READINGS, MAX_READINGS, whole=True),
    choose(":SOURce[1]:SWEep:DIRection", "direction", "UP", "DOWN"),
    choose(":SOURce[1]:SWEep:RANGing", "sweep_ranging", "BEST", "AUTO", "FIXed"),
    choose(":SOURce[1]:SWEep:CABort", "compliance_abort", "NEVer"),
)

SENSE = (
    Command(("[:SENSe[1]]:FUNCtion[:ON]",), write=sensing.functions_on, query=sensing.functions),
    Command(
        ("[:SENSe[1]]:FUNCtion:OFF",), write=sensing.functions_off, query=sensing.functions_not_on
    ),
    action("[:SENSe[1]]:FUNCtion[:ON]:ALL", sensing.all_functions_on),
    action("[:SENSe[1]]:FUNCtion:OFF:ALL", sensing.all_functions_off),
    query("[:SENSe[1]]:FUNCtion[:ON]:COUNt", lambda i, a: str(len(i.settings.functions))),
    toggle("[:SENSe[1]]:FUNCtion:CONCurrent", "concurrent"),
    *(
        command
        for function, key in (("VOLTage[:DC]", "VOLT"), ("CURRent[:DC]", "CURR"))
        for command in (
            Command(
                (f"[:SENSe[1]]:{function}:RANGe[:UPPer]",),
                write=sensing.set_sense_range(key),
                query=sensing.sense_range(key),
            ),
            Command(
                (f"[:SENSe[1]]:{function}:RANGe:AUTO",),
                write=sensing.set_sense_auto(key),
                query=sensing.sense_auto(key),
            ),
            Command(
                (f"[:SENSe[1]]:{function}:RANGe:AUTO:LLIMit",),
                write=sensing.set_lower_limit(key),
                query=sensing.lower_limit(key),
            ),
            query(f"[:SENSe[1]]:{function}:RANGe:AUTO:ULIMit", sensing.upper_limit(key)),
            number(f"[:SENSe[1]]:{function}:NPLCycles", "nplc", 0.01, 10.0, 1.0),
            Command(
                (f"[:SENSe[1]]:{function}:PROTection[:LEVel]",),
                write=sensing.set_limit(key),
                query=sensing.limit(key),
            ),
            query(f"[:SENSe[1]]:{function}:PROTection:TRIPped", sensing.tripped(key)),
            Command(
                (f"[:SENSe[1]]:{function}:PROTection:RSYNchronize",),
                write=sensing.set_synchronised(key),
                query=sensing.synchronised(key),
            ),
        )
    ),
    measure_number("[:SENSe[1]]:RESistance:RANGe[:UPPer]", "ohm_range", 0.0, 2.1e8, 2.1e5, "OHM"),
    toggle("[:SENSe[1]]:RESistance:RANGe:AUTO", "ohm_auto_range"),
    choose("[:SENSe[1]]:RESistance:MODE", "ohm_mode", "MANual", "AUTO"),
    toggle("[:SENSe[1]]:RESistance:OCOMpensated", "ohm_compensated"),
    number("[:SENSe[1]]:RESistance:NPLCycles", "nplc", 0.01, 10.0, 1.0),
    toggle("[:SENSe[1]]:AVERage[:STATe]", "average"),
    number("[:SENSe[1]]:AVERage:COUNt", "average_count", 1, 100, 10, whole=True),
    choose("[:SENSe[1]]:AVERage:TCONtrol", "average_control", "REPeat", "MOVing"),
)

TRIGGER = (
    Command((":ARM[:SEQuence[1]][:LAYer[1]]:COUNt",), write=h.set_arm_count, query=h.arm_count),
    choose(":ARM[:SEQuence[1]][:LAYer[1]]:SOURce", "arm_source", *_ARM_SOURCES),
    number(":ARM[:SEQuence[1]][:LAYer[1]]:TIMer", "arm_timer_s", 1e-3, 99999.99, 0.1, "S"),
    choose(
        ":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure]:DIRection",
        "arm_direction",
        "SOURce",
        "ACCeptor",
    ),
    number(
        ":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure]:ILINe", "arm_input_line", 1, 4, 1, whole=True
    ),
    number(
        ":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure]:OLINe", "arm_output_line", 1, 4, 2, whole=True
    ),
    choose(
        ":ARM[:SEQuence[1]][:LAYer[1]][:TCONfigure]:OUTPut", "arm_output", "NONE", "TENTer", "TEXit"
    ),
    Command((":TRIGger[:SEQuence[1]]:COUNt",), write=h.set_trigger_count, query=h.trigger_count),
    choose(":TRIGger[:SEQuence[1]]:SOURce", "trigger_source", "IMMediate", "TLINk"),
    number(":TRIGger[:SEQuence[1]]:DELay", "trigger_delay_s", 0.0, _LIMITED, 0.0, "S"),
    choose(
        ":TRIGger[:SEQuence[1]][:TCONfigure]:DIRection", "trigger_direction", "SOURce", "ACCeptor"
    ),
    number(":TRIGger[:SEQuence[1]][:TCONfigure]:ILINe", "trigger_input_line", 1, 4, 1, whole=True),
    number(":TRIGger[:SEQuence[1]][:TCONfigure]:OLINe", "trigger_output_line", 1, 4, 2, whole=True),
    choose(
        ":TRIGger[:SEQuence[1]][:TCONfigure]:OUTPut",
        "trigger_output",
        "NONE",
        "SOURce",
        "DELay",
        "SENSe",
    ),
    action(":TRIGger:CLEar", lambda i: None),
)

FORMAT = (
    Command((":FORMat[:DATA]",), write=h.set_data_format, query=h.data_format),
    Command((":FORMat:ELEMents[:SENSe[1]]",), write=h.set_elements, query=h.elements),
    store(":FORMat:BORDer", h.set_byte_order, lambda i: "SWAP" if i.format.swapped else "NORM"),
    Command(
        (":FORMat:SREGister",), write=h.set_status_format, query=lambda i, a: i.format.status_format
    ),
)

BUFFER = (
    *(
        command
        for root in (":TRACe", ":DATA")
        for command in (
            Command((f"{root}:DATA",), query=h.trace_data, when_idle=True),
            action(f"{root}:CLEar", lambda i: i.trace.clear()),
            query(f"{root}:FREE", lambda i, a: i.trace.free()),
            Command((f"{root}:POINts",), write=h.set_trace_points, query=h.trace_points),
            query(f"{root}:POINts:ACTual", lambda i, a: str(len(i.trace.readings))),
            Command((f"{root}:FEED",), write=h.set_trace_feed, query=lambda i, a: i.trace.feed),
            Command((f"{root}:FEED:CONTrol",), write=h.set_trace_control, query=h.trace_control),
            Command((f"{root}:TSTamp:FORMat",), write=h.set_trace_times, query=h.trace_times),
        )
    ),
    Command((":CALCulate3:FORMat",), write=h.set_statistic, query=lambda i, a: i.trace.statistic),
    query(":CALCulate3:DATA", h.statistic_data),
)

STATUS = (
    *(
        command
        for name in ("MEASurement", "QUEStionable", "OPERation")
        for command in (
            Command((f":STATus:{name}[:EVENt]",), query=h.take_event(name.lower())),
            Command((f":STATus:{name}:CONDition",), query=h.condition(name.lower())),
            Command(
                (f":STATus:{name}:ENABle",),
                write=h.set_enable(name.lower()),
                query=h.enable(name.lower()),
            ),
        )
    ),
    action(":STATus:PRESet", lambda i: i.status.preset()),
    Command((":STATus:QUEue[:NEXT]",), query=next_error),
    action(":STATus:QUEue:CLEar", lambda i: i.status.errors.clear()),
)

SYSTEM = (
    Command((":SYSTem:ERRor[:NEXT]",), query=next_error),
    Command((":SYSTem:ERRor:ALL",), query=all_errors),
    query(":SYSTem:ERRor:COUNt", lambda i, a: str(len(i.status.errors))),
    Command((":SYSTem:ERRor:CODE[:NEXT]",), query=lambda i, a: str(i.status.errors.take())),
    Command((":SYSTem:ERRor:CODE:ALL",), query=h.all_error_codes),
    action(":SYSTem:CLEar", lambda i: i.status.errors.clear()),
    Command((":SYSTem:PRESet",), write=reset, urgent=True),
    query(":SYSTem:VERSion", lambda i, a: "1996.0"),
    query(":SYSTem:TIME", lambda i, a: f"{i.clock.now_s() - i.time_zero_s:.3f}"),
    action(":SYSTem:TIME:RESet", h.reset_time),
    toggle(":SYSTem:RSENse", "four_wire"),
    choose(":SYSTem:GUARd", "guard", "OHMS", "CABLe"),
    store(
        ":SYSTem:AZERo[:STATe]", h.set_auto_zero, lambda i: str(int(i.settings.auto_zero == "ON"))
    ),
    store(":SYSTem:BEEPer[:IMMediate]", h.beep),
    store(":SYSTem:BEEPer:STATe", h.set_beeper, lambda i: str(int(i.beeper))),
    store(":SYSTem:LFRequency", h.set_line_frequency, lambda i: f"{i.line_frequency_hz:.0f}"),
    store(":SYSTem:LFRequency:AUTO", h.set_line_auto, lambda i: str(int(i.line_frequency_auto))),
    action(":SYSTem:LOCal", lambda i: None),
    action(":SYSTem:REMote", lambda i: None),
    action(":SYSTem:RWLock", lambda i: None),
    toggle(":DISPlay:ENABle", "display"),
    number(":DISPlay:DIGits", "digits", 4, 7, 6, whole=True),
    store(":DISPlay[:WINDow[1]]:TEXT[:DATA]", h.set_text, lambda i: f'"{i.settings.display_text}"'),
    toggle(":DISPlay[:WINDow[1]]:TEXT:STATe", "display_text_on"),
    action(":DISPlay:CNDisplay", lambda i: None),
)

TREE = CommandTree(
    (*COMMON, *SIGNAL, *OUTPUT, *SOURCE, *SENSE, *TRIGGER, *FORMAT, *BUFFER, *STATUS, *SYSTEM)
)
