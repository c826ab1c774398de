"""Links over PyVISA: VXI-11, HiSLIP, USB, GPIB and serial; and what VISA finds on the buses.

Promises the rules of every link (``direct.py``) over libraries that do not keep them: total
deadlines, one family of errors, no lost bytes. Imports pyvisa when the first link is opened, not
before.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from drivebay._core.errors import LinkError, LinkOpenError, LinkTimeoutError, ResourceError
from drivebay._core.links.direct import Clock, DirectLink
from drivebay._core.links.ports import Port, make_port
from drivebay._core.links.resource import Resource, parse_resource

DEFAULT_LIBRARY = "@py"

_T = TypeVar("_T")


def library_name(visa_library: str | None) -> str:
    """The VISA library to use: the one named, else PYVISA_LIBRARY, else pyvisa-py.

    Never our own backend, which stands on these links: it would wait for itself.
    """
    for name in (visa_library, os.environ.get("PYVISA_LIBRARY")):
        if name and not name.endswith("@drivebay"):
            return name
    return DEFAULT_LIBRARY


class VisaLink(DirectLink):
    """One VISA resource.

    Where the interface has a device clear, a late answer is got rid of by it; else the resource is
    closed and opened again. On a serial line neither is proof that nothing more comes, so there the
    link goes on only if ``*IDN?`` had been asked and gives the same answer again.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        timeout_s: float = 5.0,
        visa_library: str | None = None,
        baud_rate: int | None = None,
        terminator: str = "\n",
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(
            resource.text,
            resource.interface,
            timeout_s=timeout_s,
            terminator=terminator,
            clock=clock,
        )
        self.supports_binary = resource.interface != "serial"
        self.has_end = resource.interface in {"tcpip", "usb", "gpib"}
        self.visa_library = library_name(visa_library)
        self._device = resource.device
        self._baud_rate = baud_rate
        self._turn = threading.Lock()  # taken first, so that a waiting writer is next
        self._io = threading.Lock()
        self._clears = 0
        self._port: Port | None = None
        self._port = self._open(self._deadline(None))

    # -- opening and closing ----------------------------------------------------------------------

    def _open(self, deadline: float) -> Port:
        if self.interface == "serial":
            _check_serial(self.resource, self._device)
        remaining = deadline - self._clock()
        if remaining <= 0:
            raise LinkOpenError(f"{self.resource}: not open in time", resource=self.resource)
        try:
            return _bounded(
                lambda: self._open_visa(remaining), remaining, late=lambda port: port.close()
            )
        except TimeoutError as exc:
            raise LinkOpenError(
                f"{self.resource}: not open within {remaining:.3g} s", resource=self.resource
            ) from exc
        except Exception as exc:  # pyvisa-py raises bare Exception, RPCError, ...
            raise self._not_open(exc) from exc

    def _open_visa(self, seconds: float) -> Port:
        import pyvisa

        manager = pyvisa.ResourceManager(self.visa_library)
        milliseconds = int(seconds * 1000) or 1
        try:
            visa: Any = manager.open_resource(self.resource, open_timeout=milliseconds)
        except Exception as exc:
            _close_leftovers(exc)
            raise
        try:
            visa.timeout = max(1, seconds * 1000)
            if self._baud_rate is not None and self.interface == "serial":
                visa.baud_rate = self._baud_rate
            return make_port(visa, self.interface)
        except BaseException:
            visa.close()
            raise

    def _not_open(self, problem: Exception) -> LinkOpenError:
        reason = f"{type(problem).__name__}: {str(problem) or 'no reason given'}"
        code = ""
        if self.interface == "gpib" and isinstance(problem, (ValueError, ImportError)):
            code = "V010 GPIB library missing; "
        return LinkOpenError(
            f"{self.resource}: {code}{self.visa_library} could not open it ({reason[:300]})",
            resource=self.resource,
        )

    def _reconnect(self, deadline: float) -> None:
        if self._port is not None and self._port.clears and self._cleared(deadline):
            return
        self._close_port()
        if self.interface == "serial" and self.identity is None:
            raise LinkOpenError(
                f"{self.resource}: a late answer on a serial line can be told from others only if "
                "'*IDN?' was asked before",
                resource=self.resource,
            )
        self._port = self._open(deadline)

    def _cleared(self, deadline: float) -> bool:
        """Whether a device clear emptied the instrument's queues."""
        try:
            return self._clear(deadline)
        except LinkTimeoutError:
            return False
        except Exception:  # noqa: BLE001 - whatever the library raises, opening again is next
            return False

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        # A slice of a read ends soon; a read in one go does not, and close is to wake it.
        held = self._io.acquire(timeout=1.0)
        try:
            port.close()
        except Exception:  # noqa: BLE001 - it is closed for us, whatever the library thinks
            return
        finally:
            if held:
                self._io.release()

    def _shut(self) -> None:
        self._close_port()

    # -- bytes ------------------------------------------------------------------------------------

    def _in_turn(
        self,
        port: Port,
        deadline: float,
        action: Callable[[float], _T],
        at_most_s: float = 86_400.0,
    ) -> _T:
        """Run one call of the library with the time that is left, one at a time where needed."""
        if not port.duplex:
            with self._turn:
                self._enter(self._io, deadline, self._asking)
        try:
            return action(max(min(deadline - self._clock(), at_most_s), 0.001))
        finally:
            if not port.duplex:
                self._io.release()

    def _send(self, message: bytes, deadline: float) -> int:
        port = self._port
        if port is None:
            self._lose("is closed")
        rest = memoryview(message)

        def some(seconds: float) -> int:
            return port.send(rest, seconds)

        with self._errors_of("while sending"):
            while rest and self._clock() < deadline:
                sent = self._in_turn(port, deadline, some)
                rest = rest[sent:]
        if rest and not port.exact:
            self._ledger.cut_off("the library does not say how much of a command was sent")
        return len(message) - len(rest)

    def _receive(self, deadline: float) -> bytes:
        port = self._port
        if port is None:
            self._lose("is closed")
        clears = self._clears
        with self._errors_of("while reading"):
            while self._clock() < deadline:
                chunk, self._ended = self._in_turn(port, deadline, port.receive, port.slice_s)
                if chunk or self._ended:
                    return chunk
                if clears != self._clears:
                    raise self._timed_out(f"was interrupted before it answered {self._asking!r}")
                if self._port is not port:
                    self._lose("is closed")
        return b""

    def _waiting(self) -> bool:
        port = self._port
        if port is None:
            return False
        with self._errors_of("between two questions"):
            return port.waiting()

    @contextmanager
    def _errors_of(self, when: str) -> Iterator[None]:
        """Whatever a library raises means that the channel is lost; ours pass through."""
        try:
            yield
        except LinkError:
            raise
        except Exception as exc:  # noqa: BLE001 - libraries raise at least eight kinds, bare ones too
            self._lose(f"broke {when} ({type(exc).__name__}: {str(exc)[:300]})", exc)

    # -- device clear -----------------------------------------------------------------------------

    def interrupt(self) -> bool:
        """Send a device clear (GPIB, USB, VXI-11, HiSLIP); False on serial lines and sockets.

        An answer that another thread waits for is given up: its query ends with LinkTimeoutError.

        Raises:
            LinkTimeoutError: the interface was busy, or did not take it in time.
            LinkLostError: the channel broke.
        """
        port = self._port
        if self._gone:
            raise self._lost()
        if port is None or not port.clears:
            return super().interrupt()
        with self._errors_of("during a device clear"):
            sent = self._clear(self._deadline(None))
        if sent:
            self._ledger.lost_track("a device clear threw answers away")
            self._clears += 1
        return sent

    def _clear(self, deadline: float) -> bool:
        port = self._port
        return port is not None and self._in_turn(port, deadline, port.clear)


