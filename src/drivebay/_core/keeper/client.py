"""The owner's side of its keeper: started when the first instrument is opened, gone with the last.

Promises: one keeper for a process, whatever threads ask; when the keeper dies with something open,
another is started at once, which makes safe what was on. Sends no command to an instrument itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import DrivebayError, LeaseError, LinkLostError
from drivebay._core.keeper.records import facts_of_this_process, lease_folder, taken_by, who
from drivebay._core.keeper.safing import SafeStateReport
from drivebay._core.links import KeeperPort, KeptLink
from drivebay._core.links.kept import QUICK_S
from drivebay._core.wire import Channel, greet

_log = logging.getLogger("drivebay.keeper")

_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from drivebay._core.keeper.server import main; main()"
)
_PACKAGES: Final = str(Path(__file__).parents[3])
_SAFE_S: Final = 30.0
"""Longest time for making everything safe; each instrument has its own, shorter deadlines."""

_KEEPER_DIED: Final = "its keeper died; what was on was switched off"

_LINGER_S: Final = 1.0
"""How long a keeper with nothing open is kept, for the next one to be opened."""


class KeeperClient:
    """A running keeper."""

    def __init__(self) -> None:
        self.folder = lease_folder()
        log = self.folder / f"keeper-{os.getuid()}.log"
        secret = secrets.token_hex(16)
        ours, theirs = socket.socketpair()
        self._control = Channel.of_socket(ours, peer="the keeper")
        try:
            self._process = _started(theirs, log)
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
        try:
            hello = greet(self._control, secret=secret, owner=facts_of_this_process())
        except (EOFError, OSError, DrivebayError) as exc:
            self._control.close()
            self._process.kill()
            self._process.wait()
            raise LinkLostError(
                f"the keeper did not start ({exc}); {log} may say why, or `drivebay doctor`"
            ) from exc
        self.pid = int(hello["pid"])
        self.path = str(hello["path"])
        self.owner_pid = os.getpid()
        self.dead = False
        self._over = threading.Event()
        self._port = KeeperPort(self.path, secret, role="control")
        self._sessions: dict[str, KeptSession] = {}
        self._opening = 0
        self._lock = threading.Lock()
        self._idle: threading.Timer | None = None
        self._listener = threading.Thread(target=self._listen, name="drivebay-keeper", daemon=True)
        self._listener.start()

    # -- opening and closing ---------------------------------------------------------------------

    def open(
        self,
        resource: str,
        opening: Mapping[str, Any],
        *,
        force: bool = False,
        ttl_s: float | None = None,
        acknowledge: bool = False,
    ) -> KeptSession:
        """Take the lease of an instrument and open its channel. Raises: as ``Keeper.open``."""
        options = {"force": force, "ttl_s": ttl_s, "acknowledge": acknowledge}
        wait_s = float(opening.get("timeout_s", 5.0)) + 2 * _SAFE_S
        with self._lock:
            self._opening += 1
        try:
            token = self.call("open", resource, dict(opening), options, timeout_s=wait_s)
            session = KeptSession(self, resource, str(token), ttl_s)
            with self._lock:
                self._sessions[resource] = session
        finally:
            with self._lock:
                self._opening -= 1
            self.rest()
        return session

    def forget(self, session: KeptSession) -> None:
        """A session was closed; a keeper with none left ends a little later."""
        with self._lock:
            if self._sessions.get(session.resource) is session:
                del self._sessions[session.resource]
        self.rest()

    def rest(self) -> None:
        """End a little later, unless something is opened until then."""
        with self._lock:
            if self._sessions or self._opening or self.dead or self._idle is not None:
                return
            self._idle = threading.Timer(_LINGER_S, self._end_if_idle)
            self._idle.daemon = True
            with contextlib.suppress(RuntimeError):  # the program is at its end, and so is ours
                self._idle.start()

    def _end_if_idle(self) -> None:
        with _starting:
            with self._lock:
                self._idle = None
                if self._sessions or self._opening or self.dead:
                    return
                self.dead = True
            _drop(self)
            self._port.close()
            self._say_good_bye()

    def end(self) -> None:
        """Have everything made safe and given back, and wait for the end of the process."""
        with self._lock:
            self.dead = True
            left, self._sessions = list(self._sessions.values()), {}
        _drop(self)
        for session in left:
            session.lost = session.lost or "was given back"
        self._say_good_bye()
        self._listener.join(2 * _SAFE_S)
        self._port.close()

    def _say_good_bye(self) -> None:
        try:
            self._control.send("end")
        except OSError:
            return  # it has ended by itself

    def call(self, operation: str, *arguments: Any, timeout_s: float = 5.0) -> Any:
        """Ask the keeper. Raises: LinkLostError when it is gone, and what the operation raised."""
        return self._port.call(operation, *arguments, timeout_s=timeout_s)

    def make_safe(
        self, resources: list[str] | None = None, *, planned: bool = False, forced: bool = False
    ) -> dict[str, SafeStateReport]:
        """Make instruments safe, all that are open for None: all writes first, verified after."""
        found = self.call("make_safe", resources, planned, forced, timeout_s=_SAFE_S)
        return {name: report_of(data) for name, data in found.items()}

    # -- what the keeper tells -------------------------------------------------------------------

    def _listen(self) -> None:
        """Thread that hears the keeper's events, and its end."""
        try:
            while True:
                event = self._control.receive()
                if isinstance(event, dict):
                    self._heard(event)
        except (EOFError, OSError):
            pass
        except DrivebayError as exc:
            _log.error("the keeper (process %s) is ended: %s", self.pid, exc)
            self._process.kill()
        self._control.close()
        # It closes its end last of all; one that still holds on to it is no keeper any more.
        try:
            self._process.wait(_SAFE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            self._died()
        finally:
            self._over.set()

    def wait_over(self) -> bool:
        """Wait until it has died and what it left on was made safe; whether it has.

        At once False while it answers.
        """
        return (self.dead or bool(self._port.gone)) and self._over.wait(_SAFE_S)

    def _heard(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "log":
            name, level = str(event.get("name")), int(event.get("level") or logging.INFO)
            text = str(event.get("text"))
            logging.getLogger(name).log(level, "%s", text)
            with self._lock:  # its texts begin with the instrument they are about
                about = [s for name, s in self._sessions.items() if text.startswith(name)]
            for session in about:
                session.listener(event)
            return
        with self._lock:
            resource = event.get("resource")
            concerned = [s for name, s in self._sessions.items() if resource in {None, name}]
        for session in concerned:
            session.heard(event)

    def _died(self) -> None:
        with self._lock:
            expected, self.dead = self.dead, True
            left, self._sessions = list(self._sessions.values()), {}
        _drop(self)
        if expected or not left:
            return
        _log.error("the keeper (process %s) died; another makes safe what was on", self.pid)
        reports: Mapping[str, Any] = {}
        try:
            keeper = running_keeper()
            reports = keeper.call("recover", timeout_s=_SAFE_S)
            keeper.rest()
        except DrivebayError as exc:
            _log.critical("no new keeper could be started: %s", exc)
        for session in left:
            event = {"event": "keeper_died", "resource": session.resource}
            session.heard({**event, "report": reports.get(session.resource)})


def _started(theirs: socket.socket, log: Path) -> subprocess.Popen[bytes]:
    """The process, with its end of the control channel."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(log, flags, 0o600)
    except OSError:  # somebody put something else there
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    environment = dict(os.environ)
    if environment.get("PYVISA_LIBRARY", "").endswith("@drivebay"):
        del environment["PYVISA_LIBRARY"]  # that one leads here
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(theirs.fileno()), _PACKAGES],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            cwd="/",
            env=environment,
        )
    except OSError as exc:
        raise LinkLostError(f"the keeper did not start: {exc}") from exc
    finally:
        os.close(descriptor)


class KeptSession:
    """An instrument in the keeper, seen by its owner.

    Attributes:
        resource: canonical address.
        lost: why it is not ours any more; empty while it is.
        listener: called with every event of the keeper's that concerns it.
    """

    def __init__(
        self, keeper: KeeperClient, resource: str, token: str, ttl_s: float | None
    ) -> None:
        self.keeper = keeper
        self.resource = resource
        self.token = token
        self.lost = ""
        self.listener: Callable[[dict[str, Any]], None] = lambda event: None
        self._closed = threading.Event()
        if ttl_s:
            threading.Thread(
                target=self._renew, args=(ttl_s,), name="drivebay-lease", daemon=True
            ).start()

    def link(self) -> SessionLink:
        """A link of the owner's to the instrument."""
        return SessionLink(self)

    def grant(self) -> str:
        """A token for a driver's process."""
        return str(self._call("grant", self.resource))

    def revoke(self, token: str, reason: str) -> None:
        """Refuse a token from now on."""
        self.keeper.call("revoke", token, reason)

    def configure(self, **setup: Any) -> None:
        """Say what serves the instrument; see ``Keeper.configure``."""
        self._call("configure", self.resource, setup)

    def make_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport:
        """Send and verify the safe state; see ``Held.make_safe``."""
        found = self.keeper.make_safe([self.resource], planned=planned, forced=forced)
        return found.get(
            self.resource, SafeStateReport(problems=(self.lost or "it is not open any more",))
        )

    def _call(self, operation: str, *arguments: Any) -> Any:
        """Ask the keeper. Raises: LeaseError, which says who has it if somebody took it over."""
        try:
            return self.keeper.call(operation, *arguments)
        except (LeaseError, LinkLostError) as exc:
            why = self.taken() or (self.lost if isinstance(exc, LeaseError) else "")
            if why:
                raise LeaseError(f"{self.resource} {why}", resource=self.resource) from exc
            raise

    def halt(self, by: str) -> list[str]:
        """Stop and switch off now, and refuse to energise until :meth:`go`; what failed."""
        return [str(problem) for problem in self._call("halt", self.resource, by)]

    def go(self) -> None:
        """A new measurement begins. Raises: UnsafeError while the latch is set."""
        self._call("go", self.resource)

    def park(self) -> None:
        """Close the channel and keep the lease."""
        self._call("park", self.resource)

    def status(self) -> dict[str, Any]:
        """What the keeper knows of it."""
        found = {row["resource"]: row for row in self.keeper.call("status")}
        return dict(found.get(self.resource, {"resource": self.resource, "state": "closed"}))

    def heard(self, event: dict[str, Any]) -> None:
        """An event of the keeper's; some end the session."""
        kind = event.get("event")
        if kind == "taken_over":
            self.lost = f"was taken over by {event.get('by')}"
        elif kind == "expired":
            self.lost = "the lease ran out, because nobody renewed it"
        elif kind == "keeper_died":
            self.lost = self.taken() or _KEEPER_DIED
        self.listener(event)

    def require(self) -> None:
        """Check that it is still ours.

        Raises:
            LeaseError: it was taken over, or the lease ran out.
            LinkLostError: its keeper died.
        """
        if self.lost:
            error = LinkLostError if self.lost == _KEEPER_DIED else LeaseError
            raise error(f"{self.resource} {self.lost}; open it again", resource=self.resource)

    def taken(self) -> str:
        """Who took the instrument over from this keeper, empty when nobody did."""
        by = taken_by(self.keeper.folder, self.resource, self.keeper.pid)
        return f"was taken over by {who(by)}" if by else ""

    def _renew(self, ttl_s: float) -> None:
        while not self._closed.wait(ttl_s / 3) and not self.lost:
            try:
                self.keeper.call("renew", self.resource, ttl_s)
            except DrivebayError:
                return  # whoever uses it next hears why

    @property
    def closed(self) -> bool:
        """Whether it was given back."""
        return self._closed.is_set()

    def close(self) -> None:
        """Give the instrument back, made safe by its policy if it may be on; callable twice.

        In a process that was forked from its owner this does nothing.
        """
        if self._closed.is_set() or self.keeper.owner_pid != os.getpid():
            return
        self._closed.set()
        try:
            if not self.lost:
                self.keeper.call("close", self.resource, timeout_s=2 * _SAFE_S)
        except LinkLostError:
            return  # with the keeper the lease went too
        finally:
            self.keeper.forget(self)


class SessionLink(KeptLink):
    """A link of the owner's; when it is lost, it says who took the instrument over."""

    def __init__(self, session: KeptSession) -> None:
        self.session = session
        super().__init__(session.keeper.path, session.token, role="owner")

    def _call(self, operation: str, *arguments: Any, timeout_s: float = QUICK_S) -> Any:
        try:
            return super()._call(operation, *arguments, timeout_s=timeout_s)
        except LinkLostError as exc:
            session = self.session
            if taken := session.taken():
                text = f"{session.resource} {taken}"
                raise LeaseError(text, resource=session.resource) from exc
            raise


def report_of(data: Mapping[str, Any]) -> SafeStateReport:
    """The report that the keeper sent as plain data."""
    return SafeStateReport(tuple(data["sent"]), data["verified"], tuple(data["problems"]))


# -- one keeper for a process ----------------------------------------------------------------------

_starting = threading.RLock()
_running: KeeperClient | None = None


def running_keeper() -> KeeperClient:
    """Return this process's keeper, started if there is none.

    Raises:
        LinkLostError: it could not be started.
        LeaseError: the folder for leases cannot be used.
    """
    global _running
    with _starting:
        found = _running
        # Another folder is another machine to us; the old keeper ends with its last instrument.
        if found is None or found.dead or found.folder != lease_folder():
            found = _running = KeeperClient()
        return found


def end_keeper() -> None:
    """Give every instrument of this process back, made safe, and wait until the keeper is gone."""
    found = _running
    if found is not None:
        found.end()


def open_session(
    resource: str,
    opening: Mapping[str, Any],
    *,
    force: bool = False,
    ttl_s: float | None = None,
    acknowledge: bool = False,
) -> KeptSession:
    """Open an instrument in this process's keeper.

    Args:
        resource: canonical address.
        opening: keyword arguments of ``open_direct``.
        force: take it over from whoever holds it; it is made safe before.
        ttl_s: the lease ends when this process has not renewed it for so long, as it does by
            itself while it runs; None keeps it as long as this process lives.
        acknowledge: a person has looked at it: take off the latch.

    Raises:
        LeaseError: somebody else holds it.
        UnsafeError: it was not made safe, and nobody has acknowledged that.
        LinkOpenError: nothing answers there.
    """
    keeper = running_keeper()
    options: dict[str, Any] = {"force": force, "ttl_s": ttl_s, "acknowledge": acknowledge}
    try:
        return keeper.open(resource, opening, **options)
    except LinkLostError:
        # It ended because nothing was open, before it heard of us, or it was killed just now.
        if not keeper.wait_over():
            raise
        return running_keeper().open(resource, opening, **options)


def _in_the_child() -> None:
    """After a fork: the keeper is the parent's, whose threads and locks are not here."""
    global _running, _starting
    _starting = threading.RLock()
    if _running is not None:
        _of_parents.append(_running)
        _running = None


_of_parents: list[KeeperClient] = []  # kept, so that nothing of theirs is cleaned up here
os.register_at_fork(after_in_child=_in_the_child)


def _drop(keeper: KeeperClient) -> None:
    global _running
    with _starting:
        if _running is keeper:
            _running = None
