"""Nothing that is said at a keeper's sockets hurts it, and nothing that is written beside it."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from pathlib import Path

import msgspec
import pytest

from drivebay._core.errors import LeaseError, ProtocolError, UnsafeError
from drivebay._core.keeper import acknowledge, open_link, open_session, records
from drivebay._core.keeper.neighbours import KeeperSilentError, call_public
from drivebay._core.wire import PROTOCOL, Channel

HEAD = struct.Struct("<II")
GREETING = {"drivebay": PROTOCOL, "role": "host", "token": "0" * 32}

pytestmark = pytest.mark.usefixtures("leases")


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return HEAD.pack(len(body), 0) + body


def nested(depth: int) -> bytes:
    return HEAD.pack(depth + 1, 0) + b"\x91" * depth + b"\x90"


ODD = {
    "nothing": b"",
    "half a head": b"\x01\x02",
    "no msgpack": HEAD.pack(3, 0) + b"\xc1\xc1\xc1",
    "a length past the limit": HEAD.pack(0xFFFFFFFF, 0xFFFFFFFF),
    "a body that does not come": HEAD.pack(1000, 0) + b"x",
    "a number": frame(7),
    "a list in a list in a list": nested(50_000),
    "an empty list": frame([]),
    "a name that is a list": frame([[], {}]),
    "an unknown name": frame(["explode", 1, 2]),
    "another protocol": frame({"drivebay": 999}),
    "a greeting of odd types": frame({"drivebay": PROTOCOL, "role": [], "token": {"a": None}}),
    "a take-over of nothing": frame(["takeover"]),
    "a take-over by nobody": frame(["takeover", "x", None]),
    "an acknowledgement of a number": frame(["acknowledge", 5]),
}


def say(path: str, data: bytes) -> None:
    """Connect, say it, and hear whatever comes until the keeper hangs up or waits."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(0.05)
        sock.connect(path)
        try:
            sock.sendall(data)
            while sock.recv(65536):
                continue
        except OSError:
            return


@pytest.mark.parametrize("where", ["private", "public"])
def test_odd_frames_do_not_hurt_a_keeper(smu, leases, where):
    session = open_session(smu().resource, {"timeout_s": 20.0})
    link = session.link()
    (public,) = map(str, leases.glob("keeper-*.socket"))
    path = session.keeper.path if where == "private" else public
    dice = random.Random(2400)

    for data in ODD.values():
        say(path, data)
        say(path, frame(GREETING) + data)
    for _ in range(60):
        say(path, dice.randbytes(dice.randrange(40)))

    assert link.query("*IDN?").startswith("KEITHLEY")
    assert not session.keeper.dead
    session.close()


@pytest.mark.parametrize("name", ["a number", "an empty list", "a name that is a list"])
def test_a_client_that_says_something_odd_hears_so_and_is_let_go(smu, name):
    session = open_session(smu().resource, {"timeout_s": 20.0})
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(session.keeper.path)
    channel = Channel.of_socket(sock)
    channel.send({"drivebay": PROTOCOL, "role": "owner", "token": session.grant()})
    assert channel.receive(20)["role"] == "keeper"
    assert channel.receive(20) == [None, None]

    channel.send_body(ODD[name][HEAD.size :])

    error, _ = channel.receive(20)
    assert error["type"]
    channel.close()
    session.close()


def test_callers_that_say_nothing_do_not_keep_others_out(smu, leases):
    session = open_session(smu().resource, {"timeout_s": 20.0})
    (public,) = map(str, leases.glob("keeper-*.socket"))
    mute = [socket.socket(socket.AF_UNIX) for _ in range(31)]
    for sock in mute:
        sock.connect(public)

    assert session.resource in call_public(public, "estop")

    for sock in mute:
        sock.close()
    session.close()


