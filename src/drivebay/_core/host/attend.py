"""The second thread of a host: hears aborts, tells that the driver lives, watches its memory.

Promises: an abort starts at once, whatever the driver's own thread does; what is said to the owner
unasked never waits for it (what does not fit is counted and dropped). Ends the process when the
owner is gone or the driver's memory runs out. It never runs a measurement.

Everything here goes over one socket of whole messages, apart from the pipes of the calls: so
nobody has to sort answers from news, and a call costs no change of threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, NoReturn

from drivebay._core.errors import ProtocolError
from drivebay._core.host import crossing
from drivebay._core.host.settings import Limits
from drivebay._core.links.pulse import PULSE

PACKET: Final = 1 << 16
_LONGEST_TEXT: Final = 8_000
Aside = Callable[[str, list[Any], dict[str, Any]], Any]


class Control:
    """A host's end of the socket for everything but calls."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._dropped = 0

    def fileno(self) -> int:
        """The descriptor that becomes readable when something is asked."""
        return self._socket.fileno()

    def tell(self, fact: dict[str, Any]) -> None:
        """Tell the owner, unless it is so slow that there is no room."""
        with self._lock:
            if self._dropped:
                fact = {**fact, "dropped": self._dropped}
            body, _ = crossing.pack(fact)
            try:
                self._socket.send(body)
                self._dropped = 0
            except OSError:
                self._dropped += 1

    def hear(self) -> dict[str, Any]:
        """Return what is asked, empty when it was nothing after all.

        Raises:
            EOFError: the owner is gone.
        """
        try:
            data = self._socket.recv(PACKET)
        except BlockingIOError:
            return {}
        except OSError as exc:
            raise EOFError(str(exc)) from exc
        if not data:
            raise EOFError("the owner is gone")
        request = crossing.unpack(data, memoryview(b""))
        return request if isinstance(request, dict) else {}


class Attendant:
    """Runs beside the driver.

    Args:
        control: the socket.
        limits: what is watched.
        aside: calls the driver while it works, for ``abort`` and ``get_status``; returns the
            packed answer.
    """

    def __init__(self, control: Control, limits: Limits, aside: Aside) -> None:
        self.control = control
        self.limits = limits
        self.busy = False
        """Whether the driver works; written by its thread."""
        self._aside = aside
        self._statm = _open_statm()

    def start(self) -> None:
        """Begin; the thread ends with the process."""
        threading.Thread(target=self._run, name="drivebay-attendant", daemon=True).start()

    def _run(self) -> NoReturn:
        try:
            self._attend()
        finally:
            # Without the owner there is nobody to measure for.
            os._exit(0)

    def _attend(self) -> None:
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        while True:
            pause_s = self.limits.beat_s if self.busy else self.limits.idle_beat_s
            if poll.poll(pause_s * 1000):
                try:
                    self._answer(self.control.hear())
                except EOFError:
                    return
                except ProtocolError as exc:
                    self.control.tell({"log": ["drivebay.host", logging.ERROR, str(exc)]})
            elif self.busy:
                self.control.tell({"idle_s": PULSE.idle_s()})
            self._watch_memory()

    def _answer(self, request: dict[str, Any]) -> None:
        if "aside" not in request:
            if "ping" in request:
                self.control.tell({"aside": request["ping"], "done": PULSE.idle_s()})
            return
        # In a thread of its own: an abort that waits for ever must not keep the next one out.
        threading.Thread(
            target=self._call, args=(request,), name="drivebay-aside", daemon=True
        ).start()

    def _call(self, request: dict[str, Any]) -> None:
        answer = self._aside(request["name"], request.get("args", []), request.get("kwargs", {}))
        self.control.tell({"aside": request["aside"], **answer})

    def _watch_memory(self) -> None:
        if self._statm < 0:
            return
        resident, shared = map(int, os.pread(self._statm, 100, 0).split()[1:3])
        used = (resident - shared) * _PAGE
        if used > self.limits.memory_bytes:
            self.control.tell({"limit": "memory", "used": used})
            os.kill(os.getpid(), signal.SIGKILL)


_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _open_statm() -> int:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1  # only Linux says it so cheaply


class LogSender(logging.Handler):
    """Sends the driver's log records to the owner."""

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; what cannot be formatted is logging's own to report."""
        try:
            text = self.format(record)[:_LONGEST_TEXT]
        except Exception:  # noqa: BLE001 - border: the arguments are the driver's
            self.handleError(record)
            return
        with contextlib.suppress(TypeError):  # a half of a surrogate pair in the text
            self._control.tell({"log": [record.name, record.levelno, text]})
