"""A hundred aborts: the instrument is told within a quarter of a second, whatever it does."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from drivebay import AbortedError
from lab import SOAK, Reading, milliseconds, off_after, percentile
from phases import SHORT, SWEEP

pytestmark = pytest.mark.slow

ISSUED_S = 0.25
# Twenty segments: no abort comes too late.
LONG = SWEEP | {"points": 2000}


def test_a_hundred_aborts_reach_the_instrument_within_a_quarter_of_a_second(
    bay, simulator, log, figures
):
    chance = random.Random(100)
    smu = bay.open(simulator.resource)
    issued_s: list[float] = []
    off_s: list[float] = []
    for _ in range(100 * SOAK):
        mark = len(log)
        stream = smu.stream("iv_sweep", **LONG)
        reading = Reading(stream)
        await_a_moment(chance, reading, log, mark)
        at = time.monotonic()

        stream.abort()

        assert isinstance(reading.end(), AbortedError)
        run = bay.runs.open(reading.error.run_id or "")  # type: ignore[union-attr]
        assert (run.state, run.reason) == ("aborted", "user")
        assert len(run) == sum(len(chunk["voltage_v"]) for chunk in reading.chunks)
        told = log.wait(lambda event: event.get("text") == ":ABOR", since=mark)
        issued_s.append(told["t"] - at)
        log.wait("output_off", since=mark)
        waited = off_after(log.since(mark), at)
        assert waited is not None
        off_s.append(waited)

    assert percentile(issued_s, 0.95) <= ISSUED_S
    assert max(off_s) <= 1.0
    figures["abort: aborts"] = str(len(issued_s))
    figures["abort: told to the instrument"] = milliseconds(issued_s)
    figures["abort: output off"] = milliseconds(off_s)


def test_an_abort_at_any_time_after_the_beginning_is_never_lost(bay, simulator):
    """Also one that comes while the driver has not begun yet and could not know of it."""
    smu = bay.open(simulator.resource)
    for number in range(20 * SOAK):
        stream = smu.stream("iv_sweep", **LONG)
        iterator = iter(stream)  # it begins here, in a thread of its own

        (stream if number % 2 else smu).abort()

        with pytest.raises(AbortedError):
            list(iterator)
        assert stream.run.state == "aborted"
        assert smu.status()["output"] is False
    assert smu.measure("iv_sweep", **SHORT).state == "done"


def test_a_stream_aborted_before_it_begins_sends_nothing(bay, simulator, log):
    smu = bay.open(simulator.resource)
    mark = len(log)
    stream = smu.stream("iv_sweep", **SHORT)

    stream.abort("somebody")

    with pytest.raises(AbortedError) as caught:
        list(stream)
    assert caught.value.by == "somebody"
    assert stream.run.state == "aborted"
    assert not [e for e in log.named("message", since=mark) if e["text"] == "*CLS"]


def test_aborting_what_has_ended_stops_nobody_else(bay, simulator, log):
    smu = bay.open(simulator.resource)
    over = smu.stream("iv_sweep", **SHORT)
    begun = iter(over)
    next(begun)
    over._thread.join()  # it ends by itself, with its iterator not read to the end
    mark = len(log)
    reading = Reading(smu.stream("iv_sweep", **SWEEP))
    reading.wait_chunks(1)

    begun.close()
    over.abort()

    assert reading.end() is None
    assert not [e for e in log.named("message", since=mark) if e["text"] == ":ABOR"]


def await_a_moment(chance: random.Random, reading: Reading, log: Any, mark: int) -> None:
    """The output came on, a sweep began, a chunk was stored: one of them, by chance."""
    match chance.randrange(3):
        case 0:
            log.wait("output_on", since=mark)
        case 1:
            log.wait("sweep_begin", since=mark)
        case _:
            reading.wait_chunks(1)
