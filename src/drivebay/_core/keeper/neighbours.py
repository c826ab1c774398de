"""Talking to the other keepers of the machine, at their public sockets; ending one that hangs.

A keeper greets whoever connects at once, whatever it is busy with, so one that hangs is told from
one that takes its time. Holds no instrument.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import LeaseError
from drivebay._core.keeper.records import lock_owner
from drivebay._core.wire import Channel, expect_greeting, unpack_error

ALIVE_S: Final = 3.0
"""How long a keeper may take to greet before it counts as hung."""

ANSWER_S: Final = 30.0


class KeeperSilentError(Exception):
    """Nobody is at a keeper's public socket, or it hangs; never leaves the keeper package."""


def call_public(path: str, *request: Any, timeout_s: float = ANSWER_S) -> Any:
    """Ask a keeper at its public socket.

    Raises:
        KeeperSilentError: nobody is there, or it does not answer.
        DrivebayError: it refused.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(ALIVE_S)
    try:
        sock.connect(path)
    except (OSError, ValueError) as exc:
        sock.close()
        raise KeeperSilentError(f"nobody is there ({exc})") from exc
    channel = Channel.of_socket(sock, peer="the keeper")
    try:
        expect_greeting(channel, ALIVE_S)
        channel.send(request, timeout_s=ALIVE_S)
        error, answer = channel.receive(timeout_s)
    except (OSError, EOFError) as exc:
        raise KeeperSilentError(str(exc) or type(exc).__name__) from exc
    finally:
        channel.close()
    if error is not None:
        raise unpack_error(error)
    return answer


def end_keeper(folder: Path, resource: str) -> None:
    """End the process that holds a lease, as the system and not a file names it.

    Its own client starts another, and what it left armed is known.

    Raises:
        LeaseError: this user may not, or it does not end.
    """
    pid = lock_owner(folder, resource)
    if pid <= 1 or pid == os.getpid():
        return
    pidfd = open_pidfd(pid)
    if pidfd < 0:
        return
    try:
        if lock_owner(folder, resource) == pid:  # the number is not another's by now
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], ALIVE_S)
    except ProcessLookupError:
        return
    except OSError as exc:
        raise LeaseError(
            f"{resource}: its keeper (process {pid}) hangs and cannot be ended: {exc.strerror}",
            resource=resource,
        ) from exc
    finally:
        os.close(pidfd)


def open_pidfd(pid: int) -> int:
    """Return a descriptor that becomes readable when a process ends; -1 when there is none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1
