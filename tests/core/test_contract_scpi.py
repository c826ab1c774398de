"""ScpiDriver on a scripted link: declaration, validation, streams, errors, formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from drivebay._core.contract import ScpiDriver, method
from drivebay._core.errors import (
    AnswerError,
    DriverError,
    InstrumentError,
    LinkLostError,
    LinkTimeoutError,
    MethodError,
    ParameterError,
    PluginStateError,
)
from drivebay._core.links import Link
from drivebay._core.methods import IVSweep

SWEEP: dict[str, Any] = {"start_v": 0, "stop_v": 1, "points": 2, "compliance_a": 1e-3}


class ScriptedLink:
    """A link that notes what is written and answers from a table; a value may be an exception."""

    def __init__(self, answers: dict[str, Any] | None = None, *, binary: bool = False) -> None:
        self.resource = "TCPIP::127.0.0.1::1::SOCKET"
        self.interface = "gpib" if binary else "serial"
        self.supports_binary = binary
        self.timeout_s = 1.0
        self.closed = False
        self.sent: list[str] = []
        self.answers = {":SYST:ERR?": '0,"No error"', ":OUTP?": "0", **(answers or {})}

    def write(self, command: str, *, timeout_s: float | None = None) -> None:
        self.sent.append(command)
        trouble = self.answers.get(f"write {command}")
        if isinstance(trouble, BaseException):
            raise trouble
        self.asked = command

    write_each = Link.write_each
    try_ask = Link.try_ask

    def read(self, *, timeout_s: float | None = None) -> Any:
        self.sent.pop()
        return self.query(self.asked)

    def query(self, command: str, *, timeout_s: float | None = None) -> Any:
        self.sent.append(command)
        answer = self.answers[command]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    query_block = query
    read_block = read

    def interrupt(self) -> bool:
        self.sent.append("<clear>")
        return True

    def close(self) -> None:
        self.closed = True


class Soak(msgspec.Struct, kw_only=True):
    hold_s: float


class Smu(ScpiDriver):
    """One standard method, one of its own, one that takes anything."""

    output_query: ClassVar[str] = ":OUTP?"

    @method("iv_sweep")
    def sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            for levels in p.segments(at_most=1):
                self.write_list(":LIST", levels)
                yield {
                    "voltage_v": levels,
                    "current_a": levels * 1e-3,
                    "time_s": levels,
                    "in_compliance": levels > 2,
                }

    @method("soak", Soak, [("temperature_k", "K")])
    def soak(self, p: Soak) -> dict[str, Any]:
        """Hold and see.

        More of it.
        """
        return {"temperature_k": [p.hold_s]}

    @method("anything")
    def anything(self, params: dict[str, Any]) -> dict[str, Any]:
        return dict(params)


def driver(answers: dict[str, Any] | None = None, *, binary: bool = False, cls: Any = Smu) -> Any:
    made = cls("TCPIP::127.0.0.1::1::SOCKET")
    made.use_link(ScriptedLink(answers, binary=binary))
    return made


# -- declaration ----------------------------------------------------------------------------------


def test_capabilities_are_known_from_the_class_without_an_instrument():
    assert Smu.supported_methods() == ("iv_sweep", "soak", "anything")
    assert Smu("x").get_capabilities() == ["iv_sweep", "soak", "anything"]


def test_a_method_of_the_drivers_own_says_its_parameters_columns_and_help():
    spec = Smu.method_specs()["soak"]

    assert spec.parameters is Soak
    assert spec.columns is not None
    assert [(column.name, column.unit) for column in spec.columns] == [("temperature_k", "K")]
    assert spec.help == "Hold and see."


def test_a_standard_method_cannot_be_given_other_parameters():
    with pytest.raises(ValueError, match="standard method"):
        method("iv_sweep", Soak)
    with pytest.raises(ValueError, match="standard method"):
        method("iv_sweep", columns=["x"])


def test_an_override_keeps_the_declaration_and_is_what_runs():
    class Other(Smu):
        def soak(self, p: Soak) -> dict[str, Any]:
            return {"temperature_k": [p.hold_s + 1]}

    assert Other.supported_methods() == Smu.supported_methods()
    assert driver(cls=Other).measure("soak", {"hold_s": 1})["temperature_k"].tolist() == [2]


def test_an_unknown_method_is_refused_with_what_there_is():
    for call in ("measure", "configure", "stream"):
        with pytest.raises(MethodError, match=r"did you mean 'iv_sweep'.*has: iv_sweep, soak"):
            getattr(driver(), call)("iv_sweeep", {})


# -- parameters -----------------------------------------------------------------------------------


def test_nothing_is_sent_when_a_parameter_is_wrong():
    made = driver()

    with pytest.raises(ParameterError):
        made.measure("iv_sweep", SWEEP | {"points": 1})

    assert made.link.sent == []


def test_a_stream_checks_its_parameters_at_the_call_and_not_at_the_first_chunk():
    with pytest.raises(ParameterError):
        driver().stream("iv_sweep", {})


def test_ranges_of_the_session_are_limits():
    made = driver()
    made.ranges = {"voltage_v": [-0.5, 0.5]}

    with pytest.raises(ParameterError, match="P004"):
        made.measure("iv_sweep", SWEEP)


def test_configure_keeps_parameters_that_measure_adds_to():
    made = driver()

    made.configure("iv_sweep", SWEEP)

    assert len(made.measure("iv_sweep", {"points": 3})["voltage_v"]) == 3
    with pytest.raises(ParameterError):
        made.configure("iv_sweep", {"points": 3})


# -- results --------------------------------------------------------------------------------------


def test_measure_is_the_drained_stream():
    streamed = list(driver().stream("iv_sweep", SWEEP))
    measured = driver().measure("iv_sweep", SWEEP)

    assert [chunk["voltage_v"].tolist() for chunk in streamed] == [[0.0], [1.0]]
    assert measured["voltage_v"].tolist() == [0.0, 1.0]
    assert measured["in_compliance"].dtype == bool


def test_a_dict_that_is_returned_is_one_chunk():
    assert len(list(driver().stream("soak", {"hold_s": "2 s"}))) == 1
    assert driver().measure("anything", {"a": 1, "b": [1, 2]})["a"] == 1


def test_a_chunk_that_breaks_the_declaration_ends_the_measurement_with_the_output_off():
    class Wrong(Smu):
        def sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
            with self.output(on=":OUTP ON", off=":OUTP OFF"):
                yield {"voltage_v": [1.0]}

    made = driver(cls=Wrong)

    with pytest.raises(DriverError, match="missing column"):
        made.measure("iv_sweep", SWEEP)

    assert ":OUTP OFF" in made.link.sent


def test_a_method_that_returns_neither_chunks_nor_a_dict_is_the_drivers_fault():
    class Wrong(Smu):
        def soak(self, p: Soak) -> Any:
            return 5

    with pytest.raises(DriverError, match="returned int, expected chunks"):
        driver(cls=Wrong).measure("soak", {"hold_s": 1})


def test_a_second_measurement_on_the_same_driver_is_refused_while_one_runs():
    made = driver()
    first = made.stream("iv_sweep", SWEEP)
    next(first)

    with pytest.raises(PluginStateError, match="measuring already"):
        made.measure("iv_sweep", SWEEP)

    first.close()
    assert len(made.measure("iv_sweep", SWEEP)["voltage_v"]) == 2


# -- formats --------------------------------------------------------------------------------------


class Reader(Smu):
    @method("read")
    def read(self, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for _ in range(params.get("times", 1)):
            volt, amp = self.query_numbers(":READ?", columns=2, rows=2)
            yield {"v": volt, "i": amp}


def test_numbers_are_read_as_text_where_blocks_do_not_get_through():
    made = driver({":READ?": "1,10,2,9.91E37"}, cls=Reader)

    result = made.measure("read", {})

    assert made.link.sent == [":FORM ASC", ":READ?"]
    assert result["v"].tolist() == [1, 2]
    assert np.isnan(result["i"][1])


def test_numbers_are_read_in_binary_where_blocks_get_through():
    data = np.array([1, 10, 2, 20], dtype="<f4").tobytes()
    made = driver({":READ?": data}, binary=True, cls=Reader)

    result = made.measure("read", {"times": 2})

    assert made.link.sent == [":FORM REAL,32", ":FORM:BORD SWAP", ":READ?", ":READ?"]
    assert result["i"].tolist() == [10, 20, 10, 20]


def test_blocks_without_a_length_are_avoided_where_messages_have_no_end():
    class Endless(Reader):
        binary_has_length = False

    made = driver({":READ?": "1,10,2,20"}, binary=True, cls=Endless)
    made.link.interface = "socket"

    made.measure("read", {})

    assert made.link.sent == [":FORM ASC", ":READ?"]


def test_the_format_is_set_anew_for_each_measurement():
    made = driver({":READ?": "1,10,2,20"}, cls=Reader)

    made.measure("read", {})
    made.measure("read", {})

    assert made.link.sent.count(":FORM ASC") == 2


def test_too_few_numbers_are_an_answer_error():
    with pytest.raises(AnswerError, match="answered 2 numbers, expected 2 x 2"):
        driver({":READ?": "1,2"}, cls=Reader).measure("read", {})


# -- the error queue ------------------------------------------------------------------------------


def test_the_whole_error_queue_is_told_with_the_command_it_was_about():
    queue = ['-222,"Parameter data out of range"', '-113,"Undefined header"', '0,"No error"']
    made = driver({":SYST:ERR?": queue})
    made.write(":SOUR:VOLT 999")

    with pytest.raises(InstrumentError, match="refused ':SOUR:VOLT 999': -222") as caught:
        made.check_errors()

    assert caught.value.entries == (
        (-222, "Parameter data out of range"),
        (-113, "Undefined header"),
    )


def test_with_several_commands_since_the_last_check_it_says_so():
    made = driver({":SYST:ERR?": ['1,"x"', "0"]})
    made.write("a", "b", "c", "d")

    with pytest.raises(InstrumentError, match="one of 4 commands up to 'b', 'c', 'd'"):
        made.check_errors()


def test_an_error_queue_that_never_empties_does_not_hang():
    made = driver({":SYST:ERR?": '-350,"Queue overflow"'})

    with pytest.raises(InstrumentError) as caught:
        made.check_errors()

    assert len(caught.value.entries) == 100


def test_a_question_that_is_not_answered_brings_the_reason_from_the_error_queue():
    queue = ['-420,"Query unterminated"', '0,"No error"']
    made = driver({":READ?": LinkTimeoutError("silent"), ":SYST:ERR?": queue}, cls=Reader)
    made.link.timeout_s = 0.01

    with pytest.raises(LinkTimeoutError, match="silent") as caught:
        made.measure("read", {})

    assert "-420, 'Query unterminated'" in "\n".join(caught.value.__notes__)


def test_an_instrument_that_is_dead_altogether_says_so_too():
    dead = {":READ?": LinkTimeoutError("silent"), ":SYST:ERR?": LinkTimeoutError("dead")}
    made = driver(dead, cls=Reader)
    made.link.timeout_s = 0.01

    with pytest.raises(LinkTimeoutError, match="silent") as caught:
        made.measure("read", {})

    assert "dead" in "\n".join(caught.value.__notes__)


# -- the rest of the contract ---------------------------------------------------------------------


def test_reset_forgets_what_was_configured():
    made = driver()
    made.configure("iv_sweep", SWEEP)

    made.reset()

    assert made.link.sent[:2] == ["*RST", "*CLS"]
    with pytest.raises(ParameterError):
        made.measure("iv_sweep", {})


def test_status_asks_the_instrument_only_when_it_is_idle():
    made = driver({"*STB?": "64", ":OUTP?": "1"})
    idle = made.get_status()
    stream = made.stream("iv_sweep", SWEEP)
    next(stream)
    before = len(made.link.sent)
    busy = made.get_status()

    assert (idle["status_byte"], idle["output"]) == (64, True)
    assert busy["measuring"] is True
    assert len(made.link.sent) == before
    with pytest.raises(InstrumentError, match="still on"):
        list(stream)


def test_identity_is_parsed():
    made = driver({"*IDN?": "ACME,MODEL 1,7,1.0"})

    assert made.get_identity()["model"] == "MODEL 1"


def test_a_lent_link_is_given_back_open_and_an_unconnected_driver_says_so():
    made = driver()
    link = made.link

    made.disconnect()

    assert not link.closed
    with pytest.raises(LinkLostError, match="call connect"):
        made.query("*IDN?")
    assert made.get_status()["connected"] is False


def test_waiting_for_a_bit_polls_until_it_is_set():
    made = driver({"S?": ["0", "0", "8"]})

    assert made.wait_for("S?", 8, poll_s=0.0) == 8
    assert made.link.sent == ["S?"] * 3


def test_waiting_for_a_bit_that_never_comes_ends_at_its_deadline():
    made = driver({"S?": "0"})
    made.link.timeout_s = 0.01

    with pytest.raises(LinkTimeoutError, match="expected a bit of 8"):
        made.wait_for("S?", 8, poll_s=0.0)
