"""An answer never reaches another question, whatever comes late, twice, in part or not at all."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import AnswerError, LinkLostError, LinkTimeoutError
from drivebay._core.links import DirectLink, Link, open_direct
from drivebay._core.links import direct as link_module

LONG_S = 20.0
SHORT_S = 0.02


# -- a channel with a clock of its own: every order of events, no waiting -------------------------


class VirtualLink(DirectLink):
    """A channel to a simulated instrument, in simulated time.

    ``plan`` gives, for each question in turn, what the instrument does with it: the delays of its
    copies of the answer in seconds (empty: it never answers) and where to cut them.
    """

    def __init__(self, plan: Iterator[tuple[tuple[float, ...], int]], *, timeout_s: float) -> None:
        self.now = 0.0
        super().__init__("VIRTUAL", "socket", timeout_s=timeout_s, clock=lambda: self.now)
        self.plan = plan
        self.coming: list[tuple[float, bytes]] = []
        self.asked: list[str] = []

    def _send(self, message: bytes, deadline: float) -> int:
        question = message.decode().strip()
        self.asked.append(question)
        delays, cut = next(self.plan)
        # SCPI instruments work on one message after the other: no answer overtakes another.
        busy = max([self.now, *(at for at, _ in self.coming)])
        for delay in delays:
            answer = f"A {question}\n".encode()
            cut_at = cut % len(answer)
            self.coming.append((busy, answer[:cut_at]))
            self.coming.append((busy + delay, answer[cut_at:]))
            busy += delay
        return len(message)

    def _receive(self, deadline: float) -> bytes:
        while self.coming and not self.coming[0][1]:
            self.coming.pop(0)
        if not self.coming or self.coming[0][0] > deadline:
            self.now = max(self.now, deadline)
            return b""
        at, data = self.coming.pop(0)
        self.now = max(self.now, at) + 1e-6
        return data

    def _waiting(self) -> bool:
        return any(data and at <= self.now for at, data in self.coming)

    def _reconnect(self, deadline: float) -> None:
        self.coming.clear()

    def _shut(self) -> None:
        self.coming.clear()


DELAYS = st.sampled_from([0.0, 0.5, 0.99, 1.01, 1.5, 3.0, 10.0])
ANSWERS = st.one_of(
    st.tuples(st.tuples(DELAYS), st.integers(0, 20)),
    st.tuples(st.just(()), st.just(0)),
    st.tuples(st.tuples(DELAYS, st.just(0.0)), st.integers(0, 20)),  # said twice, at once
)
ACTIONS = st.lists(st.sampled_from(["query", "query", "write", "read", "block"]), max_size=25)


@pytest.mark.slow
@given(ACTIONS, st.lists(ANSWERS, min_size=1), st.booleans())
def test_whatever_the_instrument_does_an_answer_is_that_of_its_question(
    actions: list[str], plan: list[tuple[tuple[float, ...], int]], known: bool
):
    link = VirtualLink(itertools.cycle(plan), timeout_s=1.0)
    if known:
        link.identity = "A *IDN?"
    once = all(len(delays) == 1 for delays, _ in plan)
    pending: list[str] = []
    for number, action in enumerate(actions):
        question = f"Q{number}?"
        if action == "write" and pending and not once:
            continue  # of two questions on their way nobody can tell which was answered twice
        settles = link._ledger.late or link._ledger.doubt
        if action in {"query", "block"} or (action == "write" and settles):
            pending.clear()  # what is owed is settled before a new question goes out
        with suppress(LinkTimeoutError, AnswerError):
            if action == "query":
                assert link.query(question) == f"A {question}"
            elif action == "block":
                link.query_block(question)
            elif action == "write":
                link.write(question)
                pending.append(question)
            elif pending:
                answer = link.read()
                assert answer == f"A {pending[0]}"
                pending = pending[1:]


class JunkLink(VirtualLink):
    """An instrument that answers every question with the same bytes, in one or several pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(itertools.cycle([((), 0)]), timeout_s=1.0)
        self.pieces = pieces

    def _send(self, message: bytes, deadline: float) -> int:
        self.coming += [(self.now, piece) for piece in self.pieces]
        return len(message)