def test_a_caller_of_the_public_socket_may_ask_for_three_things_only(smu, leases):
    session = open_session(smu().resource, {"timeout_s": 20.0})
    (public,) = map(str, leases.glob("keeper-*.socket"))

    with pytest.raises(LeaseError, match="knows no 'open'"):
        call_public(public, "open", session.resource)
    with pytest.raises(LeaseError, match="is not held here"):
        call_public(public, "takeover", "GPIB0::1::INSTR", {})
    with pytest.raises(KeeperSilentError):
        call_public(str(leases / "nobody.socket"), "estop")

    session.close()


def test_another_version_of_drivebay_is_told_so(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def answer() -> None:
        sock, _ = listener.accept()
        channel = Channel.of_socket(sock)
        channel.send({"drivebay": 99})
        channel.close()

    thread = threading.Thread(target=answer)
    thread.start()

    with pytest.raises(ProtocolError, match="speaks protocol 99"):
        call_public(str(tmp_path / "s"), "estop")
    thread.join()
    listener.close()


# -- what lies in the folder -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'{"resource": 5}',
        b'{"safe_state": {"deadline_s": "x"}, "opening": {}}',
        b'{"safe_state": [], "opening": {}}',
        b'{"safe_state": {"verify": {"query": 1}}, "opening": {}}',
        b'{"safe_state": {}, "opening": {"timeout_s": -1}}',
        b"\xff\xfe",
    ],
)
def test_a_record_that_cannot_be_read_wants_a_person_to_look(smu, leases, text):
    resource = smu().resource
    path = leases / f"{records.key_of(resource)}.armed"
    path.write_bytes(text)

    with pytest.raises(UnsafeError, match="look at it, then acknowledge"):
        open_link(resource)

    path.write_bytes(b"")  # control: emptied by another user who made it safe
    with open_link(resource) as link:
        assert link.query("*IDN?")


def test_a_record_that_cannot_be_read_is_gone_once_somebody_has_looked(smu, leases):
    resource = smu().resource
    (leases / f"{records.key_of(resource)}.armed").write_bytes(b'{"resource": 5}')

    assert acknowledge(resource) is True
    assert acknowledge(resource) is False

    with open_link(resource) as link:
        assert link.query("*IDN?")


def test_a_folder_that_is_a_link_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("DRIVEBAY_LEASES", str(tmp_path / "link"))

    with pytest.raises(LeaseError, match="is no folder"):
        records.lease_folder()


def test_a_folder_whose_name_leaves_no_room_for_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_LEASES", str(tmp_path / ("x" * 90)))

    with pytest.raises(LeaseError, match="leave room for the name of a socket"):
        records.lease_folder()


def test_the_folder_and_its_files_are_for_every_user(leases):
    folder = records.lease_folder()
    before = os.umask(0o077)
    try:
        lease = records.Lease.take(folder, "GPIB0::1::INSTR", {"user": "ada"})
        records.write_record(folder, "armed", "GPIB0::1::INSTR", {})
    finally:
        os.umask(before)
    name = records.key_of("GPIB0::1::INSTR")

    assert folder.stat().st_mode & 0o7777 == 0o1777
    for kind in ("lease", "armed"):
        assert (folder / f"{name}.{kind}").stat().st_mode & 0o777 == 0o666
    lease.release()


def test_two_addresses_have_two_files_whatever_their_letters():
    keys = {records.key_of(text) for text in ("A::B", "A--B", "A/B", "../x", "A" * 300, "A" * 301)}

    assert len(keys) == 6
    assert all("/" not in key and len(key) < 100 for key in keys)


def test_a_take_over_is_found_among_lines_of_others(leases: Path):
    folder = records.lease_folder()
    facts = {"resource": "X", "from": {"keeper": 7}, "by": {"user": "ada"}}
    (folder / "takeovers.jsonl").write_text("nonsense\n[1]\n{}\n")
    records.note_takeover(folder, {**facts, "from": {"keeper": 8}, "by": {"user": "eve"}})
    records.note_takeover(folder, facts)

    assert records.taken_by(folder, "X", 7) == {"user": "ada"}
    assert records.taken_by(folder, "Y", 7) == {}