def list_resources(
    *, visa_library: str | None = None, timeout_s: float = 5.0, network: bool = True
) -> list[str]:
    """Addresses of the instruments VISA finds, in canonical spelling, sorted.

    With pyvisa-py this sends broadcasts (VXI-11 port mapper) and mDNS queries and takes 2 to 3 s.

    Args:
        visa_library: PyVISA's name of the library, by default PYVISA_LIBRARY or ``"@py"``.
        timeout_s: longest time to wait.
        network: False asks the machine's own ports only (serial, USB, GPIB); nothing is sent.

    Raises:
        LinkTimeoutError: the search did not end in time.
        LinkOpenError: the VISA library cannot be used.
    """
    name = library_name(visa_library)
    try:
        found = _bounded(lambda: _search(name, network), timeout_s, late=lambda _found: None)
    except TimeoutError as exc:
        raise LinkTimeoutError(f"{name} did not end its search within {timeout_s:g} s") from exc
    except Exception as exc:  # as above
        raise LinkOpenError(f"{name} cannot search: {type(exc).__name__}: {exc}") from exc
    return sorted({text for text in map(_canonical, found) if text})


def _search(name: str, network: bool) -> list[str]:
    import pyvisa

    manager = pyvisa.ResourceManager(name)
    if network:
        return list(manager.list_resources("?*"))
    if name != "@py":
        return list(manager.list_resources("(ASRL|USB|GPIB)?*"))
    # pyvisa-py asks every kind of session before it filters, the network ones too.
    from pyvisa.constants import InterfaceType
    from pyvisa_py.sessions import Session  # type: ignore[import-untyped]

    kinds = list(Session.iter_valid_session_classes())
    local = [kind for (interface, _), kind in kinds if interface is not InterfaceType.tcpip]
    return [text for kind in local for text in kind.list_resources()]


def _canonical(text: str) -> str:
    """The canonical address, empty for what Drivebay does not open (an interface, a PXI card)."""
    try:
        return parse_resource(text).text
    except ResourceError:
        return ""


def _check_serial(resource: str, device: str) -> None:
    """A serial port is a character device; opening anything else has side effects."""
    if not device.startswith("/"):
        return
    try:
        mode = os.stat(device).st_mode
    except OSError as exc:
        raise LinkOpenError(f"{resource}: {exc.strerror}: {device}", resource=resource) from exc
    if not stat.S_ISCHR(mode):
        raise LinkOpenError(f"{resource}: {device} is not a serial port", resource=resource)


def _close_leftovers(problem: BaseException) -> None:
    """Close the socket of an open that did not come to its end: pyvisa-py 0.8.1 just drops it."""
    step = problem.__traceback__
    while step is not None:
        session = step.tb_frame.f_locals.get("self")
        leftover = getattr(getattr(session, "interface", None), "sock", None)
        if isinstance(leftover, socket.socket):
            leftover.close()
        step = step.tb_next


def _bounded(work: Callable[[], _T], seconds: float, *, late: Callable[[_T], None]) -> _T:
    """Run ``work`` in a thread of its own and wait at most ``seconds`` for it.

    Raises TimeoutError at the deadline; a result that comes after it is handed to ``late``.
    """
    results: list[_T] = []
    problems: list[BaseException] = []
    given_up = threading.Event()
    done = threading.Lock()

    def run() -> None:
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001 - handed to the caller below
            problems.append(exc)
            return
        with done:
            if not given_up.is_set():
                results.append(result)
                return
        late(result)

    thread = threading.Thread(target=run, name="visa", daemon=True)
    thread.start()
    thread.join(seconds)
    with done:
        if results:
            return results[0]
        given_up.set()
    if problems:
        raise problems[0]
    raise TimeoutError