# Bytes near the grammar of answers: line ends, block headers, digits, text, and anything else.
BYTES = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"#", b"#0", b"#13abc", b"#9", b"9.91E37", b"NAN", b""]),
    st.binary(max_size=8),
)


@given(st.lists(BYTES, max_size=6), st.lists(st.booleans(), min_size=1, max_size=4))
def test_any_bytes_are_an_answer_or_one_of_two_errors(pieces: list[bytes], blocks: list[bool]):
    link = JunkLink(pieces)
    everything = b"".join(pieces)
    for block in blocks:
        with suppress(LinkTimeoutError, AnswerError):
            if block:
                assert link.query_block("CURV?") in everything
            else:
                text = link.query("CURR?")
                assert text.encode("latin-1", "ignore") in everything or text.encode() in everything
                assert "\n" not in text


@given(st.lists(st.sampled_from([0.0, 0.5, 1.01, 1.5, 3.0, 10.0]), min_size=1, max_size=40))
def test_answers_read_one_by_one_stay_in_the_order_of_their_questions(delays: list[float]):
    link = VirtualLink(iter([((delay,), 3) for delay in delays]), timeout_s=1.0)
    for number, _ in enumerate(delays):
        question = f"Q{number}?"
        link.write(question)
        with suppress(LinkTimeoutError):
            assert link.read() == f"A {question}"


def test_a_read_that_timed_out_may_be_read_again():
    link = VirtualLink(iter([((1.5,), 3)]), timeout_s=1.0)
    link.write("SLOW?")
    with pytest.raises(LinkTimeoutError):
        link.read()
    assert link.read() == "A SLOW?"
    assert not link._ledger.blocks_question()


class BlockLink(VirtualLink):
    """Each answer comes as the parts of a list, so many seconds after the question."""

    def __init__(self, *answers: list[tuple[float, bytes]]) -> None:
        super().__init__(itertools.repeat(((), 0)), timeout_s=1.0)
        self.parts = iter(answers)

    def _send(self, message: bytes, deadline: float) -> int:
        super()._send(message, deadline)
        self.coming += [(self.now + delay, part) for delay, part in next(self.parts)]
        return len(message)


AFTER = [(0.0, b"A NEXT?\n")]


@pytest.mark.parametrize(
    "parts",
    [
        [(0.25, b"#15he\nlo\n")],
        [(0.05, b"#"), (0.15, b"15h"), (0.25, b"e\nl"), (0.35, b"o"), (0.45, b"\n")],
        [(0.05, b"#0he\n"), (0.09, b"lo\n")],
    ],
    ids=["late", "in parts", "of no length"],
)
def test_a_block_that_comes_slowly_may_be_read_again_until_it_is_whole(parts):
    link = BlockLink(parts, AFTER)
    link.write("CURV?")
    for _ in range(10):
        with suppress(LinkTimeoutError):
            assert link.read_block(timeout_s=0.1) == b"he\nlo"
            break

    assert link.query("NEXT?") == "A NEXT?"
    assert link.reopened == 0


def test_control_a_block_in_part_that_is_read_on_as_text_leaves_a_doubt():
    link = BlockLink([(0.0, b"#15he\nl"), (0.5, b"o\n")], AFTER)
    link.write("CURV?")
    with pytest.raises(LinkTimeoutError):
        link.read_block(timeout_s=0.1)

    assert link.read() == "#15he"
    for _ in range(10):
        with suppress(AnswerError, LinkTimeoutError):
            link.read_block(timeout_s=0.1)

    assert link.query("NEXT?") == "A NEXT?"
    assert link.reopened == 1


def test_a_silence_cut_by_the_deadline_is_not_the_end_of_a_block():
    link = BlockLink([(0.08, b"#0he\n"), (0.11, b"lo\n")], AFTER)
    link.write("CURV?")

    with pytest.raises(LinkTimeoutError, match="did not end its block"):
        link.read_block(timeout_s=0.1)
    assert link.read_block() == b"he\nlo"


def test_a_late_answer_is_drained_and_the_connection_kept():
    link = VirtualLink(iter([((1.5,), 3), ((0.0,), 3)]), timeout_s=1.0)
    with pytest.raises(LinkTimeoutError):
        link.query("SLOW?")
    assert link.query("FAST?") == "A FAST?"
    assert (link.reopened, link.discarded_bytes) == (0, len("A SLOW?\n"))


