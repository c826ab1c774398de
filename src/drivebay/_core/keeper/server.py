"""The keeper: the process that owns an owner's links; ``python -m drivebay._core.keeper.server``.

Rules:
- It runs no plugin code and knows no driver: a safe state and limits are data given to it.
- It ends when its owner does, or at SIGTERM, and not before everything that may be on was made
  safe. Ctrl-C and hang-up of the owner's terminal do not reach it.
- Who may talk to it: processes of the same user that know the owner's secret or a grant's token.
  At its public socket anybody of the machine may ask for all outputs to be switched off, and
  nothing else but the same user or root may take an instrument over.
- The main thread waits and never talks to an instrument; each client has a thread of its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hmac
import logging
import os
import queue
import secrets
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import DrivebayError, LeaseError, UnsafeError
from drivebay._core.keeper.held import Held
from drivebay._core.keeper.neighbours import (
    KeeperSilentError,
    call_public,
    end_keeper,
    open_pidfd,
)
from drivebay._core.keeper.records import (
    RUNTIME_PREFIX,
    WATCHMAN,
    Lease,
    lease_folder,
    note_takeover,
    numeric_names,
    read_record,
    remove_leavings,
    remove_record,
    who,
)
from drivebay._core.keeper.safing import SafeStateReport
from drivebay._core.keeper.setup import Grant, Setup
from drivebay._core.keeper.together import make_all_safe, recover, sound
from drivebay._core.keeper.watchman import Watchman
from drivebay._core.wire import PROTOCOL, Channel, expect_greeting, greet, pack_error

_log = logging.getLogger("drivebay.keeper")

_PEER = struct.Struct("3i")  # SO_PEERCRED: pid, uid, gid
OWNER_GONE: Final = "its owner is gone"
_HAND_OVER_S: Final = 5.0
_MOST_PUBLIC: Final = 32
"""Callers served at the public socket at a time; more are hung up on."""
_MOST_EVENTS: Final = 1000
_PATIENT_S: Final = 86_400.0
_Operations = dict[str, Callable[..., Any]]


def boot_time() -> float:
    """Seconds since boot, sleep included: a lease runs out while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Keeper:
    """The keeper's state and what its clients may ask of it.

    Args:
        control: the owner's channel; its end is the owner's end.
        owner: facts of the owner.
        secret: what the owner shows to be let in.
    """

    def __init__(self, control: Channel, owner: Mapping[str, Any], secret: str) -> None:
        self._control = control
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_EVENTS)
        self._teller = threading.Thread(target=self._tell_all, daemon=True)
        self.owner = dict(owner)
        self.secret = secret
        self.folder = lease_folder()
        remove_leavings(Path(tempfile.gettempdir()), self.folder)
        self.runtime = Path(tempfile.mkdtemp(prefix=f"{RUNTIME_PREFIX}{os.getpid()}-"))
        self.path = str(self.runtime / "socket")
        self.public = str(self.folder / f"keeper-{os.getpid()}-{secrets.token_hex(4)}.socket")
        self.held: dict[str, Held] = {}
        self.order: list[str] = []
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._watched: dict[int, Grant] = {}  # by pidfd
        self._recovering = threading.Lock()
        self._callers = threading.Semaphore(_MOST_PUBLIC)
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._ended = False
        self._private = _listener(self.path, 0o600)
        self._open_to_all = _listener(self.public, 0o666)
        self._holder = {**self.owner, "keeper": os.getpid(), "socket": self.public}
        self._teller.start()

    # -- what the owner asks for -----------------------------------------------------------------

    def open(self, resource: str, opening: dict[str, Any], options: dict[str, Any]) -> str:
        """Take the lease of an instrument, open its channel, and grant its use to the owner.

        Args:
            resource: canonical address.
            opening: keyword arguments of ``open_direct``.
            options: ``force`` takes it over from who holds it; ``ttl_s`` ends the lease unless it
                is renewed; ``acknowledge`` takes off the latch.

        Raises:
            LeaseError: somebody else holds it.
            UnsafeError: it was not made safe, and nobody has acknowledged that.
            LinkOpenError: nothing answers there.
        """
        with self._lock:
            if resource in self.held:
                raise LeaseError(f"{resource} is open in this program already", resource=resource)
        lease = self._lease(resource, force=bool(options.get("force")))
        held = Held(resource, opening, lease, self.folder, self._holder, self.tell)
        try:
            self._settle_the_past(held, acknowledge=bool(options.get("acknowledge")))
            held.link()
            ttl_s = options.get("ttl_s")
            held.expires_at = boot_time() + float(ttl_s) if ttl_s else None
            with self._lock:
                if self._ended:
                    raise LeaseError(f"{resource}: {OWNER_GONE}", resource=resource)
                self.held[resource] = held
        except BaseException:
            held.close()
            raise
        self._wake()
        return self.grant(resource)

    def _lease(self, resource: str, *, force: bool) -> Lease:
        names = numeric_names(resource)
        try:
            with self._recovering:  # a lease that we hold for that is not somebody else's
                return Lease.take(self.folder, resource, self._holder, also=names)
        except LeaseError as exc:
            if WATCHMAN not in exc.holder:  # it has it only while it switches off
                if not force or exc.holder.get("keeper") == os.getpid():
                    raise
                self._take_over(exc.resource, exc.holder)
        return self._handed_over(resource, names)

    def _handed_over(self, resource: str, names: Sequence[str]) -> Lease:
        """The lease that was just let go; somebody may use it for a moment to make it safe."""
        deadline = time.monotonic() + _HAND_OVER_S
        while True:
            try:
                return Lease.take(self.folder, resource, self._holder, also=names)
            except LeaseError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _take_over(self, resource: str, holder: Mapping[str, Any]) -> None:
        """Ask the holder's keeper to make the instrument safe and let it go; end it if it hangs."""
        theirs = str(holder.get("for") or resource)
        note = {"resource": theirs, "from": dict(holder), "by": dict(self._holder)}
        try:
            call_public(str(holder.get("socket")), "takeover", theirs, self._holder)
        except KeeperSilentError as exc:
            _log.warning("%s: its keeper is ended: %s", resource, exc)
            self._note_takeover(note)  # before its client asks what became of it
            end_keeper(self.folder, resource)
        else:
            self._note_takeover(note)

    def _note_takeover(self, note: Mapping[str, Any]) -> None:
        try:
            note_takeover(self.folder, note)
        except OSError as exc:
            _log.warning("%s: the take-over is not noted: %s", note["resource"], exc)

    def _settle_the_past(self, held: Held, *, acknowledge: bool) -> None:
        """What an earlier keeper left: an output that may be on, or one that is not safe."""
        latch = read_record(self.folder, "unsafe", held.resource)
        if latch is not None and acknowledge:  # whoever looked at it saw its output as well
            remove_record(self.folder, "armed", held.resource)
            remove_record(self.folder, "unsafe", held.resource)
        elif latch is not None:
            problems = [str(p) for p in latch.get("problems") or ()]
            raise UnsafeError(
                f"{held.resource} could not be made safe at {latch.get('at')}"
                f" ({'; '.join(problems)}); look at it, then `drivebay acknowledge`",
                resource=held.resource,
                problems=problems,
            )
        left = read_record(self.folder, "armed", held.resource)
        if left is None:
            return
        try:
            held.adopt(sound(held.resource, left))
        except LeaseError as exc:
            if acknowledge:
                remove_record(self.folder, "armed", held.resource)
                return
            raise UnsafeError(str(exc), resource=held.resource) from exc
        if left.get("policy") == "hold":
            return  # it was left on for whoever opens it next
        report = held.make_safe(forced=True)
        held.configure(Setup())
        if not report.confirmed:
            raise UnsafeError(
                f"{held.resource} was left on by {who(dict(left.get('holder') or {}))} and could"
                f" not be made safe: {'; '.join(report.problems)}",
                resource=held.resource,
                problems=report.problems,
            )

    def configure(self, resource: str, setup: dict[str, Any]) -> None:
        """Say what serves an instrument: safe state, dialect, limits, policy."""
        held = self._held(resource)
        dialect = setup.get("dialect")
        guard = None
        if dialect or setup.get("strict"):
            from drivebay._core.limits import Guard

            guard = Guard(
                dialect,
                {name: (low, high) for name, (low, high) in (setup.get("limits") or {}).items()},
                channels={
                    channel: {name: (low, high) for name, (low, high) in limits.items()}
                    for channel, limits in (setup.get("channels") or {}).items()
                },
                strict=bool(setup.get("strict")),
                subject=resource,
                source=str(setup.get("source") or ""),
            )
        fresh = Setup(
            plugin=str(setup.get("plugin") or ""),
            safe_state=setup.get("safe_state") or {},
            guard=guard,
            knows_energising=bool((dialect or {}).get("energise")),
            policy=str(setup.get("policy") or "off"),
            ramp=setup.get("ramp") or {},
        )
        held.configure(fresh)
        order = setup.get("order")
        if isinstance(order, list):
            self.order = [str(name) for name in order]

    def grant(self, resource: str) -> str:
        """Return a new token for the use of an instrument."""
        held = self._held(resource)
        token = secrets.token_hex(16)
        grant = Grant(held, token)
        with self._lock:
            held.grants[token] = grant
            self._grants[token] = grant
        return token

    def revoke(self, token: str, reason: str) -> None:
        """Refuse a token from now on."""
        grant = self._grants.get(token)
        if grant is not None:
            grant.reason = grant.reason or reason
            self._wake()

    def renew(self, resource: str, ttl_s: float) -> None:
        """Keep the lease for another while."""
        self._held(resource).expires_at = boot_time() + ttl_s

    def make_safe(self, resources: list[str] | None, planned: bool, forced: bool) -> dict[str, Any]:
        """Make instruments safe, all of them for None; what became of each."""
        with self._lock:
            chosen = [h for name, h in self.held.items() if resources is None or name in resources]
        return {
            name: _report(report)
            for name, report in make_all_safe(
                chosen, order=self.order, planned=planned, forced=forced
            ).items()
        }

    def close(self, resource: str) -> dict[str, Any] | None:
        """Give an instrument back, made safe by its policy if it may be on; what became of that."""
        held = self.held.get(resource)
        if held is None:
            return None
        held.revoke("is closed")  # first: nobody switches on again behind the safe state
        report = held.make_safe(planned=True) if held.armed else None
        self._drop(held)
        return None if report is None else _report(report)

    def _drop(self, held: Held) -> None:
        """Give an instrument back as it is."""
        with self._lock:
            if self.held.get(held.resource) is held:
                del self.held[held.resource]
            for token in held.grants:
                self._grants.pop(token, None)
        held.close()
        self._wake()

    def acknowledge(self, resource: str) -> bool:
        """Take off the latch of an instrument, open or not; whether there was one."""
        held = self.held.get(resource)
        if held is not None:
            was = held.state == "unsafe" or bool(held.stopped_by)
            held.acknowledge()
            return was
        return remove_record(self.folder, "unsafe", resource)

    def status(self) -> list[dict[str, Any]]:
        """Return what is known of every instrument held here."""
        return [held.status() for held in list(self.held.values())]

    def _held(self, resource: str) -> Held:
        held = self.held.get(resource)
        if held is None:
            known = ", ".join(self.held) or "none"
            raise LeaseError(f"{resource} is not held here (held: {known})", resource=resource)
        return held

    # -- making safe -----------------------------------------------------------------------------

    def client_died(self, grant: Grant) -> None:
        """The process of a driver is gone: what it may have left on goes off."""
        held = grant.held
        if grant.reason:
            return  # it was let go before
        grant.reason = "its driver's process died"
        held.halted_by = grant.reason
        if held.armed:
            _log.warning("%s: %s, switching off", held.resource, grant.reason)
            report = held.make_safe()
            self.tell({"event": "made_safe", "resource": held.resource, "report": _report(report)})

    def expire(self, held: Held) -> None:
        """Nobody renewed a lease in time."""
        held.revoke("the lease ran out, because nobody renewed it")
        held.halted_by = "nobody renewed its lease"
        if held.armed:
            held.make_safe()
        self._drop(held)
        self.tell({"event": "expired", "resource": held.resource})

    # -- at the public socket --------------------------------------------------------------------

    def everything_off(self, by: str) -> dict[str, Any]:
        """Switch every output off, whoever asks."""
        with self._lock:
            chosen = list(self.held.values())
        for held in chosen:
            held.halted_by = held.stopped_by = by
        # First: a driver that waits for an answer is told before the instrument falls silent.
        self.tell({"event": "stopped", "by": by})
        reports = make_all_safe(chosen, order=self.order, forced=True)
        result = {held.resource: _report(reports[held.resource]) for held in chosen}
        for held in chosen:
            if not held.setup.safe_state:
                result[held.resource]["problems"] = ["nothing is known that makes it safe"]
        self.tell({"event": "estop", "by": by, "reports": result})
        return result

    def let_go(self, resource: str, to: Mapping[str, Any]) -> dict[str, Any]:
        """Hand an instrument over: make it safe, refuse its clients, give the lease back."""
        held = self._held(resource)
        by = who(to)
        held.revoke(f"was taken over by {by}")
        held.halted_by = "a take-over"
        report = held.make_safe(forced=True)
        self.tell({"event": "taken_over", "resource": resource, "by": by})
        self._drop(held)
        return _report(report)

    # -- clients ---------------------------------------------------------------------------------

    def serve_client(self, sock: socket.socket) -> None:
        """Thread of one client: greeting, then an answer for each request."""
        pid, uid, _ = _PEER.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        channel = Channel.of_socket(sock, peer=f"process {pid}")
        try:
            if uid not in {os.getuid(), 0}:
                raise LeaseError(f"process {pid} is another user's")
            hello = greet(channel, role="keeper")
            operations, grant = self._operations(hello, pid)
            channel.send((None, None))
            _serve(channel, operations, grant)
        except (EOFError, OSError):
            pass  # it hung up
        except Exception as exc:  # noqa: BLE001 - task root: it says something odd, and hears so
            with contextlib.suppress(OSError):
                channel.send((pack_error(exc), None), timeout_s=1.0)
        finally:
            channel.close()

    def _operations(self, hello: dict[str, Any], pid: int) -> tuple[_Operations, Grant | None]:
        token = str(hello.get("token"))
        if hello.get("role") == "control" and hmac.compare_digest(
            token.encode(), self.secret.encode()
        ):
            return self._owner_operations(), None
        grant = self._grants.get(token)
        if grant is None:
            raise LeaseError("this grant is not valid any more: the instrument was given back")
        grant.check()
        if hello.get("role") == "host":
            self._watch(pid, grant)
        held = grant.held
        return {
            "query": held.query,
            "write": held.write,
            "write_each": held.write_each,
            "try_ask": held.try_ask,
            "query_block": held.query_block,
            "read": held.read,
            "read_block": held.read_block,
            "read_raw": held.read_raw,
            "interrupt": held.interrupt,
            "give_up": held.give_up,
            "info": held.info,
            "transcript": held.transcript,
            "traffic": held.traffic,
        }, grant

    def _owner_operations(self) -> _Operations:
        return {
            "open": self.open,
            "configure": self.configure,
            "grant": self.grant,
            "revoke": self.revoke,
            "renew": self.renew,
            "make_safe": self.make_safe,
            "halt": lambda resource, by: self._held(resource).halt(by),
            "go": lambda resource: self._held(resource).go(),
            "park": lambda resource: self._held(resource).park(),
            "close": self.close,
            "acknowledge": self.acknowledge,
            "status": self.status,
            "recover": self.recover,
        }

    def _watch(self, pid: int, grant: Grant) -> None:
        """Hear of the end of a driver's process, however it ends and whoever keeps its sockets."""
        with self._lock:
            if pid in grant.pids:
                return
            grant.pids.add(pid)
            pidfd = open_pidfd(pid)
            if pidfd >= 0:
                self._watched[pidfd] = grant
                self._poll.register(pidfd, select.POLLIN)
        if pidfd < 0:  # it is gone already
            self.client_died(grant)
        self._wake()

    def _unwatch(self) -> None:
        """Main thread: let go of the processes whose grants are no more."""
        with self._lock:
            over = [fd for fd, grant in self._watched.items() if grant.reason]
            for fd in over:
                del self._watched[fd]
                self._poll.unregister(fd)
        for fd in over:
            os.close(fd)

    # -- what the owner hears --------------------------------------------------------------------

    def tell(self, event: dict[str, Any]) -> None:
        """Tell the owner of an event; waits for nobody, as the owner may have stopped."""
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(event)

    def _tell_all(self) -> None:
        """Thread that tells the owner one event after the other."""
        while (event := self._events.get()) is not None:
            try:
                self._control.send(event, timeout_s=_PATIENT_S)
            except (OSError, DrivebayError):
                return

    # -- after a crash ---------------------------------------------------------------------------

    def recover(self, held_too: bool = False) -> dict[str, Any]:
        """Make safe whatever dead keepers left armed; what became of each."""
        with self._recovering:
            found = recover(self.folder, self._holder, self.tell, held_too=held_too)
        return {name: _report(report) for name, report in found.items()}

    # -- the main loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the owner is gone; then make everything safe and end."""
        poll = self._poll
        owner = open_pidfd(int(self.owner.get("pid") or 0))
        for fd in (self._control.fileno(), self._wake_read, owner):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        for listener in (self._private, self._open_to_all):
            poll.register(listener.fileno(), select.POLLIN)
        try:
            while not self._ended:
                for fd, _ in poll.poll(self._patience_ms()):
                    self._happened(fd, owner)
                self._look_at_leases()
                self._unwatch()
        finally:
            self._finish()

    def _happened(self, fd: int, owner: int) -> None:
        if fd == self._control.fileno():
            self._owner_says()
        elif fd == owner:
            self._ended = True
        elif fd == self._wake_read:
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 4096)
        elif fd == self._private.fileno():
            self._accept(self._private, self.serve_client)
        elif fd == self._open_to_all.fileno():
            self._accept(self._open_to_all, self.serve_public)
        else:
            with self._lock:
                grant = self._watched.pop(fd)
                self._poll.unregister(fd)
            os.close(fd)
            _in_thread(self.client_died, grant)

    def _owner_says(self) -> None:
        """The owner asks to end, or is gone: it has nothing else to say here."""
        with contextlib.suppress(EOFError, OSError, DrivebayError):
            self._control.receive(1.0)
        self._ended = True

    @staticmethod
    def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it has gone, or there are no descriptors left: the next poll tells
            return
        try:
            _in_thread(serve, sock)
        except RuntimeError:  # the system gives no more threads
            sock.close()

    def _patience_ms(self) -> float | None:
        ends = [held.expires_at for held in list(self.held.values()) if held.expires_at is not None]
        # A machine that slept wakes up late: the boot-time clock is looked at every second.
        return min(1000.0, max(0.0, min(ends) - boot_time()) * 1000) if ends else None

    def _look_at_leases(self) -> None:
        now = boot_time()
        for held in list(self.held.values()):
            if held.expires_at is not None and held.expires_at <= now:
                held.expires_at = None
                _in_thread(self.expire, held)

    def end(self) -> None:
        """Make everything safe and end, as if the owner were gone."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake up
            os.write(self._wake_write, b".")

    def _finish(self) -> None:
        with self._lock:
            self._ended = True
            left = list(self.held.values())
        try:
            for held in left:
                held.revoke(OWNER_GONE)
                held.halted_by = OWNER_GONE
            # What nobody switched on is left as it is; the rest by its policy.
            make_all_safe([held for held in left if held.armed], order=self.order)
        finally:
            for held in left:
                held.close()
            for path in (self.public, self.path):
                with contextlib.suppress(OSError):
                    os.unlink(path)
            shutil.rmtree(self.runtime, ignore_errors=True)
            self.tell({"event": "ended"})
            with contextlib.suppress(queue.Full):
                self._events.put_nowait(None)
            self._teller.join(1.0)

    def serve_public(self, sock: socket.socket) -> None:
        """Thread of one caller at the public socket: one request."""
        if not self._callers.acquire(blocking=False):
            sock.close()
            return
        pid, uid, _ = _PEER.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        channel = Channel.of_socket(sock, peer=f"process {pid}")
        try:
            channel.send({"drivebay": PROTOCOL, "pid": os.getpid()}, timeout_s=1.0)
            channel.send((None, self._public(pid, uid, channel.receive(5.0))), timeout_s=5.0)
        except (EOFError, OSError):
            pass  # it hung up, or said nothing
        except Exception as exc:  # noqa: BLE001 - task root: it says something odd, and hears so
            with contextlib.suppress(OSError):
                channel.send((pack_error(exc), None), timeout_s=1.0)
        finally:
            channel.close()
            self._callers.release()

    def _public(self, pid: int, uid: int, request: Any) -> Any:
        operation, *arguments = request
        if operation == "estop":
            return self.everything_off(f"all outputs off, by process {pid} of user {uid}")
        if uid not in {os.getuid(), 0}:
            raise LeaseError(
                f"a keeper of user {os.getuid()} does nothing but switch off for user {uid}"
            )
        if operation == "takeover":
            return self.let_go(*arguments)
        if operation == "acknowledge":
            return self.acknowledge(*arguments)
        raise LeaseError(f"a keeper knows no {operation!r} at its public socket")


def _serve(channel: Channel, operations: _Operations, grant: Grant | None) -> None:
    while True:
        name, *arguments = channel.receive()
        try:
            if grant is not None and grant.reason:
                grant.check()
            answer: tuple[Any, Any] = (None, operations[name](*arguments))
        except Exception as exc:  # noqa: BLE001 - task root: every failure is the client's answer
            answer = (pack_error(exc), None)
        channel.send(answer)


def _report(report: SafeStateReport) -> dict[str, Any]:
    return {
        "sent": list(report.sent),
        "verified": report.verified,
        "problems": list(report.problems),
    }


def _listener(path: str, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, mode)
    listener.listen(128)
    return listener


def _in_thread(action: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=action, args=arguments, daemon=True).start()


def main() -> None:
    """Take the control channel on descriptor ``argv[1]`` and keep until the owner is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    control = Channel(int(sys.argv[1]), int(sys.argv[1]), peer="the owner")
    hello = expect_greeting(control)
    watchman = _watchman(hello["owner"])  # before there are threads
    keeper = Keeper(control, hello["owner"], str(hello["secret"]))
    signal.signal(signal.SIGTERM, lambda *_: keeper.end())
    logging.getLogger("drivebay").addHandler(_Teller(keeper))
    control.send(
        {"drivebay": hello["drivebay"], "path": keeper.path, "pid": os.getpid()}, timeout_s=5.0
    )
    keeper.run()
    if watchman is not None:
        watchman.dismiss()


def _watchman(owner: Mapping[str, Any]) -> Watchman | None:
    try:
        return Watchman(owner, lease_folder())
    except OSError as exc:
        _log.warning("the keeper has no watchman: %s", exc)
        return None


class _Teller(logging.Handler):
    """Log records go to the owner, who has a log."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(logging.INFO)
        self._keeper = keeper

    def emit(self, record: logging.LogRecord) -> None:
        event = {
            "event": "log",
            "name": record.name,
            "level": record.levelno,
            "text": record.getMessage(),
        }
        self._keeper.tell(event)


if __name__ == "__main__":
    main()
