"""Every setting answers what was set, refuses what it must, and obeys *RST."""

import pytest

from drivebay.sim import Resistor

ROUND_TRIPS = [
    (":SOUR:FUNC CURR", "CURR"),
    (":SOUR:VOLT:MODE LIST", "LIST"),
    (":SOUR:CURR:MODE SWE", "SWE"),
    (":SOUR:VOLT 1.5", "1.500000E+00"),
    (":SOUR:CURR -2MA", "-2.000000E-03"),
    (":SOUR:VOLT:TRIG 2", "2.000000E+00"),
    (":SOUR:VOLT:RANG 3", "2.100000E+01"),
    (":SOUR:VOLT:RANG UP", "2.100000E+02"),
    (":SOUR:VOLT:RANG DOWN", "2.100000E+00"),
    (":SOUR:VOLT:RANG:AUTO OFF", "0"),
    (":SOUR:VOLT:STAR -1", "-1.000000E+00"),
    (":SOUR:CURR:STOP 0.5", "5.000000E-01"),
    (":SOUR:VOLT:STAR 1;STOP 3;CENT 4", "4.000000E+00"),
    (":SOUR:VOLT:STAR 1;STOP 3;SPAN 4", "4.000000E+00"),
    (":SOUR:VOLT:STAR 0;STOP 3;STEP 0.5", "5.000000E-01"),
    (":SOUR:LIST:VOLT 1,-2", "+1.000000E+00,-2.000000E+00"),
    (":SOUR:LIST:CURR:STAR 2", "2"),
    (":SOUR:VOLT:PROT 40", "4.000000E+01"),
    (":SOUR:DEL 0.25", "2.500000E-01"),
    (":SOUR:DEL:AUTO OFF", "0"),
    (":SOUR:CLE:AUTO ON", "1"),
    (":SOUR:CLE:AUTO:MODE TCO", "TCO"),
    (":SOUR:SWE:SPAC LOG", "LOG"),
    (":SOUR:SWE:POIN 11", "11"),
    (":SOUR:SWE:DIR DOWN", "DOWN"),
    (":SOUR:SWE:RANG FIX", "FIX"),
    (":SENS:FUNC 'VOLT:DC'", '"VOLT:DC","CURR:DC"'),
    (":SENS:FUNC:OFF 'CURRent'", '"VOLT:DC","CURR:DC","RES"'),
    (":SENS:FUNC:CONC OFF", "0"),
    (":SENS:CURR:NPLC 0.1", "1.000000E-01"),
    (":SENS:CURR:PROT 1E-3", "1.000000E-03"),
    (":SENS:CURR:PROT:RSYN ON", "1"),
    (":SENS:VOLT:PROT 5", "5.000000E+00"),
    (":SENS:CURR:RANG 1E-5", "1.050000E-05"),
    (":SENS:CURR:RANG DOWN", "1.050000E-05"),
    (":SENS:CURR:RANG:AUTO OFF", "0"),
    (":SENS:CURR:RANG:AUTO:LLIM 1E-5", "1.050000E-05"),
    (":SENS:RES:RANG 2000", "2.000000E+03"),
    (":SENS:RES:RANG:AUTO OFF", "0"),
    (":SENS:RES:MODE MAN", "MAN"),
    (":SENS:RES:OCOM ON", "1"),
    (":SENS:AVER ON", "1"),
    (":SENS:AVER:COUN 20", "20"),
    (":SENS:AVER:TCON MOV", "MOV"),
    (":ARM:COUN 3", "3"),
    (":ARM:COUN INF", "+9.900000E+37"),
    (":ARM:SOUR TIM", "TIM"),
    (":ARM:TIM 0.25", "2.500000E-01"),
    (":ARM:DIR SOUR", "SOUR"),
    (":ARM:ILIN 3", "3"),
    (":ARM:OUTP TENT", "TENT"),
    (":TRIG:COUN 12", "12"),
    (":TRIG:SOUR TLIN", "TLIN"),
    (":TRIG:DEL 0.5", "5.000000E-01"),
    (":TRIG:OUTP SENS", "SENS"),
    (":OUTP:SMOD HIMP", "HIMP"),
    (":ROUT:TERM REAR", "REAR"),
    (":SYST:RSEN ON", "1"),
    (":SYST:GUAR OHMS", "OHMS"),
    (":SYST:AZER OFF", "0"),
    (":DISP:ENAB OFF", "0"),
    (":DISP:DIG 5", "5"),
    (":DISP:TEXT 'hello; there'", '"hello; there"'),
    (":DISP:TEXT:STAT ON", "1"),
    (":FORM:DATA REAL,32", "REAL,32"),
    (":FORM:BORD SWAP", "SWAP"),
    (":FORM:ELEM CURR,STAT", "CURR,STAT"),
]


