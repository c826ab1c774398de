"""Large answers through shared memory: equal to what was sent, and the reader is never at risk."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from drivebay._core.errors import ProtocolError
from drivebay._core.host import shared
from drivebay._core.host.shared import LEAST_BYTES, SharedIn, SharedOut

COUNTING = """
    def __init__(self, *args):
        super().__init__(*args)
        self.calls = 0

    def many(self, count):
        import numpy as np

        self.calls += 1
        return {"a": np.full(count, float(self.calls)), "b": np.arange(count), "calls": self.calls}
"""


@pytest.mark.parametrize("count", [10, LEAST_BYTES // 16, 1 << 17, 1 << 20])
def test_an_answer_of_any_size_arrives_as_it_was_given(hosted, count):
    host = hosted(COUNTING)

    found = host.call("many", count)

    assert found["calls"] == 1
    assert found["a"].shape == (count,)
    assert (found["a"] == 1.0).all()
    assert (found["b"] == np.arange(count)).all()


def test_the_next_answer_changes_nothing_of_the_one_before(hosted):
    host = hosted(COUNTING)

    first = host.call("many", 1 << 17)
    second = host.call("many", 1 << 17)
    first["b"][:] = 0  # it is the caller's own

    assert (first["a"] == 1.0).all()
    assert (second["a"] == 2.0).all()
    assert (second["b"] == np.arange(1 << 17)).all()


def test_answers_that_grow_and_shrink_and_grow(hosted):
    host = hosted(COUNTING)

    for number, count in enumerate((1 << 16, 1 << 19, 1 << 16, 1 << 20), 1):
        found = host.call("many", count)
        assert (found["a"] == float(number)).all()
        assert found["b"][-1] == count - 1


def test_control_what_is_small_or_cannot_be_shared_goes_through_the_pipe(monkeypatch):
    assert SharedOut().put([bytes(LEAST_BYTES - 1)]) is None
    assert SharedOut().put([bytes(LEAST_BYTES)]) is not None

    monkeypatch.setattr(shared, "AVAILABLE", False)
    assert SharedOut().put([bytes(LEAST_BYTES)]) is None


def test_what_was_put_is_taken_whole():
    data = os.urandom(LEAST_BYTES)
    fd, length = SharedOut().put([data[:1000], memoryview(data)[1000:]])

    assert bytes(SharedIn(os.getpid()).take(fd, length, bytearray)) == data


@pytest.mark.parametrize("sealed", [False, True])
def test_memory_that_may_shrink_under_the_reader_is_not_mapped(sealed):
    fd, length = SharedOut().put([bytes(LEAST_BYTES)])
    if not sealed:
        fd = os.memfd_create("unsealed")
        os.ftruncate(fd, LEAST_BYTES)
    reader = SharedIn(os.getpid())

    if sealed:  # control
        assert len(reader.take(fd, length, bytearray)) == length
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, mmap.PAGESIZE)
    else:
        with pytest.raises(ProtocolError, match="not safe"):
            reader.take(fd, length, bytearray)
        os.close(fd)


@pytest.mark.parametrize("length", [0, -1, LEAST_BYTES + (1 << 20), 1 << 40])
def test_a_length_that_does_not_fit_is_refused(length):
    out = SharedOut()
    fd, _ = out.put([bytes(LEAST_BYTES)])

    with pytest.raises(ProtocolError):
        SharedIn(os.getpid()).take(fd, length, bytearray)


def test_a_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(LEAST_BYTES))
    with file.open("r+b") as opened, pytest.raises(ProtocolError, match="not safe"):
        SharedIn(os.getpid()).take(opened.fileno(), LEAST_BYTES, bytearray)
