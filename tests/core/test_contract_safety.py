"""Aborts and outputs: told once, off always, and the first error is the one that is seen."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from drivebay._core.contract import ScpiDriver, method
from drivebay._core.errors import (
    AbortedError,
    InstrumentError,
    LimitError,
    LinkError,
    LinkLostError,
    LinkTimeoutError,
)
from drivebay._core.links import Link


class BusyLink:
    """A link whose ``READ?`` answers only when somebody writes an abort; thread-safe enough."""

    def __init__(self, *, binary: bool = False) -> None:
        self.resource, self.interface = "GPIB0::24::INSTR", "gpib"
        self.supports_binary, self.timeout_s, self.closed = binary, 1.0, False
        self.sent: list[str] = []
        self.reading = threading.Event()
        self.aborted = threading.Event()
        self.trouble: dict[str, list[BaseException]] = {}
        self.output = "0"
        self.clears = 0
        self.mute = False

    def _note(self, command: str) -> None:
        self.sent.append(command)
        if self.trouble.get(command):
            raise self.trouble[command].pop(0)

    def write(self, command: str, *, timeout_s: float | None = None) -> None:
        self._note(command)
        if command == ":ABOR":
            self.aborted.set()
        if command.startswith(":OUTP "):
            self.output = "1" if command.endswith("ON") else "0"

    write_each = Link.write_each
    try_ask = Link.try_ask

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        self._note(command)
        return self.output if command == ":OUTP?" else "1,2"

    def read(self, *, timeout_s: float | None = None) -> str:
        self.reading.set()
        if not self.aborted.wait(timeout_s):
            raise LinkTimeoutError("no answer yet")
        if self.mute:
            raise LinkTimeoutError("no answer any more")
        return "1,2"

    def read_block(self, *, timeout_s: float | None = None) -> bytes:
        self.read(timeout_s=timeout_s)
        return struct.pack("<2f", 1, 2)

    def interrupt(self) -> bool:
        self.clears += 1
        if self.trouble.get("<clear>"):
            raise self.trouble["<clear>"].pop(0)
        return False

    def close(self) -> None:
        self.closed = True


class Smu(ScpiDriver):
    output_query: ClassVar[str] = ":OUTP?"
    seen: list[str]

    @method("hold")
    def hold(self, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Do what the test wants with the output on."""
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            yield from params["act"](self)

    @method("careless")
    def careless(self, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The control: the same without the guard."""
        self.write(":OUTP ON")
        yield from params["act"](self)
        self.write(":OUTP OFF")


def made(link: BusyLink | None = None) -> tuple[Smu, BusyLink]:
    link = link or BusyLink()
    smu = Smu("GPIB0::24::INSTR")
    smu.use_link(link)  # type: ignore[arg-type]
    return smu, link


def one(smu: Smu) -> Iterator[dict[str, Any]]:
    yield {"n": [1]}
    yield {"n": [2]}


def boom(smu: Smu) -> Iterator[dict[str, Any]]:
    yield {"n": [1]}
    raise ZeroDivisionError


def read(smu: Smu) -> Iterator[dict[str, Any]]:
    smu.query_numbers(":READ?", columns=2)
    yield {}


def ask(smu: Smu) -> Iterator[dict[str, Any]]:
    yield {"n": smu.ask_numbers(":READ?", columns=2).numbers()[0]}
    yield {"n": [1]}


# -- off, whatever happened -----------------------------------------------------------------------


def test_the_output_is_off_after_a_measurement_that_went_well():
    smu, link = made()

    smu.measure("hold", {"act": one})

    assert link.sent == [":OUTP ON", ":OUTP OFF", ":OUTP?"]


@pytest.mark.parametrize(
    "refusal", [LimitError("not in the dialect"), AbortedError("stopped"), LinkTimeoutError("slow")]
)
def test_a_stop_that_may_not_be_sent_hides_neither_the_error_nor_the_switching_off(refusal):
    smu, link = made()
    link.trouble[":ABOR"] = [refusal]

    with pytest.raises(ZeroDivisionError) as caught:
        smu.measure("hold", {"act": boom})

    assert link.sent == [":OUTP ON", ":ABOR", ":OUTP OFF", ":OUTP?"]
    assert str(refusal) in "".join(caught.value.__notes__)


def test_the_output_is_off_after_the_driver_raised_and_the_error_is_its_own():
    smu, link = made()

    with pytest.raises(ZeroDivisionError):
        smu.measure("hold", {"act": boom})

    assert link.sent == [":OUTP ON", ":ABOR", ":OUTP OFF", ":OUTP?"]
    assert link.clears == 1


def test_control_without_the_guard_the_output_stays_on():
    smu, link = made()

    with pytest.raises(ZeroDivisionError):
        smu.measure("careless", {"act": boom})

    assert link.output == "1"


def test_the_output_is_off_when_the_reader_of_a_stream_goes_away():
    smu, link = made()
    stream = smu.stream("hold", {"act": one})
    next(stream)

    stream.close()

    assert link.output == "0"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_output_is_off_after_an_interrupt_from_the_keyboard(error):
    def interrupted(smu: Smu) -> Iterator[dict[str, Any]]:
        yield {"n": [1]}
        raise error

    smu, link = made()

    with pytest.raises(error):
        smu.measure("hold", {"act": interrupted})

    assert link.output == "0"


def test_off_is_sent_even_if_switching_on_failed():
    smu, link = made()
    link.trouble[":OUTP ON"] = [LinkTimeoutError("slow")]

    with pytest.raises(LinkTimeoutError, match="slow"):
        smu.measure("hold", {"act": one})

    assert ":OUTP OFF" in link.sent


def test_off_is_tried_although_stopping_failed_and_both_are_noted_on_the_first_error():
    smu, link = made()
    link.trouble[":ABOR"] = [LinkTimeoutError("no ABOR")]
    link.trouble[":OUTP OFF"] = [LinkTimeoutError("no OFF")]

    with pytest.raises(ZeroDivisionError) as caught:
        smu.measure("hold", {"act": boom})

    notes = "\n".join(caught.value.__notes__)
    assert "no ABOR" in notes
    assert "no OFF" in notes
    assert "still on" in notes


def test_a_device_clear_that_fails_does_not_keep_the_rest_from_being_sent():
    smu, link = made()
    link.trouble["<clear>"] = [LinkTimeoutError("no clear")]

    with pytest.raises(ZeroDivisionError) as caught:
        smu.measure("hold", {"act": boom})

    assert "no clear" in "\n".join(caught.value.__notes__)
    assert link.sent[1:3] == [":ABOR", ":OUTP OFF"]


def test_an_output_that_stays_on_is_an_error_even_after_a_good_measurement():
    class Stuck(BusyLink):
        def query(self, command: str, *, timeout_s: float | None = None) -> str:
            return "1"

    smu, _ = made(Stuck())

    with pytest.raises(InstrumentError, match="still on"):
        smu.measure("hold", {"act": one})


def test_several_outputs_go_off_in_the_order_opposite_to_on():
    def nested(smu: Smu) -> Iterator[dict[str, Any]]:
        with smu.output(on=[":OUTP2 ON"], off=[":SOUR2 0", ":OUTP2 OFF"]):
            yield {"n": [1]}

    smu, link = made()

    smu.measure("hold", {"act": nested})

    writes = [command for command in link.sent if not command.endswith("?")]
    assert writes == [":OUTP ON", ":OUTP2 ON", ":SOUR2 0", ":OUTP2 OFF", ":OUTP OFF"]


def test_a_lent_link_that_is_lost_is_told_and_not_replaced():
    def cut(smu: Smu) -> Iterator[dict[str, Any]]:
        yield {"n": [1]}
        link = smu.link
        link.closed = True  # type: ignore[misc]
        link.trouble = {":ABOR": [LinkLostError("gone")], ":OUTP OFF": [LinkLostError("gone")]}  # type: ignore[attr-defined]
        raise LinkLostError("cable")

    smu, _ = made()

    with pytest.raises(LinkLostError, match="cable") as caught:
        smu.measure("hold", {"act": cut})

    assert "gone" in "\n".join(caught.value.__notes__)


# -- aborts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [read, ask])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("mute", [False, True])
def test_an_abort_from_another_thread_goes_out_while_a_question_waits(mute, binary, act):
    smu, link = made(BusyLink(binary=binary))
    link.mute = mute
    link.timeout_s = 3600.0

    def stop() -> None:
        link.reading.wait(10)
        smu.abort()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(AbortedError):
        smu.measure("hold", {"act": act})
    thread.join()

    after = link.sent[link.sent.index(":READ?") + 1 :]
    assert after[:2] == [":ABOR", ":OUTP OFF"]
    assert link.output == "0"


def test_an_abort_is_told_at_the_yield_and_cleanup_may_still_talk():
    cleaned: list[str] = []

    def careful(smu: Smu) -> Iterator[dict[str, Any]]:
        try:
            yield {"n": [1]}
        except AbortedError:
            cleaned.append(smu.query("*IDN?"))
            smu.sleep(0.0)
            smu.checkpoint()
            raise

    smu, _ = made()
    stream = smu.stream("hold", {"act": careful})
    next(stream)

    smu.abort()

    with pytest.raises(AbortedError):
        next(stream)
    assert cleaned == ["1,2"]


@pytest.mark.parametrize("place", ["write", "query", "sleep", "checkpoint"])
def test_an_abort_is_told_wherever_the_driver_comes_back_to_us(place):
    told: list[str] = []
    calls = {
        "write": lambda smu: smu.write("X"),
        "query": lambda smu: smu.query("X?"),
        "sleep": lambda smu: smu.sleep(30),
        "checkpoint": lambda smu: smu.checkpoint(),
    }

    def act(smu: Smu) -> Iterator[dict[str, Any]]:
        smu.abort()
        try:
            calls[place](smu)
        except AbortedError:
            told.append(place)
            raise
        yield {"n": [1]}

    smu, link = made()

    with pytest.raises(AbortedError):
        smu.measure("hold", {"act": act})

    assert told == [place]
    assert "X" not in link.sent


@pytest.mark.parametrize("binary", [False, True])
def test_cleanup_after_an_abort_may_wait_for_numbers_as_long_as_it_needs(binary):
    got: list[Any] = []

    def careful(smu: Smu) -> Iterator[dict[str, Any]]:
        try:
            yield {"n": [1]}
        finally:
            link.aborted.clear()
            threading.Timer(0.25, link.aborted.set).start()
            got.append(smu.query_numbers(":READ?", columns=2))

    smu, link = made(BusyLink(binary=binary))
    stream = smu.stream("hold", {"act": careful})
    next(stream)

    smu.abort()

    with pytest.raises(AbortedError):
        next(stream)
    assert got[0].tolist() == [[1], [2]]


def test_an_abort_that_the_driver_swallows_is_told_once_and_still_ends_as_aborted():
    told: list[int] = []

    def stubborn(smu: Smu) -> Iterator[dict[str, Any]]:
        for n in range(5):
            try:
                yield {"n": [n]}
            except AbortedError:
                told.append(n)

    smu, _ = made()
    stream = smu.stream("hold", {"act": stubborn})
    next(stream)
    smu.abort()

    with pytest.raises(AbortedError):
        list(stream)
    assert told == [0]


def test_an_abort_when_nothing_runs_stops_the_instrument_and_not_the_next_measurement():
    smu, link = made()

    smu.abort()

    assert link.sent == [":ABOR"]
    assert smu.measure("hold", {"act": one})["n"].tolist() == [1, 2]


def test_an_abort_without_a_link_is_no_error():
    Smu("GPIB0::24::INSTR").abort()


def test_an_abort_that_cannot_be_sent_still_stops_the_measurement():
    smu, link = made()
    stream = smu.stream("hold", {"act": one})
    next(stream)
    link.trouble[":ABOR"] = [LinkTimeoutError("no ABOR")]

    with pytest.raises(LinkError, match="no ABOR"):
        smu.abort()

    assert ":OUTP OFF" in link.sent
    with pytest.raises(AbortedError):
        next(stream)


def test_an_error_of_the_link_that_the_abort_caused_is_told_as_the_abort():
    class Silenced(BusyLink):
        def query(self, command: str, *, timeout_s: float | None = None) -> str:
            if command == "Q?":
                smu.abort()
                raise LinkTimeoutError("silent")
            return super().query(command)

    def ask(smu: Smu) -> Iterator[dict[str, Any]]:
        smu.query("Q?")
        yield {}

    smu, _ = made(Silenced())

    with pytest.raises(AbortedError) as caught:
        smu.measure("hold", {"act": ask})

    assert isinstance(caught.value.__cause__, LinkTimeoutError)


def test_control_a_link_error_without_an_abort_stays_a_link_error():
    def broken(smu: Smu) -> Iterator[dict[str, Any]]:
        smu.link.trouble["Q?"] = [LinkTimeoutError("silent")]  # type: ignore[attr-defined]
        smu.query("Q?")
        yield {}

    smu, _ = made()

    with pytest.raises(LinkTimeoutError, match="silent"):
        smu.measure("hold", {"act": broken})
