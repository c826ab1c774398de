"""The main thread of a host: takes one call after another and runs it on the driver.

Promises: every call is answered exactly once, by a result or an error, and in between by chunks;
the answer goes out from the thread that ran the call, with no other in between. The pipe is the
limit of how far a measurement runs ahead of its reader: a full one stops the driver at its
``yield``, and that is not counted as silence. Ends when the owner closes the calls.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import platform
import sys
import threading
import time
from contextlib import suppress
from typing import Any, Final

import msgspec

from drivebay._core import wire
from drivebay._core.errors import DrivebayError, ProtocolError
from drivebay._core.host import crossing
from drivebay._core.host.attend import Attendant, Control, LogSender
from drivebay._core.host.driving import Driving
from drivebay._core.host.settings import DUMP_SIGNAL, Settings, apply
from drivebay._core.host.shared import SharedOut
from drivebay._core.links.pulse import PULSE
from drivebay._version import __version__

DONE: Final = 0
FAILED: Final = 1
CHUNK: Final = 2
SHARED: Final = 3

_NAMES_METHOD: Final = frozenset(("call", "stream", "validate"))
_AS_METHOD: Final = {"create": "__init__"}
BELIEVED_SLEEP_S: Final = 60.0
_FOR_EVER: Final = float("inf")


def serve(calls: int, answers: int, control: int, crash: int) -> None:
    """Serve one owner until it closes the calls.

    Args:
        calls: descriptor requests are read from.
        answers: descriptor answers are written to.
        control: the socket for everything else.
        crash: file that tracebacks of the dying are written to.
    """
    channel = wire.Channel(calls, answers, peer="the owner", patient=True)
    settings = _greet(channel)
    apply(settings)
    faulthandler.enable(crash, all_threads=True)
    faulthandler.register(DUMP_SIGNAL, crash, all_threads=True)
    _begin_anew()
    time.sleep = _sleep
    host = _Host(channel, settings, Control(control))
    with suppress(EOFError, _OwnerGone):
        host.run()


def _greet(channel: wire.Channel) -> Settings:
    facts = {
        "pid": os.getpid(),
        "drivebay_version": __version__,
        "python": platform.python_version(),
    }
    try:
        return msgspec.convert(wire.greet(channel, **facts), Settings)
    except msgspec.ValidationError as exc:
        raise ProtocolError(f"settings that cannot be read: {exc}") from exc


def _begin_anew() -> None:
    """Undo what a fork would share: two hosts must not draw the same random numbers."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()
    for handler in logging.getLogger().handlers[:]:
        logging.getLogger().removeHandler(handler)


_real_sleep: Final = time.sleep


def _sleep(seconds: Any, /) -> None:
    """``time.sleep``, known to the pulse: a driver in the original style has no other way to wait.

    Longer ones than a minute are not believed: nobody could stop a measurement meanwhile.
    """
    believed = isinstance(seconds, int | float) and 0 < seconds <= BELIEVED_SLEEP_S
    if believed and threading.current_thread() is threading.main_thread():
        PULSE.excuse(seconds)
        _real_sleep(seconds)
        PULSE.tick()
    else:
        _real_sleep(seconds)


class _OwnerGone(BaseException):
    """Nobody reads the answers any more; not an Exception, so that no driver's border takes it."""


class _Host:
    def __init__(self, channel: wire.Channel, settings: Settings, control: Control) -> None:
        self.channel = channel
        self.shared = SharedOut()
        self.driving = Driving()
        self.driving.name = settings.plugin
        self.attendant = Attendant(control, settings.limits, self.aside)
        root = logging.getLogger()
        root.setLevel(settings.log_level)
        root.addHandler(LogSender(control))
        logging.captureWarnings(True)

    def run(self) -> None:
        """Answer calls until there are no more.

        Raises:
            EOFError: the owner closed them.
            _OwnerGone: it is gone.
        """
        self.attendant.start()
        receive, attendant = self.channel.receive_body, self.attendant
        while True:
            body, tail = receive(None)
            PULSE.tick()
            attendant.busy = True
            self._answer(*crossing.unpack(body, tail))
            attendant.busy = False

    def _answer(self, number: int, verb: str, arguments: list[Any]) -> None:
        what = arguments[0] if verb in _NAMES_METHOD else _AS_METHOD.get(verb, verb)
        try:
            if verb == "stream":
                body, tail = self._stream(number, *arguments)
            else:
                result = self.driving.verbs[verb](*arguments)
                body, tail = self.driving.pack((number, DONE), result, what)
                placed = self.shared.put(tail) if tail else None
                if placed is not None:
                    body, tail = crossing.pack((number, SHARED, (*placed, body)))
        except _OwnerGone:
            raise
        except BaseException as exc:  # noqa: BLE001 - border: a driver's call, whatever it raised
            body, tail = self._failed(number, exc, what)
        self._send(body, tail)

    def _stream(self, number: int, method: str, params: dict[str, Any]) -> tuple[bytes, Any]:
        values: dict[str, Any] = {}
        for chunk in self.driving.stream(method, params, values):
            self._send(*self.driving.pack((number, CHUNK), chunk, method))
            PULSE.tick()
        return self.driving.pack((number, DONE), values, "measure")

    def _send(self, body: bytes, tail: Any) -> None:
        # A reader that takes its time, or is stopped in a debugger, is no fault of the driver's.
        PULSE.excuse(_FOR_EVER)
        try:
            self.channel.send_body(body, tail, timeout_s=None)
        except OSError as exc:
            raise _OwnerGone from exc

    def _failed(self, number: int, exc: BaseException, what: str) -> tuple[bytes, Any]:
        error = self.driving.failure(exc, what)
        return crossing.pack([number, FAILED, _crossing_error(error)])

    def aside(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Call the driver beside its own thread; the answer, for the control socket."""
        try:
            result = self.driving.call(name, args, kwargs)
            crossing.pack(result)
        except BaseException as exc:  # noqa: BLE001 - border: a driver's call
            return {"failed": _crossing_error(self.driving.failure(exc, name))}
        return {"done": result}


def _crossing_error(error: DrivebayError) -> dict[str, Any]:
    """Return an error as plain data that surely can be sent."""
    data = wire.pack_error(error)
    try:
        crossing.pack(data)
    except TypeError:  # such as half a surrogate pair in the text of somebody's exception
        return {"type": type(error).__name__, "text": ascii(str(error))}
    return data
