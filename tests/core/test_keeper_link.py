"""A kept link keeps the promises of a link: the channel in another process changes none of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from drivebay._core.errors import (
    AnswerError,
    LeaseError,
    LinkError,
    LinkLostError,
    LinkOpenError,
    LinkTimeoutError,
    ResourceError,
)
from drivebay._core.keeper import GRANT_VARIABLE, open_link
from drivebay._core.links import Link, open_direct

SHORT_S = 0.2
LONG_S = 30.0


@pytest.fixture(params=[open_link, open_direct], ids=["kept", "direct"])
def opened(request):
    """Open a link either way: what holds for one holds for the other."""

    @contextmanager
    def open_it(instrument) -> Iterator[Link]:
        with request.param(instrument.resource, timeout_s=LONG_S) as link:
            yield link

    return open_it


def echo(line: str) -> str | None:
    return "A " + line if "?" in line else None


def asking(link: Link, command: str, **options: Any) -> tuple[threading.Thread, list[Any]]:
    """Ask in another thread; the list gets the answer or the error."""
    came: list[Any] = []

    def ask() -> None:
        try:
            came.append(link.query(command, **options))
        except LinkError as exc:
            came.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, came


# -- either way ------------------------------------------------------------------------------------


def test_a_query_a_written_question_and_a_block_are_answered(opened, line_instrument):
    instrument = line_instrument(lambda line: "#13abc" if line == "CURV?" else echo(line))

    with opened(instrument) as link:
        link.write("VOLT?")
        link.write(b"CURR?")
        assert (link.read(), link.read()) == ("A VOLT?", "A CURR?")
        assert link.query_block("CURV?") == b"abc"
        assert link.query("*IDN?") == link.identity == "A *IDN?"
        assert (link.interface, link.timeout_s, link.supports_binary) == ("socket", LONG_S, True)


def test_commands_given_together_are_messages_of_their_own_up_to_the_first_that_fails(
    opened, line_instrument
):
    instrument = line_instrument(echo)

    with opened(instrument) as link:
        link.write_each([":VOLT 1", ":CURR 2"])
        link.write_each([])
        with pytest.raises(ValueError, match="line end"):
            link.write_each([":VOLT 3", "X\n:OUTP ON", ":VOLT 4"])
        assert link.try_ask("X?", wait_s=LONG_S, after=[":CURR 5"]) == "A X?"

    assert instrument.lines == [":VOLT 1", ":CURR 2", ":VOLT 3", ":CURR 5", "X?"]


def test_an_answer_that_has_not_come_yet_is_still_owed(opened, line_instrument):
    go = threading.Event()
    instrument = line_instrument(lambda line: (go.wait(LONG_S) and None) or echo(line))

    with opened(instrument) as link:
        assert link.try_ask("SLOW?", wait_s=SHORT_S) is None
        go.set()
        assert link.read() == "A SLOW?"
        assert link.query("NEXT?") == "A NEXT?"


def test_a_command_with_a_line_end_or_an_odd_deadline_is_refused_before_it_is_sent(
    opened, line_instrument
):
    instrument = line_instrument(echo)

    with opened(instrument) as link:
        with pytest.raises(ValueError, match="line end"):
            link.write("VOLT 1\n:OUTP ON")
        with pytest.raises(ValueError, match="timeout_s nan"):
            link.query("X?", timeout_s=float("nan"))
        link.query("X?")

    assert instrument.lines == ["X?"]


def test_garbage_is_an_answer_error_that_keeps_the_bytes(opened, line_instrument):
    instrument = line_instrument(lambda line: "\x07\x01" if line == "BAD?" else echo(line))

    with opened(instrument) as link:
        with pytest.raises(AnswerError) as caught:
            link.query("BAD?")
        assert caught.value.raw == b"\x07\x01\n"
        assert link.query("GOOD?") == "A GOOD?"


def test_a_command_and_an_interrupt_do_not_wait_for_a_question(opened, line_instrument):
    go = threading.Event()
    instrument = line_instrument(
        lambda line: (go.wait(LONG_S) and None) or echo(line), concurrent=True
    )
    with opened(instrument) as link:
        thread, came = asking(link, "SLOW?")
        instrument.wait_line("SLOW?")

        go.clear()
        waits = threading.Thread(target=link.write, args=(":ABOR",))
        waits.start()
        instrument.wait_line(":ABOR")
        assert link.interrupt() is False

        assert not came
        go.set()
        waits.join(LONG_S)
        thread.join(LONG_S)
        assert came == ["A SLOW?"]


def test_giving_up_ends_the_wait_and_the_late_answer_reaches_no_other_question(
    opened, line_instrument
):
    go = threading.Event()

    def answer(line: str) -> str | None:
        if line == "SLOW?":
            go.wait(LONG_S)
        return echo(line)

    instrument = line_instrument(answer, concurrent=True)
    with opened(instrument) as link:
        thread, came = asking(link, "SLOW?")
        instrument.wait_line("SLOW?")

        link.give_up()
        thread.join(LONG_S)

        assert isinstance(came[0], LinkTimeoutError)
        go.set()
        assert link.query("NEXT?") == "A NEXT?"


def test_closing_ends_a_question_of_another_thread(opened, line_instrument):
    instrument = line_instrument(lambda line: None)
    with opened(instrument) as link:
        thread, came = asking(link, "NEVER?")
        instrument.wait_line("NEVER?")

        link.close()

        thread.join(LONG_S)
        assert isinstance(came[0], LinkLostError)
        assert link.closed
        with pytest.raises(LinkLostError):
            link.write("X")


def test_a_deadline_names_the_question_and_the_link_goes_on(opened, line_instrument):
    instrument = line_instrument(lambda line: None if line == "MUTE?" else echo(line))
    with opened(instrument) as link:
        with pytest.raises(LinkTimeoutError, match=r"did not answer 'MUTE\?'") as caught:
            link.query("MUTE?", timeout_s=SHORT_S)
        assert (caught.value.resource, caught.value.command) == (instrument.resource, "MUTE?")
        assert link.query("NEXT?", timeout_s=LONG_S) == "A NEXT?"
        assert link.reopened == 1


def test_an_instrument_that_hangs_up_is_lost_and_stays_lost(opened, line_instrument):
    instrument = line_instrument(echo)
    with opened(instrument) as link:
        link.query("X?")
        assert not link.closed
        instrument.close()

        with pytest.raises(LinkLostError):
            link.query("X?")
        assert link.closed


def test_the_transcript_has_both_directions(opened, line_instrument):
    with opened(line_instrument(echo)) as link:
        link.write(":OUTP ON")
        link.query("CURR?")

        assert [(way, data) for _, way, data in link.transcript] == [
            ("w", b":OUTP ON\n"),
            ("w", b"CURR?\n"),
            ("r", b"A CURR?\n"),
        ]


def test_many_threads_get_their_own_answers(opened, line_instrument):
    wrong: list[str] = []
    with opened(line_instrument(echo)) as link:

        def ask(name: int) -> None:
            for count in range(40):
                question = f"Q{name}:{count}?"
                if link.query(question) != "A " + question:
                    wrong.append(question)

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)

    assert not wrong


# -- what only a kept link has ---------------------------------------------------------------------


def test_a_transcript_can_be_had_from_a_message_on(line_instrument):
    with open_link(line_instrument(echo).resource, timeout_s=LONG_S) as link:
        for count in range(5):
            link.write(f"X {count}")

        assert [data for _, _, data in link.messages(3)] == [b"X 3\n", b"X 4\n"]
        assert link.messages(5) == []


def test_a_transcript_longer_than_a_message_may_be_comes_in_parts(line_instrument, monkeypatch):
    with open_link(line_instrument(echo).resource, timeout_s=LONG_S) as link:
        for _ in range(2500):
            link.write("Y" * 5000)

        found = link.messages()

    assert len(found) == 2500
    assert {len(data) for _, _, data in found} == {4096}


def test_an_address_that_answers_nothing_and_one_that_is_none():
    with pytest.raises(LinkOpenError, match="V003"):
        open_link("TCPIP::127.0.0.1::9::SOCKET")
    with pytest.raises(ResourceError, match="V0"):
        open_link("nonsense")


def test_a_driver_gets_the_instrument_it_was_lent_and_no_other(line_instrument, monkeypatch):
    import json

    from drivebay._core.keeper import open_session

    instrument = line_instrument(echo)
    session = open_session(instrument.resource, {"timeout_s": LONG_S})
    facts = {
        "resource": instrument.resource,
        "path": session.keeper.path,
        "token": session.grant(),
    }
    monkeypatch.setenv(GRANT_VARIABLE, json.dumps(facts))

    with open_link(instrument.resource) as link:
        assert link.query("X?") == "A X?"
    with pytest.raises(LeaseError, match="was not lent to this driver"):
        open_link("TCPIP::127.0.0.1::9::SOCKET")

    monkeypatch.delenv(GRANT_VARIABLE)
    assert session.link().query("Y?") == "A Y?"  # the driver's close gave nothing back
    session.close()


def test_an_unknown_token_opens_nothing(line_instrument):
    from drivebay._core.keeper import open_session
    from drivebay._core.links import KeptLink

    session = open_session(line_instrument(echo).resource, {"timeout_s": LONG_S})

    for token in ("", "0" * 32, "é"):
        with pytest.raises(LeaseError, match="not valid"):
            KeptLink(session.keeper.path, token)

    assert KeptLink(session.keeper.path, session.grant()).query("X?") == "A X?"  # control
    session.close()


def test_who_records_gets_whole_messages_and_is_told_how_many_are_gone(line_instrument):
    with open_link(line_instrument(echo).resource, timeout_s=LONG_S) as link:
        for count in range(60):
            link.write(f"{count}" + "Y" * 1_000_000)
        found, missed, following = link.traffic(0)
        again = link.traffic(following)

    assert following == 60
    assert 0 < missed < 60
    assert len(found) == 60 - missed
    assert found[-1][2] == b"59" + b"Y" * 1_000_000 + b"\n"
    assert sum(len(data) for _, _, data in found) <= 32 << 20
    assert again == ([], 0, 60)  # the control
