"""Answers as they came: lines, blocks and pieces, for programs that read bytes themselves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import AnswerError, LinkTimeoutError
from drivebay._core.links import DirectLink
from drivebay._core.links import direct as link_module


class ScriptedLink(DirectLink):
    """A channel that gives chunks in order, in simulated time: empty ones are silence."""

    def __init__(self, chunks: Sequence[bytes], *, end: bool = False) -> None:
        self.now = 0.0
        super().__init__("SCRIPT", "socket", timeout_s=1.0, clock=lambda: self.now)
        self.chunks = list(chunks)
        self.has_end = end
        self.sent: list[bytes] = []

    def _send(self, message: bytes, deadline: float) -> int:
        self.sent.append(message)
        return len(message)

    def _receive(self, deadline: float) -> bytes:
        if not self.chunks or not self.chunks[0]:
            self.chunks[:1] = []
            self.now = max(self.now, deadline)
            return b""
        self._ended = self.has_end and len(self.chunks) == 1
        return self.chunks.pop(0)

    def _waiting(self) -> bool:
        return bool(self.chunks and self.chunks[0])

    def _reconnect(self, deadline: float) -> None:
        self.chunks.clear()

    def _shut(self) -> None:
        self.chunks.clear()


def asked(*chunks: bytes, end: bool = False) -> ScriptedLink:
    """A link on which a question is on its way that these chunks answer."""
    link = ScriptedLink([], end=end)
    link.write("Q?")
    link.chunks = list(chunks)
    return link


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    places = st.lists(st.integers(0, len(data)), max_size=4).map(sorted)
    return places.map(
        lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if b > a]
    )


ANSWERS = st.one_of(
    st.sampled_from([b"+1.5,+2\r\n", b"\n", b"#HFF\n", b"#q17\n", b"text #13abc\n"]),
    st.binary(max_size=40).map(lambda data: b"#2%02d" % len(data) + data + b"\n"),
    st.binary(max_size=9).map(lambda data: b"#1%d" % len(data) + data + b";0\n"),
)


@given(st.data())
def test_an_answer_comes_as_it_was_sent_however_it_was_cut_on_the_way(data):
    first, second = data.draw(ANSWERS), data.draw(ANSWERS)
    link = asked(*data.draw(cuts(first + second)))

    assert link.read_raw() == (first, True)
    assert link.read_raw() == (second, True)


@given(st.data())
def test_where_the_channel_has_end_every_byte_before_it_belongs_to_the_answer(data):
    answer = data.draw(st.binary(min_size=1, max_size=60))
    link = asked(*data.draw(cuts(answer)), end=True)

    assert link.read_raw() == (answer, True)


@given(st.binary(min_size=1, max_size=60).filter(lambda data: data[0] != 0x23), st.integers(1, 9))
def test_a_line_is_read_in_pieces_of_at_most_so_many_bytes(line, at_most):
    link = asked(line.replace(b"\n", b" ") + b"\n")
    pieces, ended = [], False
    while not ended:
        piece, ended = link.read_raw(at_most=at_most)
        assert len(piece) <= at_most
        pieces.append(piece)

    assert b"".join(pieces) == line.replace(b"\n", b" ") + b"\n"


def test_an_answer_without_any_end_can_be_read_by_its_length():
    link = asked(b"\x06", b"#1")

    assert link.read_raw(at_most=1) == (b"\x06", False)
    assert link.read_raw(at_most=2) == (b"#1", False)


def test_a_block_comes_whole_whatever_was_asked_for():
    assert asked(b"#15hel", b"lo\n").read_raw(at_most=3) == (b"#15hello\n", True)


def test_a_block_without_a_terminator_ends_with_silence_and_a_late_one_is_no_answer():
    link = asked(b"#15hello", b"", b"", b"", b"\nnext\n")

    assert link.read_raw() == (b"#15hello", True)
    assert link.read_raw() == (b"next\n", True)


def test_a_block_of_indefinite_length_comes_with_its_newline():
    assert asked(b"#0a\nb\n", b"", b"").read_raw() == (b"#0a\nb\n", True)


def test_a_line_may_end_with_another_byte():
    link = asked(b"R1\rR2\r")

    assert link.read_raw(stop=b"\r") == (b"R1\r", True)
    assert link.read_raw(stop=b"\r") == (b"R2\r", True)


def test_an_answer_that_is_late_may_be_read_again():
    link = asked(b"la")
    with pytest.raises(LinkTimeoutError):
        link.read_raw()
    link.chunks = [b"te\n"]

    assert link.read_raw() == (b"late\n", True)


def test_a_block_in_part_makes_the_next_question_begin_on_a_new_channel():
    link = asked(b"#15he")
    with pytest.raises(LinkTimeoutError):
        link.read_raw()
    link.write("R?")

    assert link.reopened == 1


def test_an_answer_over_the_limit_is_an_error(monkeypatch):
    monkeypatch.setattr(link_module, "MAX_ANSWER", 100)

    with pytest.raises(AnswerError, match="more than 100"):
        asked(b"x" * 200).read_raw()
    with pytest.raises(AnswerError, match="more than 100"):
        asked(b"#3200").read_raw()


def test_after_an_interrupt_an_earlier_answer_is_not_taken_for_a_later_one():
    link = asked(b"old\n")
    assert link.interrupt() is False
    link.write("R?")
    link.chunks.append(b"new\n")

    assert link.read_raw() == (b"new\n", True)


def test_control_without_an_interrupt_two_questions_are_answered_in_order():
    link = asked(b"old\n")
    link.write("R?")
    link.chunks.append(b"new\n")

    assert [link.read_raw()[0], link.read_raw()[0]] == [b"old\n", b"new\n"]


def test_a_command_may_have_an_end_of_its_own():
    link = ScriptedLink([])
    link.write(b"V1", end=b"\r")
    link.write(b"V2", end=b"")
    link.write(b"V3")

    assert link.sent == [b"V1\r", b"V2", b"V3\n"]