def test_an_answer_that_never_comes_makes_the_link_reopen():
    link = VirtualLink(iter([((), 0), ((0.0,), 3)]), timeout_s=1.0)
    with pytest.raises(LinkTimeoutError):
        link.query("LOST?")
    assert link.query("FAST?") == "A FAST?"
    assert link.reopened == 1


@pytest.mark.parametrize("late", [(), (1.2,)], ids=["never", "late"])
def test_a_known_identity_brings_the_stream_back_in_step_without_a_reopen(late):
    link = VirtualLink(iter([(late, 3), ((0.1,), 4), ((0.0,), 3)]), timeout_s=1.0)
    link.identity = "A *IDN?"
    with pytest.raises(LinkTimeoutError):
        link.query("SLOW?")

    assert link.query("FAST?") == "A FAST?"
    assert link.asked == ["SLOW?", "*IDN?", "FAST?"]
    assert link.reopened == 0


def test_half_an_answer_stands_before_the_known_one_and_goes_with_it():
    link = VirtualLink(iter([((0.0,), 3), ((0.0,), 3)]), timeout_s=1.0)
    link.identity = "A *IDN?"
    link.coming.append((0.0, b"+1.2E"))  # an aborted sweep: its rest never comes
    with pytest.raises(LinkTimeoutError, match="5 bytes of it came"):
        link.read()

    assert link.query("FAST?") == "A FAST?"
    assert link.reopened == 0


def test_an_identity_that_is_owed_itself_is_no_mark():
    link = VirtualLink(iter([((1.2,), 3), ((0.0,), 3), ((0.0,), 3)]), timeout_s=1.0)
    link.identity = "A *IDN?"
    with pytest.raises(LinkTimeoutError):
        link.query("*IDN?")

    assert link.query("FAST?") == "A FAST?"
    assert link.asked == ["*IDN?", "FAST?"]  # drained by waiting for it


# -- over a real socket ---------------------------------------------------------------------------


