"""Chunks reach a slow reader whole and in order, and cost no more memory than a few of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivebay._core.bay import handover
from drivebay._core.bay.handover import Handover
from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore, RunWriter

COLUMNS = [("x", "", "float")]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RunWriter]:
    with RunStore(tmp_path).create(method="numbers", columns=COLUMNS) as writer:
        yield writer


class Given:
    """A hand-over of a run that grows, and how much of it is in memory."""

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self.handover = Handover(lambda: writer.run)

    def keep(self, first: int, rows: int = 1) -> None:
        chunk = {"x": np.arange(float(first), first + rows)}
        self._writer.append(chunk)
        self.handover.put(chunk)

    @property
    def in_memory(self) -> int:
        return len(self.handover._fresh)


def numbers(chunks: Iterator[dict[str, np.ndarray]]) -> list[float]:
    return [float(value) for chunk in chunks for value in chunk["x"]]


def test_what_was_not_read_in_time_is_read_back_from_the_run(writer: RunWriter):
    given = Given(writer)
    for first in range(200):
        given.keep(first)
    in_memory = given.in_memory
    given.handover.end()

    assert numbers(given.handover.chunks()) == list(range(200))
    assert in_memory == handover.MOST_CHUNKS


def test_large_chunks_are_bounded_by_their_bytes(writer: RunWriter):
    given = Given(writer)
    rows = handover.MOST_BYTES // 8 // 3
    for turn in range(6):
        given.keep(turn * rows, rows)
    in_memory = given.in_memory
    given.handover.end()

    assert [chunk["x"][0] for chunk in given.handover.chunks()] == [n * rows for n in range(6)]
    assert in_memory == 3


def test_control_a_chunk_that_is_read_in_time_never_comes_from_the_disk(writer: RunWriter):
    def no_disk() -> object:
        raise AssertionError("it was read back")

    handed = Handover(no_disk)  # type: ignore[arg-type]
    reader = handed.chunks()
    for first in range(3 * handover.MOST_CHUNKS):
        handed.put({"x": np.array([float(first)])})
        assert next(reader)["x"] == [first]


def test_a_reader_that_waits_is_woken_by_each_chunk_and_by_the_end(writer: RunWriter):
    given = Given(writer)
    found: list[float] = []
    reader = threading.Thread(target=lambda: found.extend(numbers(given.handover.chunks())))
    reader.start()

    given.keep(0)
    given.keep(1, 3)
    given.handover.end()

    reader.join(20.0)
    assert found == [0, 1, 2, 3]


def test_what_cannot_be_read_back_is_an_error_of_the_store(writer: RunWriter):
    given = Given(writer)
    for first in range(2 * handover.MOST_CHUNKS):
        given.keep(first)
    writer.run.path.unlink()

    with pytest.raises(StoreError):
        numbers(given.handover.chunks())


@settings(max_examples=20)
@given(
    steps=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    empty=st.sets(st.integers(0, 300)),
)
def test_every_point_comes_once_and_in_order_however_the_reader_falls_behind(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], empty: set[int]
):
    """A step is so many chunks that come before the reader takes one; some are without rows."""
    draft = RunStore(tmp_path_factory.mktemp("runs")).draft(method="numbers", columns=COLUMNS)
    found: list[float] = []
    count = 0
    with draft.open() as writer:
        handed = Handover(lambda: writer.run)
        reader = handed.chunks()
        for step in steps:
            numbered = range(count, count + step)
            count += step
            chunks = [{"x": np.array([] if n in empty else [float(n)])} for n in numbered]
            writer.keep([draft.shape.prepare(chunk) for chunk in chunks])
            for chunk in chunks:
                handed.put(chunk)
            found += next(reader)["x"].tolist()
        handed.end()
        found += numbers(reader)

    assert found == [n for n in range(count) if n not in empty]
