"""The raw TCP link against a loopback peer that misbehaves in every way we know."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from drivebay._core.errors import (
    AnswerError,
    LinkError,
    LinkLostError,
    LinkOpenError,
    LinkTimeoutError,
)
from drivebay._core.links import TcpLink, open_direct, parse_resource
from drivebay._core.links import direct as link_module
from drivebay._core.links.ledger import Ledger

SHORT_S = 0.08
LONG_S = 20.0  # never waited for; only there so that a hang ends


class Peer:
    """An instrument on loopback: ``serve(connection, self)`` runs once per connection, in order."""

    def __init__(self, *handlers: Callable[[socket.socket, Peer], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.resource = f"TCPIP::127.0.0.1::{self.port}::SOCKET"
        self.received = bytearray()
        self.got = threading.Condition()
        self.go = threading.Event()  # a test lets the peer go on with it
        self.over = threading.Event()
        self.handlers = handlers
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        number = 0
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            serve = self.handlers[min(number, len(self.handlers) - 1)]
            number += 1
            with connection:
                try:
                    serve(connection, self)
                except OSError:
                    continue

    def lines(self, connection: socket.socket) -> Iterator[bytes]:
        rest = b""
        while chunk := connection.recv(65536):
            with self.got:
                self.received += chunk
                self.got.notify_all()
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole

    def wait_received(self, text: bytes) -> None:
        with self.got:
            assert self.got.wait_for(lambda: text in self.received, LONG_S)

    def close(self) -> None:
        self.over.set()
        self.go.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.thread.join(LONG_S)
        assert not self.thread.is_alive()


@contextmanager
def peer(*handlers: Callable[[socket.socket, Peer], None]) -> Iterator[Peer]:
    server = Peer(*handlers)
    try:
        yield server
    finally:
        server.close()


def says(answer: bytes) -> Callable[[socket.socket, Peer], None]:
    def serve(connection: socket.socket, server: Peer) -> None:
        for line in server.lines(connection):
            if b"?" in line:
                connection.sendall(answer)

    return serve


def echo(connection: socket.socket, server: Peer) -> None:
    """Answer each question with itself."""
    for line in server.lines(connection):
        if b"?" in line:
            connection.sendall(b"A " + line + b"\n")


def silent(connection: socket.socket, server: Peer) -> None:
    for _ in server.lines(connection):
        pass


def deaf(connection: socket.socket, server: Peer) -> None:
    """Never reads."""
    server.over.wait(LONG_S)


@contextmanager
def linked(*handlers: Callable[[socket.socket, Peer], None]) -> Iterator[tuple[TcpLink, Peer]]:
    with peer(*handlers) as server:
        link = open_direct(server.resource, timeout_s=LONG_S)
        assert isinstance(link, TcpLink)
        with link:
            yield link, server


# -- the ordinary case ----------------------------------------------------------------------------


def test_a_query_gives_the_answer_without_its_terminator():
    with linked(says(b"ACME,MODEL 1,42,1.0\r\n")) as (link, _):
        assert link.query("*IDN?") == "ACME,MODEL 1,42,1.0"
        assert link.identity == "ACME,MODEL 1,42,1.0"


def test_a_written_question_is_answered_to_read():
    with linked(echo) as (link, _):
        link.write("VOLT?")
        link.write("CURR?")
        assert (link.read(), link.read()) == ("A VOLT?", "A CURR?")


def test_an_answer_written_for_but_not_read_is_not_given_to_the_next_question():
    with linked(echo) as (link, _):
        link.write("VOLT?")
        assert link.query("CURR?") == "A CURR?"
        assert link.discarded_bytes == len("A VOLT?\n")


def test_the_delay_of_small_packets_is_off():
    with linked(echo) as (link, _):
        assert link._writer is not None
        assert link._writer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_both_directions_are_in_the_transcript():
    with linked(echo) as (link, _):
        heard: list[bytes] = []
        link.sink = lambda _at, direction, data: heard.append(direction.encode() + data)
        link.write(":OUTP ON")
        link.query("CURR?")
        assert [(d, b) for _, d, b in link.transcript] == [
            ("w", b":OUTP ON\n"),
            ("w", b"CURR?\n"),
            ("r", b"A CURR?\n"),
        ]
        assert heard == [b"w:OUTP ON\n", b"wCURR?\n", b"rA CURR?\n"]


def test_the_transcript_is_bounded_in_entries_and_bytes():
    with linked(silent) as (link, _):
        for _ in range(link_module._TRANSCRIPT_ENTRIES + 5):
            link.write("X")
        link.write("Y" * 100_000)
        assert len(link.transcript) == link_module._TRANSCRIPT_ENTRIES
        assert len(link.transcript[-1][2]) == link_module._TRANSCRIPT_BYTES


def test_a_command_with_a_line_end_inside_is_refused_and_nothing_is_sent():
    with linked(echo) as (link, server):
        with pytest.raises(ValueError, match="line end"):
            link.write("VOLT 1\n:OUTP ON")
        assert link.query("X?\n") == "A X?"
        assert bytes(server.received) == b"X?\n"


def test_no_pyvisa_and_no_numpy_for_a_raw_socket():
    code = (
        "import sys; from drivebay._core.links import open_direct\n"
        "with open_direct(sys.argv[1], timeout_s=10) as link: assert link.query('Q?') == 'A Q?'\n"
        "sys.exit(bool({'pyvisa', 'numpy', 'serial'} & set(sys.modules)))"
    )
    with peer(echo) as server:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        program = [sys.executable, "-c", code, server.resource]
        done = subprocess.run(program, timeout=60, env=environment)
        assert done.returncode == 0


# -- text and blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"23.5 \xc2\xb0C\n", "23.5 °C"),
        (b"10 \xb5A\n", "10 \xb5A"),
        (b"\n", ""),
        (b"a\tb\n", "a\tb"),
    ],
)
def test_utf8_latin1_and_empty_answers_are_read(raw: bytes, text: str):
    with linked(says(raw)) as (link, _):
        assert link.query("X?") == text


def test_garbage_is_an_answer_error_that_keeps_the_bytes_and_the_link_goes_on():
    garbage = bytes([7, 255, 254, 1, 2]) * 20 + b"\n"

    def serve(connection: socket.socket, server: Peer) -> None:
        for line in server.lines(connection):
            connection.sendall(garbage if line == b"BAD?" else b"fine\n")

    with linked(serve) as (link, _):
        with pytest.raises(AnswerError) as caught:
            link.query("BAD?")
        assert caught.value.raw == garbage[:256]
        assert caught.value.command == "BAD?"
        assert link.query("GOOD?") == "fine"


@pytest.mark.parametrize("payload", [b"", b"hello", b"a\nb\n", bytes(range(256)) * 400])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_block_comes_whole_with_and_without_a_terminator(payload: bytes, end: bytes):
    digits = str(len(payload)).encode()
    block = b"#" + str(len(digits)).encode() + digits + payload + end

    def serve(connection: socket.socket, server: Peer) -> None:
        for line in server.lines(connection):
            connection.sendall(block if line == b"CURV?" else b"A " + line + b"\n")

    with linked(serve) as (link, _):
        for _ in range(2):
            assert link.query_block("CURV?") == payload
            assert link.query("NEXT?") == "A NEXT?"
        assert link.reopened == 0


def test_a_terminator_that_comes_after_its_block_was_read_is_no_answer():
    def serve(connection: socket.socket, server: Peer) -> None:
        for line in server.lines(connection):
            # The line end of the block comes in front of the next answer, in the same segment.
            connection.sendall(b"#13abc" if line == b"CURV?" else b"\nA " + line + b"\n")

    with linked(serve) as (link, _):
        assert link.query_block("CURV?") == b"abc"
        assert link.query("NEXT?") == "A NEXT?"


def test_a_block_of_indefinite_length_ends_at_newline_and_silence():
    with linked(says(b"#0one\ntwo\n")) as (link, _):
        assert link.query_block("CURV?") == b"one\ntwo"
        assert link.query_block("CURV?") == b"one\ntwo"


def test_text_instead_of_a_block_is_an_answer_error_and_the_link_goes_on():
    with linked(echo) as (link, _):
        with pytest.raises(AnswerError, match="begins with '#'") as caught:
            link.query_block("CURV?")
        assert caught.value.raw == b"A CURV?\n"
        assert link.query("NEXT?") == "A NEXT?"


@pytest.mark.parametrize("header", [b"#x12", b"#9abcdefghij\n", b"#3 12abc\n"])
def test_a_block_header_that_cannot_be_read_makes_the_next_question_reopen(header: bytes):
    with linked(says(header), echo) as (link, _):
        with pytest.raises(AnswerError, match="header"):
            link.query_block("CURV?")
        assert link.query("NEXT?") == "A NEXT?"
        assert link.reopened == 1


def test_a_block_longer_than_the_limit_is_refused_before_it_is_read():
    with linked(says(b"#9999999999"), echo) as (link, _):
        with pytest.raises(AnswerError, match="999999999"):
            link.query_block("CURV?")
        assert link.query("NEXT?") == "A NEXT?"


def test_bytes_that_go_on_after_a_block_are_an_answer_error():
    with linked(says(b"#13abc;1\n"), echo) as (link, _):
        with pytest.raises(AnswerError, match="after the block"):
            link.query_block("CURV?;*OPC?")
        assert link.query("NEXT?") == "A NEXT?"


def test_a_truncated_block_meets_its_deadline_and_its_rest_is_never_an_answer():
    with linked(says(b"#15he\nl"), echo) as (link, _):
        with pytest.raises(LinkTimeoutError):
            link.query_block("CURV?", timeout_s=SHORT_S)
        assert link.query("NEXT?") == "A NEXT?"
        assert link.reopened == 1


# -- deadlines ------------------------------------------------------------------------------------


def test_no_answer_is_a_timeout_that_names_the_command_and_the_instrument():
    with linked(silent) as (link, server):
        with pytest.raises(LinkTimeoutError, match="did not answer 'CURR\\?'") as caught:
            link.query("CURR?", timeout_s=SHORT_S)
        assert caught.value.resource == server.resource
        assert caught.value.command == "CURR?"
        assert isinstance(caught.value, TimeoutError)


def test_an_answer_that_drips_for_ever_meets_the_deadline():
    def drip(connection: socket.socket, server: Peer) -> None:
        for _ in server.lines(connection):
            while not server.over.is_set():
                connection.sendall(b"x")
                server.over.wait(0.005)

    with linked(drip) as (link, _), pytest.raises(LinkTimeoutError, match="bytes of it came"):
        link.query("CURR?", timeout_s=SHORT_S)


def test_the_deadline_is_one_for_the_whole_answer_not_one_for_each_read():
    ticks = iter(range(10_000))

    def drip(connection: socket.socket, server: Peer) -> None:
        for _ in server.lines(connection):
            while not server.over.is_set():
                connection.sendall(b"x")

    with peer(drip) as server:
        # Every look at this clock costs 10 ms, so a deadline of 0.3 s allows about 30 looks,
        # though not one of the reads had to wait.
        where = parse_resource(server.resource)
        with (
            TcpLink(where, timeout_s=0.3, clock=lambda: next(ticks) / 100) as link,
            pytest.raises(LinkTimeoutError, match="bytes of it came"),
        ):
            link.query("CURR?")
        assert next(ticks) < 100


def test_an_endless_answer_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link_module, "MAX_ANSWER", 1_000_000)

    def endless(connection: socket.socket, server: Peer) -> None:
        for _ in server.lines(connection):
            while True:
                connection.sendall(b"9" * 65536)

    with linked(endless, echo) as (link, _):
        with pytest.raises(AnswerError, match="more than 1000000 bytes") as caught:
            link.query("CURR?")
        assert caught.value.raw == b"9" * 256
        assert len(link._buffer) < 1_200_000
        assert link.query("NEXT?") == "A NEXT?"


def test_a_peer_that_never_reads_cannot_hold_a_write_past_its_deadline():
    with linked(deaf) as (link, _), pytest.raises(LinkTimeoutError, match="of 20000001 bytes"):
        link.write("X" * 20_000_000, timeout_s=SHORT_S)


def test_a_half_sent_command_is_never_continued_and_its_connection_is_reset():
    half: list[bytes] = []

    def deaf_then_all(connection: socket.socket, server: Peer) -> None:
        server.go.wait(LONG_S)
        try:
            while chunk := connection.recv(1 << 20):
                half.append(chunk)
        except ConnectionResetError:
            half.append(b"<reset>")

    with linked(deaf_then_all, echo) as (link, server):
        with pytest.raises(LinkTimeoutError):
            link.write("VOLT " + "2" * 20_000_000, timeout_s=SHORT_S)
        server_thread = threading.Timer(0, server.go.set)
        server_thread.start()
        link.write(":OUTP OFF")
        server.wait_received(b":OUTP OFF\n")
        server_thread.join()
        assert link.reopened == 1
        assert half[-1] == b"<reset>"
        assert not any(b"\n" in chunk for chunk in half)


def test_control_without_the_ledger_a_half_sent_command_is_continued(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Ledger, "cut_off", lambda _self, _reason: None)

    def deaf_then_all(connection: socket.socket, server: Peer) -> None:
        server.go.wait(LONG_S)
        for _ in server.lines(connection):
            pass

    with linked(deaf_then_all) as (link, server):
        with pytest.raises(LinkTimeoutError):
            link.write("VOLT " + "2" * 20_000_000, timeout_s=SHORT_S)
        server.go.set()
        link.write(":OUTP OFF")
        server.wait_received(b"22:OUTP OFF\n")


def test_waiting_for_a_turn_counts_against_the_deadline():
    with linked(silent) as (link, server):
        failures: list[Exception] = []

        def ask() -> None:
            try:
                link.query("SLOW?")
            except LinkError as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_received(b"SLOW?\n")
        with pytest.raises(LinkTimeoutError, match="busy with 'SLOW\\?'"):
            link.query("FAST?", timeout_s=SHORT_S)
        link.close()
        thread.join(LONG_S)
        assert b"FAST?" not in server.received
        assert isinstance(failures[0], LinkLostError)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: float):
    with linked(echo) as (link, _), pytest.raises(ValueError, match="timeout_s"):
        link.query("X?", timeout_s=timeout_s)


# -- full duplex ----------------------------------------------------------------------------------


def test_an_abort_is_sent_while_a_query_waits_for_its_answer():
    def sweep(connection: socket.socket, server: Peer) -> None:
        for line in server.lines(connection):
            if line == b":ABOR":
                connection.sendall(b"aborted\n")

    with linked(sweep) as (link, server):
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(link.query(":READ?")))
        thread.start()
        server.wait_received(b":READ?\n")
        link.write(":ABOR")  # its answer to :READ? comes only after this
        thread.join(LONG_S)
        assert answers == ["aborted"]


def test_control_without_the_write_lock_two_commands_are_sent_at_once(
    monkeypatch: pytest.MonkeyPatch,
):
    with linked(silent) as (link, _):
        monkeypatch.setattr(link, "_writes", threading.Semaphore(2))
        both = threading.Barrier(2)

        def send(message: bytes, _deadline: float) -> int:
            both.wait(LONG_S)  # passes only if a second command is in here too
            return len(message)

        monkeypatch.setattr(link, "_send", send)
        threads = [threading.Thread(target=link.write, args=(letter,)) for letter in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert not both.broken


def test_bytes_of_two_commands_never_mix():
    with linked(silent) as (link, server):
        texts = [letter * 50_000 for letter in "abcdefgh"]
        threads = [threading.Thread(target=link.write, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        with server.got:
            assert server.got.wait_for(lambda: len(server.received) == 8 * 50_001, LONG_S)
        assert sorted(bytes(server.received).decode().splitlines()) == texts


def test_commands_and_questions_of_two_threads_do_not_disturb_each_other():
    with linked(echo) as (link, _):
        problems: list[Exception] = []

        def command() -> None:
            try:
                for _ in range(2000):
                    link.write(":OUTP ON")
            except Exception as exc:  # noqa: BLE001 - whatever it is, it fails the test
                problems.append(exc)

        thread = threading.Thread(target=command)
        thread.start()
        while thread.is_alive():
            assert link.query("X?") == "A X?"
        thread.join()
        assert problems == []


def test_questions_of_many_threads_each_get_their_own_answer():
    with linked(echo) as (link, _):
        wrong: list[str] = []

        def ask(name: str) -> None:
            for number in range(50):
                question = f"{name}{number}?"
                if link.query(question) != f"A {question}":
                    wrong.append(question)

        threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert wrong == []


def test_a_raw_socket_has_no_device_clear():
    with linked(echo) as (link, _):
        assert link.interrupt() is False


# -- losing the connection ------------------------------------------------------------------------


def test_a_refused_port_fails_at_open():
    with peer(echo) as server:
        resource = server.resource
    with pytest.raises(LinkOpenError, match="V003 nothing listens"):
        open_direct(resource, timeout_s=LONG_S)


def test_a_name_that_does_not_exist_fails_at_open():
    with pytest.raises(LinkOpenError, match="cannot be resolved"):
        open_direct("TCPIP::no-such-host.invalid::5025::SOCKET", timeout_s=LONG_S)


def test_a_peer_that_closes_is_lost_at_once_and_stays_lost():
    def hang_up(connection: socket.socket, server: Peer) -> None:
        next(server.lines(connection))

    with linked(hang_up, echo) as (link, _):
        with pytest.raises(LinkLostError, match="closed by the instrument"):
            link.query("CURR?")
        before = time.thread_time()
        for operation in (link.query, link.write):
            with pytest.raises(LinkLostError, match="open it again"):
                operation("CURR?")
        assert time.thread_time() - before < 1.0  # processor time: it must not spin
        assert link.closed


def test_a_peer_that_closed_between_two_operations_is_noticed_by_a_write():
    def hang_up(connection: socket.socket, server: Peer) -> None:
        next(server.lines(connection))
        connection.sendall(b"bye\n")
        connection.shutdown(socket.SHUT_RDWR)
        server.go.set()

    with linked(hang_up, echo) as (link, server):
        link.query("CURR?")
        server.go.wait(LONG_S)
        with pytest.raises(LinkLostError):
            link.write(":OUTP OFF")


def test_a_reset_is_a_lost_link():
    def reset(connection: socket.socket, server: Peer) -> None:
        next(server.lines(connection))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with linked(reset) as (link, _):
        with pytest.raises(LinkLostError) as caught:
            link.query("CURR?")
        assert isinstance(caught.value.__cause__, OSError)


def test_a_truncated_answer_before_a_hang_up_is_lost_not_an_answer():
    def cut(connection: socket.socket, server: Peer) -> None:
        next(server.lines(connection))
        connection.sendall(b"KEITHLEY INS")

    with linked(cut) as (link, _):
        with pytest.raises(LinkLostError):
            link.query("*IDN?")
        assert link.identity is None


def test_closing_wakes_a_query_that_waits():
    with linked(silent) as (link, server):
        failures: list[Exception] = []

        def ask() -> None:
            try:
                link.query("CURR?")
            except LinkError as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_received(b"CURR?\n")
        link.close()
        thread.join(LONG_S)
        assert isinstance(failures[0], LinkLostError)
        with pytest.raises(LinkLostError, match="is closed"):
            link.write("X")


def test_a_reader_told_to_give_up_ends_as_at_its_deadline_and_the_link_goes_on():
    with linked(silent) as (link, server):
        failures: list[Exception] = []

        def ask() -> None:
            try:
                link.query("CURR?", timeout_s=LONG_S)
            except LinkError as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_received(b"CURR?\n")
        link.give_up()
        thread.join(LONG_S)

        assert isinstance(failures[0], LinkTimeoutError)
        assert not link.closed


def test_giving_up_touches_no_later_question():
    with linked(echo) as (link, _):
        link.give_up()

        assert link.query("VOLT?") == "A VOLT?"


def test_ipv6_loopback_is_opened_by_its_literal():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with (
        listener,
        open_direct(f"TCPIP::[::1]::{listener.getsockname()[1]}::SOCKET", timeout_s=LONG_S) as link,
    ):
        listener.accept()[0].close()
        with pytest.raises(LinkLostError):
            link.query("X?")