def query_of(message):
    """The query of the setting a message ends with."""
    units = message.split(";") if "'" not in message else [message]
    header = units[-1].split(" ")[0]
    if len(units) > 1:
        header = units[0].split(" ")[0].rsplit(":", 1)[0] + ":" + header
    return header + "?"


@pytest.fixture
def wire(bench):
    return bench(Resistor(1000.0))[1].query


@pytest.mark.parametrize(("message", "answer"), ROUND_TRIPS)
def test_a_setting_answers_what_was_set_and_a_reset_undoes_it(wire, message, answer):
    query = query_of(message)
    default = wire(f"*RST;*CLS;{query}")

    assert wire(f"{message};:{query.lstrip(':')}") == answer
    assert wire(":SYST:ERR:COUN?") == "0"
    assert wire(f"*RST;{query}") == default


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (":SYST:BEEP:STAT OFF", "0"),
        (":SYST:LFR 60", "60"),
        (":SYST:LFR:AUTO OFF", "0"),
        (":TRAC:POIN 17", "17"),
        (":TRAC:TST:FORM DELT", "DELT"),
        (":TRAC:FEED:CONT NEXT", "NEXT"),
        (":CALC3:FORM SDEV", "SDEV"),
        ("*ESE 17", "17"),
        ("*SRE 255", "191"),  # bit 6 is no enable
    ],
)
def test_what_a_reset_leaves_alone_answers_what_was_set(wire, message, answer):
    assert wire(f"{message};*RST;:{query_of(message).lstrip(':')}".replace(":*", "*")) == answer
    wire(":TRAC:FEED:CONT NEV;:SYST:BEEP:STAT ON;:SYST:LFR 50;*SRE 0;*ESE 0;*OPC?")


@pytest.mark.parametrize(
    ("query", "low", "high", "default"),
    [
        (":SOUR:VOLT?", -210, 210, 0),
        (":SOUR:CURR:RANG?", 1.05e-6, 1.05, 1.05e-4),
        (":SENS:CURR:PROT?", -1.05, 1.05, 1.05e-4),
        (":SENS:CURR:NPLC?", 0.01, 10, 1),
        (":TRIG:COUN?", 1, 2500, 1),
        (":ARM:COUN?", 1, 2500, 1),
        (":TRIG:DEL?", 0, 999.9999, 0),
        (":SOUR:DEL?", 0, 9999.999, 0),
        (":TRAC:POIN?", 1, 2500, 100),
        (":SENS:AVER:COUN?", 1, 100, 10),
    ],
)
def test_limits_and_defaults_can_be_asked_for(wire, query, low, high, default):
    answers = [float(wire(f"{query} {name}")) for name in ("MIN", "MAXimum", "DEF")]

    assert answers == [pytest.approx(v, rel=1e-6) for v in (low, high, default)]


def test_a_number_may_be_minimum_maximum_or_default(wire):
    assert wire("*RST;:SOUR:VOLT MAX;:SOUR:VOLT?") == "2.100000E+02"
    assert wire(":TRIG:COUN MAX;:TRIG:COUN?") == "2500"
    assert wire(":TRIG:COUN DEF;:TRIG:COUN?") == "1"


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":SOUR:VOLT:CENT 200;SPAN 100", -222),
        (":SOUR:VOLT:STAR 0;STOP 1;STEP -0.1", -221),
        (":SOUR:VOLT:STAR 0;STOP 1;STEP 0.0001", -222),
        (":SOUR:LIST:VOLT", -109),
        (":SOUR:LIST:VOLT 1,abc", -104),
        (":SOUR:LIST:VOLT 1,999", -222),
        (":SENS:FUNC", -109),
        (":SENS:FUNC 'TEMP'", -224),
        (":SENS:FUNC:CONC OFF;:SENS:FUNC 'VOLT','CURR'", -108),
        (":SENS:FUNC:CONC OFF;:SENS:FUNC:ALL", -221),
        (":SENS:CURR:RANG 1E-4;PROT 1E-9", 822),
        (":FORM:DATA", -109),
        (":FORM:DATA ASC,7", -108),
        (":FORM:ELEM", -109),
        (":FORM:ELEM OHMS", -224),
        (":TRAC:FEED CALC", -224),
        (":TRAC:FEED:CONT NEXT;:TRAC:FEED SENS", 800),
        (":SYST:BEEP 1,2,3", -108),
        (":SYST:BEEP 1,2", -222),
        (":SYST:LFR 55", -222),
        (":DISP:TEXT 'more than twenty characters'", -223),
        (":SOUR:VOLT:STAR -1;STOP 1;:SOUR:SWE:SPAC LOG;:SOUR:VOLT:MODE SWE;:OUTP ON;:INIT", -221),
    ],
)
def test_an_impossible_setting_is_refused_with_its_number(wire, message, number):
    wire("*RST;:TRAC:FEED:CONT NEV;*CLS;*OPC?")

    assert wire(f"{message};:SYST:ERR:CODE?;COUN?") in {f"{number};0", f"{number}"}