class Instrument:
    """Answers on loopback; what it does with question number n is up to ``serve``."""

    def __init__(self, serve: Callable[[socket.socket, bytes, int], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.resource = f"TCPIP::127.0.0.1::{self.port}::SOCKET"
        self.serve = serve
        self.asked: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                with connection, suppress(OSError):
                    self.converse(connection)

    def converse(self, connection: socket.socket) -> None:
        rest = b""
        while chunk := connection.recv(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.asked.append(line)
                self.serve(connection, line, len(self.asked) - 1)

    def close(self) -> None:
        for one in [self.listener, *self.connections]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(LONG_S)


@contextmanager
def instrument(serve: Callable[[socket.socket, bytes, int], None]) -> Iterator[Instrument]:
    server = Instrument(serve)
    try:
        yield server
    finally:
        server.close()


LATE_EVERY = 20  # 5 %


class LateInstrument:
    """Holds the answer of every 20th question back until the test lets it go (or never does)."""

    def __init__(self) -> None:
        self.held: list[tuple[socket.socket, bytes]] = []
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket, line: bytes, _number: int) -> None:
        answer = b"ANSWER-TO-" + line + b"\n"
        if line.startswith(b"LATE"):
            with self.lock:
                self.held.append((connection, answer))
        else:
            connection.sendall(answer)

    def let_go(self) -> None:
        with self.lock:
            held, self.held = self.held, []
        for connection, answer in held:
            with suppress(OSError):
                connection.sendall(answer)


def question(number: int) -> tuple[str, float]:
    late = number % LATE_EVERY == 7
    return (f"LATE{number}?", SHORT_S) if late else (f"MEAS{number}?", LONG_S)


class NaiveLink:
    """How it is done without a ledger: send, receive a line, forget about a timeout."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = b""

    def query(self, command: str, *, timeout_s: float) -> str:
        self.socket.settimeout(timeout_s)
        self.socket.sendall(command.encode() + b"\n")
        try:
            while b"\n" not in self.buffer:
                self.buffer += self.socket.recv(65536)
        except TimeoutError as exc:
            raise LinkTimeoutError("too late") from exc
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()


def ask_many(link: Link | NaiveLink, late: LateInstrument, count: int) -> tuple[int, int]:
    """Ask ``count`` questions, one in twenty answered late; how many were late, how many wrong."""
    timeouts = wrong = 0
    for number in range(count):
        command, timeout_s = question(number)
        try:
            wrong += link.query(command, timeout_s=timeout_s) != f"ANSWER-TO-{command}"
        except LinkTimeoutError:
            timeouts += 1
            if timeouts % 3 == 0:
                continue  # this one never comes
            if timeouts % 3 == 1:
                late.let_go()  # it lies there when the next question is about to be asked
            else:
                threading.Thread(target=late.let_go).start()  # it comes at any moment
    return timeouts, wrong


@pytest.mark.slow
def test_of_1000_queries_with_5_percent_late_answers_none_is_misattributed(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(link_module, "DRAIN_S", 0.05)
    late = LateInstrument()
    with instrument(late) as server, open_direct(server.resource, timeout_s=LONG_S) as link:
        assert ask_many(link, late, 1000) == (50, 0)
        assert link.discarded_bytes > 0
        assert link.reopened > 0


def test_control_a_link_without_a_ledger_does_misattribute():
    late = LateInstrument()
    with instrument(late) as server:
        naive = NaiveLink(server.port)
        with naive.socket:
            _, wrong = ask_many(naive, late, 100)
    assert wrong > 50


IDN = b"ACME,MODEL 1,42,1.0\n"


def silent_at_slow(idn: Callable[[int], bytes]) -> Callable[[socket.socket, bytes, int], None]:
    """Answers nothing more on a connection on which SLOW? was asked."""
    silent: set[socket.socket] = set()

    def serve(connection: socket.socket, line: bytes, number: int) -> None:
        if line.startswith(b"SLOW"):
            silent.add(connection)
        elif connection in silent:
            return
        elif line == b"*IDN?":
            connection.sendall(idn(number))
        else:
            connection.sendall(b"fine\n")

    return serve


def time_out(link: Link) -> None:
    with pytest.raises(LinkTimeoutError):
        link.query("SLOW?", timeout_s=SHORT_S)


@pytest.fixture
def quick_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "DRAIN_S", 0.02)


@pytest.mark.usefixtures("quick_drain")
def test_after_a_reopen_the_identity_is_asked_before_anything_else():
    with (
        instrument(silent_at_slow(lambda _: IDN)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        link.query("*IDN?")
        time_out(link)
        assert link.query("CURR?") == "fine"
        # The third is asked on the old channel, and not answered there.
        assert server.asked == [b"*IDN?", b"SLOW?", b"*IDN?", b"*IDN?", b"CURR?"]
        assert link.reopened == 1


@pytest.mark.usefixtures("quick_drain")
def test_another_instrument_after_a_reopen_is_a_lost_link_and_is_asked_nothing():
    def idn(number: int) -> bytes:
        return IDN if number == 0 else b"ACME,MODEL 2,7,1.0\n"

    with (
        instrument(silent_at_slow(idn)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        link.query("*IDN?")
        time_out(link)
        with pytest.raises(LinkLostError, match=r"MODEL 2.* where .*MODEL 1"):
            link.query("CURR?")
        with pytest.raises(LinkLostError):
            link.write(":OUTP ON")
        assert server.asked == [b"*IDN?", b"SLOW?", b"*IDN?", b"*IDN?"]


@pytest.mark.usefixtures("quick_drain")
def test_control_without_the_comparison_the_other_instrument_is_commanded():
    def idn(number: int) -> bytes:
        return IDN if number == 0 else b"ACME,MODEL 2,7,1.0\n"

    with (
        instrument(silent_at_slow(idn)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        link.identity_check = lambda _before, _now: True
        link.query("*IDN?")
        time_out(link)
        assert link.query("CURR?") == "fine"
        assert server.asked[-1] == b"CURR?"


@pytest.mark.usefixtures("quick_drain")
def test_who_compares_identities_can_be_chosen():
    def idn(number: int) -> bytes:
        return IDN if number == 0 else b"ACME,MODEL 1,42,1.1\n"

    with (
        instrument(silent_at_slow(idn)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        link.identity_check = lambda before, now: before.split(",")[:3] == now.split(",")[:3]
        link.query("*IDN?")
        time_out(link)
        assert link.query("CURR?") == "fine"


@pytest.mark.usefixtures("quick_drain")
def test_an_identity_that_was_never_asked_is_not_asked_after_a_reopen():
    with (
        instrument(silent_at_slow(lambda _: IDN)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        time_out(link)
        assert link.query("CURR?") == "fine"
        assert server.asked == [b"SLOW?", b"CURR?"]


@pytest.mark.usefixtures("quick_drain")
def test_a_plain_command_after_a_timeout_neither_waits_nor_reopens():
    with (
        instrument(silent_at_slow(lambda _: IDN)) as server,
        open_direct(server.resource, timeout_s=LONG_S) as link,
    ):
        time_out(link)
        link.write(":OUTP OFF")
        assert link.reopened == 0


class OneConnection:
    """Refuses a second connection until it has noticed that the first one ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.resource = f"TCPIP::127.0.0.1::{self.port}::SOCKET"
        self.noticed = threading.Event()
        self.served = 0
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with suppress(OSError):
            while not self.over:
                connection, _ = self.listener.accept()
                self.served += 1
                self.listener.close()
                with connection:
                    while line := connection.recv(4096):
                        if b"SLOW" not in line:
                            connection.sendall(b"fine\n")
                self.noticed.wait(LONG_S)
                self.listener = socket.create_server(("127.0.0.1", self.port))

    def close(self) -> None:
        self.over = True
        self.noticed.set()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join(LONG_S)
        self.listener.close()


@pytest.mark.usefixtures("quick_drain")
def test_an_instrument_with_one_connection_is_reopened_once_it_noticed_the_close():
    server = OneConnection()
    try:
        with open_direct(server.resource, timeout_s=LONG_S) as link:
            time_out(link)
            with pytest.raises(LinkLostError, match="could not be reopened in time"):
                link.query("CURR?", timeout_s=0.1)  # still refused: it has not noticed
            server.noticed.set()
            assert link.query("CURR?") == "fine"
            assert server.served == 2
    finally:
        server.close()


@pytest.mark.usefixtures("quick_drain")
def test_a_command_after_a_reopen_that_did_not_succeed_tries_again():
    server = OneConnection()
    try:
        with open_direct(server.resource, timeout_s=LONG_S) as link:
            time_out(link)
            with pytest.raises(LinkLostError):
                link.query("CURR?", timeout_s=0.1)
            with pytest.raises(LinkLostError):
                link.write(":OUTP OFF", timeout_s=0.1)
            server.noticed.set()
            link.write(":OUTP OFF")
            assert link.reopened == 1
    finally:
        server.close()


class Turnstile:
    """Takes every connection and resets it at once while it thinks that the old one is there."""

    RESETS = 3

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self.listener.getsockname()[1]}::SOCKET"
        self.turned_away = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        first, _ = self.listener.accept()
        self._serve(first)
        for _ in range(self.RESETS):
            refused, _ = self.listener.accept()
            refused.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            refused.close()
            self.turned_away += 1
        second, _ = self.listener.accept()
        self._serve(second)

    @staticmethod
    def _serve(peer: socket.socket) -> None:
        """Answer everything before VOLT?, and read until the peer is gone."""
        silent = False
        with peer, peer.makefile("rb") as lines:
            try:
                for line in lines:
                    silent = silent or line.startswith(b"VOLT?")
                    if silent:
                        continue
                    if line.startswith(b"*IDN?"):
                        peer.sendall(b"ACME,ONE,1,1\n")
                    elif b"?" in line:
                        peer.sendall(b"fine\n")
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()
        self.thread.join(LONG_S)


@pytest.mark.usefixtures("quick_drain")
def test_a_connection_that_is_taken_and_reset_at_once_is_tried_again():
    server = Turnstile()
    try:
        with open_direct(server.resource, timeout_s=LONG_S) as link:
            assert link.query("*IDN?") == "ACME,ONE,1,1"
            with pytest.raises(LinkTimeoutError):
                link.query("VOLT?", timeout_s=0.05)

            assert link.query("CURR?") == "fine"

            assert server.turned_away == Turnstile.RESETS
            assert not link.closed
    finally:
        server.close()
