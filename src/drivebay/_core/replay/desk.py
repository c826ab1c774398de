"""The keeper of a replay: lends a host the played link, over the same socket protocol.

Promises: the host needs to know nothing of it, and what passes is judged in this process, where the
replayed code cannot reach; a caller without the token is not served. Holds no instrument.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from drivebay._core.errors import LeaseError
from drivebay._core.links import Link
from drivebay._core.replay.player import PlayedLink, ReplayClock
from drivebay._core.wire import Channel, greet, pack_error

_PATIENT_S: Final = 86_400.0
_JOIN_S: Final = 5.0


class Desk:
    """Serves one host, while the ``with`` block lasts.

    Args:
        link: what is lent.
        clock: the time that its driver is told.
    """

    def __init__(self, link: PlayedLink, clock: ReplayClock) -> None:
        self._link = link
        self._clock = clock
        self._token = secrets.token_hex(16)
        self._turn = threading.RLock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def __enter__(self) -> Desk:
        # A folder of its own, which nobody but this user can enter.
        self._folder = tempfile.TemporaryDirectory(prefix="drivebay-replay-")
        self.path = str(Path(self._folder.name, "keeper"))
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(self.path)
        self._listening.listen()
        self._begin(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._turn:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._folder.cleanup()

    @property
    def grant(self) -> dict[str, Any]:
        """What a host is given to find this keeper."""
        return {
            "resource": self._link.resource,
            "path": self.path,
            "token": self._token,
            "replayed": True,
        }

    def _begin(self, task: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=task, args=arguments, name="drivebay-replay", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self._begin(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        """Thread of one caller: greeting, then an answer for each request."""
        mine = sock.dup()  # to hang up with; the channel closes its own
        with self._turn:
            self._open.add(mine)
        channel = Channel.of_socket(sock, peer="the replayed driver")
        try:
            hello = greet(channel, role="keeper")
            if not hmac.compare_digest(str(hello.get("token")).encode(), self._token.encode()):
                raise LeaseError("this is the link of a replay, and was lent to somebody else")
            channel.send((None, None))
            operations = self._operations()
            while True:
                channel.send(_answer(operations, channel.receive(_PATIENT_S)))
        except (EOFError, OSError):
            pass  # it hung up
        except Exception as exc:  # noqa: BLE001 - task root: it says something odd, and hears so
            with contextlib.suppress(OSError):
                channel.send((pack_error(exc), None), timeout_s=1.0)
        finally:
            channel.close()
            with self._turn:
                self._open.discard(mine)
            mine.close()

    def _operations(self) -> dict[str, Callable[..., Any]]:
        link = self._link
        return {
            "query": lambda command, s: link.query(command, timeout_s=s),
            "write": lambda command, s, end: link.write(command, timeout_s=s, end=end),
            "write_each": lambda commands, s: link.write_each(commands, timeout_s=s),
            "try_ask": lambda command, s, after: Link.try_ask(link, command, wait_s=s, after=after),
            "query_block": lambda command, s: link.query_block(command, timeout_s=s),
            "read": lambda s: link.read(timeout_s=s),
            "read_block": lambda s: link.read_block(timeout_s=s),
            "read_raw": lambda s, at_most, stop: link.read_raw(
                at_most=at_most, stop=stop, timeout_s=s
            ),
            "interrupt": link.interrupt,
            "give_up": link.give_up,
            "info": self._info,
            "transcript": lambda since: (since, list(link.transcript)[since:]),
            "clock": self._clock.look,
            "elapse": self._clock.elapse,
        }

    def _info(self) -> dict[str, Any]:
        link = self._link
        return {
            "resource": link.resource,
            "interface": link.interface,
            "supports_binary": link.supports_binary,
            "timeout_s": link.timeout_s,
            "identity": link.identity,
            "closed": link.closed,
            "reopened": link.reopened,
        }


def _answer(operations: dict[str, Callable[..., Any]], request: Any) -> tuple[Any, Any]:
    try:
        name, *arguments = request
        return None, operations[name](*arguments)
    except Exception as exc:  # noqa: BLE001 - border: what the caller asked, told to the caller
        return pack_error(exc), None