def test_actions_without_a_visible_effect_are_understood(wire):
    wire("*RST;*CLS;*OPC?")
    for message in (
        ":SYST:LOC",
        ":SYST:REM",
        ":SYST:RWL",
        ":TRIG:CLE",
        ":DISP:CND",
        ":SYST:BEEP 500,0.1",
        ":SYST:AZER ONCE",
        ":SYST:CLE",
        ":STAT:QUE:CLE",
        ":TRAC:CLE",
        ":SYST:TIME:RES",
        ":SOUR:CLE",
        ":SENS:FUNC:OFF:ALL",
    ):
        assert wire(f"{message};*OPC?") == "1"

    assert wire(":SYST:ERR:COUN?") == "0"
    assert wire(":SENS:FUNC?;:SENS:FUNC:COUN?;:SENS:FUNC:OFF?") == ';0;"VOLT:DC","CURR:DC","RES"'
    assert 0 <= float(wire(":SYST:TIME?")) < 20
    assert wire(":SYST:VERS?;:OUTP:ENAB:TRIP?;*TST?;*OPT?;:TRAC:FREE?") == "1996.0;1;0;0;50000,0"


def test_a_resistance_range_that_is_set_is_fixed(wire):
    assert wire("*RST;:SENS:RES:RANG 200;RANG:AUTO?") == "0"


def test_compliance_with_synchronised_ranges_moves_the_measure_range(wire):
    set_up = "*RST;:SENS:CURR:PROT:RSYN ON;:SENS:CURR:PROT 0.01;:SENS:CURR:RANG 0.01"

    assert wire(f"{set_up};:SENS:CURR:PROT 0.001;:SENS:CURR:RANG?") == "1.050000E-03"


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("MEAN", 2.0), ("MAX", 3.0), ("MIN", 1.0), ("PKPK", 2.0), ("SDEV", 1.0)],
)
def test_buffer_statistics_are_those_of_the_stored_readings(wire, statistic, expected):
    wire("*RST;:SENS:CURR:PROT 0.1;:SOUR:LIST:VOLT 1,2,3;:SOUR:VOLT:MODE LIST;:TRIG:COUN 3;*OPC?")
    wire(":TRAC:POIN 3;:TRAC:FEED:CONT NEXT;:OUTP ON;:INIT;*OPC?")

    volts, _, ohms = wire(f":CALC3:FORM {statistic};DATA?").split(",")

    assert float(volts) == pytest.approx(expected)
    assert float(ohms) == pytest.approx(9.91e37)


def test_delta_times_are_since_the_reading_before(wire):
    wire("*RST;:SENS:CURR:PROT 0.1;:SOUR:DEL 0;:TRIG:COUN 3;:TRAC:TST:FORM DELT;:TRAC:POIN 3;*OPC?")
    wire(":TRAC:FEED:CONT NEXT;:OUTP ON;:INIT;:FORM:ELEM TIME;*OPC?")

    times_s = [float(text) for text in wire(":TRAC:DATA?").split(",")]

    assert times_s == [0.0, pytest.approx(0.0201), pytest.approx(0.0201)]
    wire(":TRAC:TST:FORM ABS;*OPC?")


def test_the_latest_reading_alone_can_be_had(wire):
    wire("*RST;:SENS:CURR:PROT 0.1;:SOUR:LIST:VOLT 1,2,3;:SOUR:VOLT:MODE LIST;:TRIG:COUN 3;*OPC?")

    assert len(wire(":FORM:ELEM VOLT;:OUTP ON;:READ?").split(",")) == 3
    assert float(wire(":SENS:DATA:LAT?")) == 3.0


def test_a_triggered_level_is_applied_by_the_next_trigger(wire):
    wire("*RST;:SENS:CURR:PROT 0.1;:OUTP ON;:SOUR:VOLT 1;:SOUR:VOLT:TRIG 2;:FORM:ELEM VOLT;*OPC?")
    assert float(wire(":SOUR:VOLT?")) == 1.0

    assert float(wire(":READ?")) == 2.0
    assert float(wire(":SOUR:VOLT?")) == 2.0


def test_measuring_without_a_function_measures_what_is_selected(wire):
    wire("*RST;:SENS:CURR:PROT 0.1;:SOUR:VOLT 1;:FORM:ELEM CURR;*OPC?")

    assert float(wire(":MEAS?")) == pytest.approx(1e-3, rel=1e-3)
    assert wire(":CONF?") == '"CURR:DC"'
