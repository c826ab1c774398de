"""Recording what passes over a link and playing it back, strictly."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import LinkError, LinkTimeoutError
from drivebay._core.links import Recording, ReplayLink, open_direct, record
from drivebay._core.links.answers import INDEFINITE, asks, block_span, decode_answer

LONG_S = 20.0


def session(link) -> list[object]:  # type: ignore[no-untyped-def]
    """What a driver does; the same code for the instrument and for its replay."""
    link.write(":SOUR:FUNC VOLT")
    return [link.query("*IDN?"), link.query_block("CURV?"), link.query("CURR?")]


def test_a_recording_plays_back_to_the_same_code(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    answer = {b"CURV?\n": b"#15\x00\n\xff\xfe!\n"}.get(line, b"A " + line)
                    connection.sendall(answer if b"?" in line else b"")

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"TCPIP::127.0.0.1::{listener.getsockname()[1]}::SOCKET"
        with open_direct(address, timeout_s=LONG_S) as link:
            recording = record(link)
            heard = session(link)
        thread.join(LONG_S)
    recording.save(tmp_path / "session.jsonl")

    loaded = Recording.load(tmp_path / "session.jsonl")
    replay = ReplayLink(loaded)

    assert [entry[1:] for entry in loaded.entries] == [entry[1:] for entry in recording.entries]
    assert replay.resource == address
    assert session(replay) == heard == ["A *IDN?", b"\x00\n\xff\xfe!", "A CURR?"]
    replay.finish()


IDN = [(0, "w", b"*IDN?\n"), (1, "r", b"ACME,1,2,3\n"), (2, "w", b":OUTP ON\n")]


def test_the_first_byte_that_differs_is_named():
    link = ReplayLink(IDN)
    link.query("*IDN?")
    with pytest.raises(LinkError, match="message 3 differs at byte 7: sent b'FF") as caught:
        link.write(":OUTP OFF")
    assert "b':OUTP ON\\n'" in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (IDN[:2], "after the end of the recording"),
        ([*IDN[:2], IDN[1]], "before the recorded answer"),
    ],
)
def test_what_was_not_recorded_is_refused(entries: list[tuple[int, str, bytes]], message: str):
    link = ReplayLink(entries)
    link.query("*IDN?")
    with pytest.raises(LinkError, match=message):
        link.write(":OUTP ON")


def test_what_was_not_played_is_named():
    link = ReplayLink(IDN)
    link.query("*IDN?")
    with pytest.raises(LinkError, match=r"1 recorded messages were not played.*OUTP ON"):
        link.finish()


def test_a_recorded_timeout_is_a_timeout_at_once():
    # Whoever waited for this deadline would wait for an hour.
    messages = [(0, "w", b"SLOW?\n"), (1, "r", b"LATE\n"), (2, "w", b"X?\n")]
    link = ReplayLink(messages, timeout_s=3600)
    link._entries.insert(1, (0, "w", b"*CLS\n"))  # something was sent before the answer came
    link.write("SLOW?")
    with pytest.raises(LinkTimeoutError):
        link.read()


HEAD = '{"drivebay_recording": 1, "resource": "X", "supports_binary": true}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "[]\n",
        '{"drivebay_recording": 9, "resource": "X", "supports_binary": true}\n',
        HEAD + '[0, "x", "a"]\n',
        HEAD + '[0, "w", "\\u20ac"]\n',
        HEAD + "null\n",
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_its_line(tmp_path: Path, text: str):
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.jsonl:[12]: "):
        Recording.load(path)


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.sampled_from("wr"), st.binary(max_size=40))),
    st.booleans(),
)
def test_any_bytes_survive_a_recording(
    tmp_path: Path, entries: list[tuple[int, str, bytes]], binary: bool
):
    Recording("TCPIP::a::1::SOCKET", list(entries), binary).save(tmp_path / "r.jsonl")
    loaded = Recording.load(tmp_path / "r.jsonl")
    assert [entry[1:] for entry in loaded.entries] == [entry[1:] for entry in entries]
    assert loaded.supports_binary is binary


# -- the pure parts: questions, text, blocks ------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (b"*IDN?\n", True),
        (b":MEAS:VOLT? (@1)\n", True),
        (b":OUTP ON;:READ?\n", True),
        (b":OUTP ON\n", False),
        (b":DISP:TEXT 'why?'\n", False),
        (b':DISP:TEXT "it\'s?"\n', False),
        (b':DISP:TEXT "a";:READ?\n', True),
        (b":DATA #13a?b\n", False),
        (b":DATA? #13abc\n", True),
    ],
)
def test_a_question_is_a_question_mark_outside_strings_and_blocks(message: bytes, answer: bool):
    assert asks(message) is answer


@given(st.binary(max_size=30), st.binary(max_size=5))
def test_a_block_is_found_wherever_its_bytes_are_cut(payload: bytes, tail: bytes):
    digits = str(len(payload)).encode()
    block = b"#" + str(len(digits)).encode() + digits + payload
    start = 2 + len(digits)

    assert all(block_span(block[:cut]) is None for cut in range(start))
    assert all(block_span(block[:cut]) == (start, len(payload)) for cut in range(start, len(block)))
    assert block_span(block + tail) == (start, len(payload))


@given(st.binary(max_size=20))
def test_any_bytes_are_a_block_or_not_yet_or_a_reason(data: bytes):
    try:
        span = block_span(data)
    except ValueError as exc:
        assert data[:1] != b"#" or b"digit" in str(exc).encode()  # noqa: PT017
        return
    assert span is None or span[1] == INDEFINITE or span[1] >= 0


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_a_reason(data: bytes):
    try:
        text = decode_answer(data)
    except ValueError:
        return
    assert text in {data.decode("latin-1"), data.decode(errors="replace")}
