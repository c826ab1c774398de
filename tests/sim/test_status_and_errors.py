"""The error queue, the status registers and the common commands, over a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay.sim import Resistor
from drivebay.sim.status import ErrorQueue, RegisterSet


@given(st.lists(st.integers(-499, 999).filter(bool), max_size=40))
def test_the_queue_keeps_the_oldest_errors_and_says_that_it_overflowed(numbers):
    queue = ErrorQueue(10)
    for number in numbers:
        queue.put(number)

    taken = [queue.take() for _ in range(len(queue))]

    if len(numbers) <= 10:
        assert taken == numbers
    else:
        assert taken == [*numbers[:9], -350]
    assert queue.take() == 0


@given(st.lists(st.integers(0, 65535), max_size=20))
def test_an_event_register_remembers_every_bit_that_rose_until_it_is_read(conditions):
    register, rose, last = RegisterSet(), 0, 0
    for value in conditions:
        register.set_condition(value)
        rose |= value & ~last
        last = value

    assert register.take_event() == rose
    assert register.take_event() == 0
    assert register.condition == last


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":NO:SUCH", -113),
        ("*NOPE", -113),
        (":ABOR?", -113),
        ("*IDN", -113),
        (":SOUR:VOLT", -109),
        (":SOUR:VOLT 1,2", -108),
        (":ABOR 1", -108),
        ("*RST 1", -108),
        (":SOUR:VOLT 211", -222),
        (":SOUR:VOLT abc", -104),
        (":SOUR:VOLT 1A", -131),
        (":SOUR:FUNC OHMS", -224),
        (":OUTP MAYBE", -224),
        (":SENS:FUNC VOLT", -151),
        (":SENS:CURR:NPLC 11", -222),
        (":SENS:CURR:NPLC 0.001", -222),
        (":TRIG:COUN 0", -222),
        (":TRIG:COUN 2501", -222),
        (":READ?", 803),
        (":INIT", 803),
        (":FETC?", -230),
        (":TRAC:DATA?", -230),
        ("*TRG", -211),
        (":SENS:CURR:RANG 1", 824),
        (":SENS:CURR:PROT 0.2;:SOUR:VOLT 100", 826),
        (":SOUR:VOLT 100;:SENS:CURR:PROT 0.2", 826),
        (":FORM:DATA REAL,64", -224),
        (":CALC:STAT ON", -113),
        (":DISP:TEXT #X", -161),
        ("*SAV 5", -222),
    ],
)
def test_a_wrong_message_queues_its_error_and_no_other(bench, message, number):
    _, wire = bench(Resistor(1000.0))

    wire.write(message)

    assert wire.errors() == [number]


def test_errors_are_numbered_and_worded_and_read_once(bench):
    _, wire = bench()
    wire.write(":NO:SUCH", ":SOUR:VOLT 999")

    assert wire.query(":SYST:ERR:COUN?") == "2"
    assert wire.query(":SYST:ERR?") == '-113,"Undefined header"'
    assert wire.query(":STAT:QUE?") == '-222,"Parameter data out of range"'
    assert wire.query(":SYST:ERR?") == '0,"No error"'


def test_a_refused_command_changes_nothing(bench):
    _, wire = bench()
    wire.write(":SOUR:VOLT 1.5", ":SOUR:VOLT 999", ":SENS:CURR:PROT 99")

    assert float(wire.query(":SOUR:VOLT?")) == 1.5
    assert float(wire.query(":SENS:CURR:PROT?")) == pytest.approx(1.05e-4)


def test_an_error_in_a_compound_does_not_stop_the_rest(bench):
    _, wire = bench()

    assert wire.query(":SOUR:VOLT 2;:NO:SUCH;:SOUR:VOLT?") == "2.000000E+00"
    assert wire.errors() == [-113]


def test_the_eleventh_error_turns_the_tenth_into_queue_overflow(bench):
    _, wire = bench()
    wire.write(*[":NO:SUCH"] * 12)

    assert wire.errors() == [-113] * 9 + [-350]


@pytest.mark.parametrize(
    ("message", "bit"),
    [(":NO:SUCH", 32), (":SOUR:VOLT 999", 16), (":READ?", 16), ("*OPC", 1)],
)
def test_each_kind_of_event_sets_its_bit_in_the_standard_register(bench, message, bit):
    _, wire = bench()
    assert wire.query("*ESR?") == "128"  # power on

    wire.write(message)

    assert wire.query("*ESR?") == str(bit)
    assert wire.query("*ESR?") == "0"


def test_a_query_interrupted_by_a_transport_is_a_query_error(bench):
    server, wire = bench()
    wire.query("*ESR?")

    server.instrument.query_interrupted()

    assert wire.query("*ESR?") == "4"
    assert wire.errors() == [-410]


def test_the_status_byte_sums_up_what_is_enabled(bench):
    _, wire = bench()
    wire.write("*CLS", "*ESE 32", "*SRE 32")
    assert wire.query("*STB?") == "0"

    wire.write(":NO:SUCH")

    assert wire.query("*STB?") == str(64 + 32 + 4)
    wire.write("*CLS")
    assert wire.query("*STB?") == "0"


def test_a_message_that_already_has_an_answer_shows_it_as_available(bench):
    _, wire = bench()
    wire.write("*CLS")

    assert wire.query("*IDN?;*STB?").split(";")[1] == "16"


def test_answers_to_one_message_come_as_one_message(bench):
    _, wire = bench()

    assert wire.query("*OPC?;:SOUR:FUNC?;:OUTP?") == "1;VOLT;0"


def test_reading_available_and_compliance_are_measurement_events(bench):
    _, wire = bench(Resistor(100.0))
    wire.write(":OUTP ON", ":SOUR:VOLT 1")
    wire.query(":READ?")

    assert int(wire.query(":STAT:MEAS?")) == 64 + (1 << 14)
    assert wire.query(":STAT:MEAS?") == "0"
    assert int(wire.query(":STAT:MEAS:COND?")) & (1 << 14)


def test_idle_is_an_operation_condition(bench):
    _, wire = bench()

    assert wire.query(":STAT:OPER:COND?") == "1024"
    assert wire.query(":STAT:QUES:COND?") == "0"


@pytest.mark.parametrize(
    ("form", "text"), [("HEX", "#H400"), ("OCT", "#Q2000"), ("BIN", "#B10000000000")]
)
def test_status_is_sent_in_the_selected_radix(bench, form, text):
    _, wire = bench()
    wire.write(f":FORM:SREG {form}")

    assert wire.query(":STAT:OPER:COND?") == text


def test_presetting_status_clears_the_enables_and_keeps_the_standard_one(bench):
    _, wire = bench()
    wire.write("*ESE 255", ":STAT:MEAS:ENAB 512", ":STAT:OPER:ENAB #H400", ":STAT:PRES")

    assert wire.query("*ESE?;:STAT:MEAS:ENAB?;:STAT:OPER:ENAB?") == "255;0;0"


def test_saved_settings_come_back_with_the_output_off(bench):
    _, wire = bench(Resistor(1000.0))
    wire.write(":SOUR:VOLT 3", ":SENS:CURR:NPLC 0.1", "*SAV 2", "*RST")
    assert float(wire.query(":SOUR:VOLT?")) == 0.0
    wire.write(":OUTP ON", "*RCL 2")

    assert wire.query(":OUTP?") == "0"
    assert float(wire.query(":SOUR:VOLT?")) == 3.0
    assert float(wire.query(":SENS:CURR:NPLC?")) == 0.1


def test_the_identity_names_the_model_and_serial_number(bench):
    _, wire = bench(model="2440", serial_number="7654321")

    maker, model, serial, firmware = wire.query("*IDN?").split(",")
    assert (maker, model, serial) == ("KEITHLEY INSTRUMENTS INC.", "MODEL 2440", "7654321")
    assert firmware == "C30   Mar 17 2006 09:29:29/A02  /K/J"


def test_every_query_of_the_table_answers_or_queues_an_error_and_never_an_internal_one(bench):
    from drivebay.sim.keithley2400.commands import TREE

    server, wire = bench(Resistor(1000.0))
    asked = []

    def walk(node, header):
        for name, child in node.children.items():
            path = header + ":" + name if not name.startswith("*") else name
            if child.command is not None and child.command.query is not None:
                asked.append(path + "?")
            walk(child, path)

    walk(TREE.root, "")
    assert len(asked) > 1000
    for query in asked:
        server.instrument.receive(_Nowhere(), query)

    assert not server.log.named("internal_error")
    assert {entry["number"] for entry in server.log.named("error")} <= {803, -230}
    wire.write("*CLS")
    assert wire.query("*OPC?") == "1"


class _Nowhere:
    name = "nowhere"

    def send(self, data):
        assert data.endswith(b"\n")

    def flush(self):
        pass


def test_an_open_output_enable_line_blocks_and_ends_the_output_where_it_counts(bench):
    server, wire = bench()
    instrument = server.instrument
    wire.write(":OUTP:ENAB ON", ":OUTP ON")
    assert wire.query(":OUTP?;:OUTP:ENAB:TRIP?") == "1;1"

    instrument.open_interlock()

    assert wire.query(":OUTP?;:OUTP:ENAB:TRIP?") == "0;0"
    wire.write(":OUTP ON")
    assert wire.query(":SYST:ERR?") == '802,"OUTPUT blocked by output enable"'
    wire.write(":OUTP:ENAB OFF", ":OUTP ON")
    assert wire.query(":OUTP?") == "1"
