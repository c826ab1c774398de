"""Messages between processes: whole frames or a named error, whatever the other end does."""

from __future__ import annotations

import os
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core import errors, wire
from drivebay._core.errors import (
    Diagnostic,
    DriverCrashedError,
    LeaseError,
    LinkTimeoutError,
    ParameterError,
    ProtocolError,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def ends():
    (read, write), (their_read, their_write) = wire.pipe_pair()
    ours, theirs = wire.Channel(read, write, peer="them"), wire.Channel(their_read, their_write)
    yield ours, theirs
    ours.close()
    theirs.close()


@given(message=PLAIN, tail=st.binary(max_size=300))
def test_a_frame_arrives_as_it_was_sent(message, tail):
    (read, write), (their_read, their_write) = wire.pipe_pair()
    ours, theirs = wire.Channel(read, write), wire.Channel(their_read, their_write)
    try:
        ours.send(message, [tail])
        ours.send("the next one")

        assert theirs.receive_whole(1.0) == (message, tail)
        assert theirs.receive(1.0) == "the next one"
    finally:
        ours.close()
        theirs.close()


def test_a_tail_longer_than_any_pipe_arrives_whole(ends):
    ours, theirs = ends
    tail = os.urandom(3 << 20)
    sender = threading.Thread(target=ours.send, args=("big", [tail[: 1 << 20], tail[1 << 20 :]]))
    sender.start()

    message, got = theirs.receive_whole(20.0)
    sender.join()

    assert (message, bytes(got)) == ("big", tail)


def test_a_part_of_a_frame_is_kept_until_the_rest_comes(ends):
    ours, theirs = ends
    frame = struct.pack("<II", 6, 0) + b"\xa5hello"
    os.write(ours._write_fd, frame[:9])
    with pytest.raises(TimeoutError, match="did not answer"):
        theirs.receive(0.01)

    os.write(ours._write_fd, frame[9:])

    assert theirs.receive(1.0) == "hello"


def test_a_part_of_a_tail_is_kept_until_the_rest_comes(ends):
    ours, theirs = ends
    tail = os.urandom(100_000)
    body = b"\xa5hello"
    os.write(ours._write_fd, struct.pack("<II", len(body), len(tail)) + body + tail[:70_000])

    with pytest.raises(TimeoutError):
        theirs.receive_whole(0.01)
    os.write(ours._write_fd, tail[70_000:])

    assert theirs.receive_whole(5.0) == ("hello", tail)


def test_a_peer_that_is_gone_is_the_end_of_the_channel(ends):
    ours, theirs = ends
    theirs.close()

    with pytest.raises(EOFError, match="them is gone"):
        ours.receive(1.0)
    with pytest.raises(BrokenPipeError):
        ours.send("anybody?")


def test_a_peer_that_does_not_read_costs_its_time_out_only(ends):
    ours, _ = ends

    with pytest.raises(TimeoutError, match="does not read"):
        ours.send("too much", [bytes(8 << 20)], timeout_s=0.01)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<II", wire.MAX_BODY + 1, 0),
        struct.pack("<II", 1, wire.MAX_TAIL + 1),
        struct.pack("<II", 3, 0) + b"\xc1\xc1\xc1",
    ],
)
def test_what_is_no_frame_ends_the_conversation(ends, data):
    ours, theirs = ends
    os.write(ours._write_fd, data)

    with pytest.raises(ProtocolError):
        theirs.receive(1.0)


@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_make_the_reader_fail_in_another_way(data):
    (read, write), (their_read, their_write) = wire.pipe_pair()
    theirs = wire.Channel(their_read, their_write)
    try:
        os.write(write, data)
        os.close(write)
        for _ in range(40):
            theirs.receive(1.0)
    except (EOFError, ProtocolError):
        pass
    finally:
        os.close(read)
        theirs.close()


def test_greetings_of_one_protocol_carry_facts(ends):
    ours, theirs = ends
    theirs.send({"drivebay": wire.PROTOCOL, "pid": 7})

    assert wire.greet(ours, role="test")["pid"] == 7
    assert theirs.receive(1.0)["role"] == "test"


def test_a_greeting_of_another_protocol_names_both(ends):
    ours, theirs = ends
    theirs.send({"drivebay": 99})

    with pytest.raises(ProtocolError, match=r"99.*this is 1"):
        wire.greet(ours)


def test_an_error_crosses_with_its_facts_and_notes():
    error = DriverCrashedError("gone", plugin="smu", method="iv_sweep", signal="SIGSEGV")
    error.add_note("while sweeping")

    again = wire.unpack_error(wire.pack_error(error))

    assert type(again) is DriverCrashedError
    assert str(again) == "gone"
    assert vars(again) == vars(error)


def test_problems_of_parameters_cross_as_diagnostics():
    error = ParameterError([Diagnostic("P001", "start_v is 'x'", path="/start_v")], method="iv")

    again = wire.unpack_error(wire.pack_error(error))

    assert again.problems == error.problems
    assert str(again) == str(error)


def test_the_holder_of_a_lease_crosses():
    error = LeaseError("held", resource="X", holder={"pid": 3, "user": "a"})

    assert wire.unpack_error(wire.pack_error(error)).holder == {"pid": 3, "user": "a"}


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("x"), ValueError), (KeyError("x"), LookupError)]
)
def test_an_error_of_python_stays_of_its_kind(error, kind):
    assert isinstance(wire.unpack_error(wire.pack_error(error)), kind)


def test_only_known_classes_come_back_to_life():
    forged = wire.unpack_error({"type": "SystemExit", "text": "bye"})
    module = wire.unpack_error({"type": "nearest", "text": "bye"})

    assert type(forged) is RuntimeError
    assert type(module) is RuntimeError
    assert isinstance(wire.unpack_error("nonsense"), ProtocolError)


def test_every_error_of_ours_crosses_as_itself():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DrivebayError)
    ]

    again = [wire.unpack_error({"type": kind.__name__, "text": "t"}) for kind in kinds]

    assert [type(error) for error in again] == kinds
    assert len(kinds) > 20
    assert isinstance(again[kinds.index(LinkTimeoutError)], TimeoutError)
