"""Stage 4: one lease, one link and one driver on one instrument; its life cycle, its safe state.

Promises:
- The keeper holds the link, so a driver that dies or is replaced closes nothing: the next driver
  takes over the same open instrument.
- Newer code takes over between two measurements, never during one; whatever goes wrong on the way,
  the driver that is there goes on, and that is said.
- The safe state is sent whenever a measurement does not end well, and when a session is closed
  with something armed; the keeper sends it, whatever the driver does.

It never chooses a driver and stores nothing.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from drivebay._core.bench.values import COMMANDED
from drivebay._core.errors import (
    AbortedError,
    BusyError,
    DrivebayError,
    DriverCrashedError,
    LeaseError,
    LimitError,
    LinkError,
    LinkLostError,
    UnsafeError,
)
from drivebay._core.index import Identity, normal_model
from drivebay._core.keeper import KeptSession, SafeStateReport
from drivebay._core.limits import Guard
from drivebay._core.loader import Generation
from drivebay._core.manifest import PluginMetadata
from drivebay._core.seat import Ranges, Seat

_log = logging.getLogger("drivebay.session")

_ABORT_DEADLINE_S: Final = 10.0
"""How long close() waits for a driver's own clean-up before it sends the safe state itself."""

_TAKE_OVER_S: Final = 30.0
"""How long a measurement waits for newer code that is taking over."""

_FAR: Final = 1 << 62
"""A message number that no keeper gets to: there is nothing from it on."""

MakeSeat = Callable[[Generation, Ranges], Seat]
Limits = Mapping[str, tuple[float, float]]


class Session:
    """An opened instrument.

    Args:
        kept: the instrument in the keeper.
        make_seat: connects a driver of a generation; called again after a crash and for newer code.
        generation: the code to run.
        identity: the instrument's answer to ``*IDN?``, None when it knows no such question.
        setup: what the bench adds to the manifest: ``limits``, ``channels``, ``policy``, ``ramp``,
            ``safe_state``, ``order``, ``source``.

    Attributes:
        link: the owner's own link to the instrument.
        seat: the driver.
        suspect: a measurement did not end well and nobody has confirmed the safe state since.
        reloads: how often newer code took over.
        aborted_by: who asked the running measurement to stop; empty while nobody has.
        in_force: what the keeper was told of the instrument: limits, policy, safe state.
        unrecorded: number of the first message that no record has.
        listener: is told kind and data of whatever happens, for the record of a measurement.
    """

    def __init__(
        self,
        kept: KeptSession,
        make_seat: MakeSeat,
        generation: Generation,
        identity: Identity | None = None,
        setup: Mapping[str, Any] | None = None,
    ) -> None:
        self.kept = kept
        self.resource = kept.resource
        self.link = kept.link()
        self.suspect = False
        self.reloads = 0
        self.on_degraded: Callable[[str], None] = _log.error
        self.in_force: dict[str, Any] = {}
        self.unrecorded = 0
        self.listener: Callable[[str, Any], None] = nobody
        self._setup = dict(setup or {})
        self._make_seat = make_seat
        self._wanted: Generation | None = None
        self.aborted_by = ""
        self._use = ""
        """What the instrument is used for: ``measuring``, ``switching``, or nothing."""
        self._use_changed = threading.Condition()
        self._reviving = threading.Lock()
        self._closed = False
        model = identity.model if identity is not None else ""
        self._configure(generation.metadata, model)
        self.kept.listener = self._kept_says
        self.seat = self._seated(generation, model)
        self.identity = self.seat.identity

    @property
    def metadata(self) -> PluginMetadata:
        """The manifest of the code that runs."""
        return self.seat.generation.metadata

    @property
    def ranges(self) -> dict[str, Any] | None:
        """What parameters are held against: the model's ranges within the bench's limits."""
        return self._ranges(self.metadata, self.identity.get("model", ""))

    @property
    def has_safe_state(self) -> bool:
        """Whether anybody declared what makes this instrument harmless."""
        return bool(self._setup.get("safe_state") or self.metadata.safe_state)

    # -- the driver ------------------------------------------------------------------------------

    def _configure(self, metadata: PluginMetadata, model: str) -> None:
        """Tell the keeper what this instrument obeys, and what nobody may exceed."""
        setup = keeper_setup(metadata, model, self._setup)
        self.kept.configure(**setup)
        self.in_force = setup

    def _ranges(self, metadata: PluginMetadata, model: str) -> dict[str, Any] | None:
        return _ranges(metadata, model, self._setup)

    def _seated(self, generation: Generation, model: str) -> Seat:
        metadata = generation.metadata
        before = self._next_message()
        seat = self._make_seat(generation, self._ranges(metadata, model))
        seat.tell = self._tell
        seat.talk = self._talk_since(before)
        found = seat.identity.get("model", "")
        if normal_model(found) != normal_model(model):
            seat.use_ranges(self._ranges(metadata, found))
        lacking = lacks_of(metadata, found)
        if lacking:
            seat.methods = {k: spec for k, spec in seat.methods.items() if k not in lacking}
        return seat

    def _next_message(self) -> int:
        """Number of the next message to or from the instrument."""
        with contextlib.suppress(LinkError, LeaseError):
            _, _, number = self.link.traffic(_FAR)
            return number
        return _FAR

    def _talk_since(self, number: int) -> list[tuple[int, str, bytes]]:
        """What a driver said when it connected; a later measurement does not have it again."""
        with contextlib.suppress(LinkError, LeaseError):
            talk, _, self.unrecorded = self.link.traffic(number)
            return talk
        return []

    def _tell(self, kind: str, data: Any) -> None:
        self.listener(kind, data)

    def _kept_says(self, event: dict[str, Any]) -> None:
        """The keeper tells of something that concerns this instrument."""
        facts = {key: value for key, value in event.items() if key not in {"event", "resource"}}
        self._tell(str(event.get("event")), facts)
        if event.get("event") == "stopped" and self._use == "measuring" and not self.aborted_by:
            self.aborted_by = str(event.get("by") or "everything off")
            # In a thread: events of other instruments do not wait for this one's driver.
            threading.Thread(target=self._stop_driver, name="drivebay-stopped", daemon=True).start()

    def _stop_driver(self) -> None:
        """Tell the driver that its instrument was stopped; never raises."""
        try:
            self.seat.abort()
        except Exception as exc:  # noqa: BLE001 - border: a driver's abort()
            _log.warning("%s: abort: %s", self.resource, exc)

    def ready(self) -> Seat:
        """Return the driver; one whose process died is started anew on the same link.

        Raises:
            DriverError: it could not be started.
            LinkError: the link could not be had.
        """
        if self.seat.exit is not None and not self._closed:
            with self._reviving:
                if self.seat.exit is not None:
                    # The same code: newer takes over when the instrument is released.
                    dead = self.seat
                    self._tell("restarted", {"because": str(dead.exit)})
                    self.seat = self._seated(dead.generation, self.identity.get("model", ""))
                    dead.close()
        return self.seat

    def claim(self) -> None:
        """Take the instrument for one measurement; :meth:`release` gives it back, from any thread.

        While newer code is taking over, that is waited for.

        Raises:
            BusyError: another measurement is running.
        """
        with self._use_changed:
            self._use_changed.wait_for(lambda: self._use != "switching", _TAKE_OVER_S)
            if self._use:
                raise BusyError(
                    f"{self.resource} is in the middle of a measurement; abort() ends it"
                )
            self._use = "measuring"
            self.aborted_by = ""

    def release(self) -> None:
        """Give back what :meth:`claim` took; newer code that waited takes over now."""
        self._now_used_for("switching")
        self._take_over()

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the instrument for the block.

        Raises:
            BusyError: a measurement is running.
        """
        self.claim()
        try:
            yield
        finally:
            self.release()

    # -- newer code ------------------------------------------------------------------------------

    def replace(self, generation: Generation) -> None:
        """Let newer code take over: now, or when the running measurement has ended."""
        with self._use_changed:
            self._wanted = generation
            if self._use == "measuring":
                self._tell(
                    "reload",
                    {
                        "waits_for_end": True,
                        "generation": generation.number,
                        "version": generation.metadata.version,
                        "sha256": generation.sha256,
                    },
                )
                _log.warning(
                    "%s: generation %d of %s waits until the measurement has ended",
                    self.resource,
                    generation.number,
                    generation.metadata.name,
                )
            if self._use:
                return  # whoever uses it now looks at what is wanted when he is done
            self._use = "switching"
        self._take_over()

    def _take_over(self) -> None:
        """Switch to what is wanted, until nothing is; then the instrument is free."""
        try:
            while (wanted := self._next_wanted()) is not None:
                self._try_switch(wanted)
        except BaseException:  # such as Ctrl-C: whoever measures next must not wait for us
            self._now_used_for("")
            raise

    def _try_switch(self, wanted: Generation) -> None:
        try:
            self._switch(wanted)
        except (DrivebayError, OSError) as exc:
            number = self.seat.generation.number
            self.on_degraded(
                f"generation {wanted.number} did not take over {self.resource}, generation"
                f" {number} goes on: {type(exc).__name__}: {exc}"
            )

    def _next_wanted(self) -> Generation | None:
        with self._use_changed:
            wanted, self._wanted = self._wanted, None
            if wanted is None or self._closed or wanted is self.seat.generation:
                self._use = ""
                self._use_changed.notify_all()
                return None
            return wanted

    def _now_used_for(self, use: str) -> None:
        with self._use_changed:
            self._use = use
            self._use_changed.notify_all()

    def _switch(self, wanted: Generation) -> None:
        old, model = self.seat, self.identity.get("model", "")
        new = self._seated(wanted, model)
        try:
            self._check_canary(new)
            state = old.export_state() if old.exit is None else None
            if state is not None:
                new.resume(state)
            self._configure(wanted.metadata, model)
            if self._closed:
                raise LinkLostError(f"{self.resource} was closed", resource=self.resource)
        except BaseException:
            new.close()
            raise
        self.seat = new
        self.reloads += 1
        old.close()
        _log.info("%s: generation %d has taken over", self.resource, wanted.number)

    def _check_canary(self, new: Seat) -> None:
        """The newer code must see the same instrument as the older."""
        for part in ("manufacturer", "model", "serial"):
            before, now = self.identity.get(part), new.identity.get(part)
            if before != now:
                raise LinkLostError(
                    f"{self.resource}: the newer code reads {part} {now!r}, it was {before!r}",
                    resource=self.resource,
                )

    # -- stopping --------------------------------------------------------------------------------

    def begin(self) -> None:
        """A measurement begins: the instrument may be energised.

        Raises:
            UnsafeError: it could not be made safe, and nobody has acknowledged that.
            LeaseError: it was taken over, or the lease ran out.
            LinkLostError: its keeper died.
        """
        self.kept.require()
        self.kept.go()
        self.suspect = True

    def heed_hand(self) -> None:
        """The owner commands by hand, with no measurement under way: an abort that is over is over.

        Where the latch is set or everything was switched off, what may energise stays refused, by
        the keeper and for its own reason; questions are answered.
        """
        with contextlib.suppress(UnsafeError, AbortedError):
            self.kept.go()

    def abort(self, by: str = "user") -> None:
        """Stop the running measurement, from any thread; returns without waiting for its end.

        The keeper switches off first and lets nothing on again; then the driver is told.
        """
        self.aborted_by = by
        self._tell("abort", {"by": by})
        try:
            for problem in self.kept.halt(by):
                _log.warning("%s: abort: %s", self.resource, problem)
                self._tell("warning", f"abort: {problem}")
        finally:
            # A driver whose process is gone needs no telling, and what it would send to stop an
            # instrument that the keeper has stopped already may be refused.
            with contextlib.suppress(DriverCrashedError, AbortedError):
                self.seat.abort()

    def make_safe(self, *, planned: bool = False, forced: bool = False) -> SafeStateReport:
        """Bring the instrument into its safe state.

        Never raises: what fails is in the report, is logged, and the rest is still done.
        """
        try:
            if not self.has_safe_state:
                report = self._driver_reset()
                self._tell_report(report)
                return report
            report = self.kept.make_safe(planned=planned, forced=forced)
        except DrivebayError as exc:
            report = SafeStateReport(verified=False, problems=(str(exc),))
        self._tell_report(report)
        self.suspect = not report.confirmed
        if self.suspect:
            _log.error(
                "%s: safe state not confirmed: %s", self.resource, "; ".join(report.problems)
            )
        return report

    def _tell_report(self, report: SafeStateReport) -> None:
        facts = {"sent": report.sent, "verified": report.verified, "problems": report.problems}
        self._tell("safe_state", facts)

    def _driver_reset(self) -> SafeStateReport:
        # Nobody declared a safe state, so the most that can be asked is the driver's reset().
        try:
            self.seat.call("reset")
        except DrivebayError as exc:
            problem = f"reset(): {exc}"
            _log.exception("%s: %s", self.resource, problem)
            return SafeStateReport(problems=(problem,))
        return SafeStateReport(sent=("reset()",))

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Abort what is running, make safe what is armed, end the driver, give the lease back."""
        if self._closed:
            return
        self._closed = True
        try:
            self._end_measurement()
            self._leave_safe()
        finally:
            self.seat.close()
            self.link.close()
            self.kept.close()

    def end_soon(self) -> None:
        """Abort what is running, and do not wait for its end; never raises."""
        if self._use == "measuring" and not self.aborted_by:
            try:
                self.abort("the session was closed")
            except DrivebayError as exc:
                _log.warning("%s: abort: %s", self.resource, exc)

    def _end_measurement(self) -> None:
        self.end_soon()
        # The measurement's own thread cleans up, and it needs the driver until it has.
        with self._use_changed:
            if not self._use_changed.wait_for(lambda: not self._use, _ABORT_DEADLINE_S):
                _log.error(
                    "%s: the driver did not stop within %g s", self.resource, _ABORT_DEADLINE_S
                )
                self.suspect = True

    def _leave_safe(self) -> None:
        if self.kept.lost:
            return
        try:
            armed = bool(self.kept.status().get("armed"))
        except LinkError:
            return  # the keeper is gone, and the next one makes safe what was armed
        if self.suspect or armed:
            self.make_safe(planned=not self.suspect)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed


def nobody(kind: str, data: Any) -> None:
    """Nobody records."""


def keeper_setup(
    metadata: PluginMetadata | None, model: str, setup: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the keeper must know of an instrument, as ``KeptSession.configure`` takes it.

    Args:
        metadata: manifest of the plugin that serves it, None when none does.
        model: as it answered to ``*IDN?``.
        setup: what the bench adds to the manifest.
    """
    ranges = _ranges(metadata, model, setup) or {}
    return {
        "plugin": f"{metadata.name} {metadata.version}" if metadata is not None else "",
        "safe_state": setup.get("safe_state") or (metadata and metadata.safe_state) or {},
        "dialect": (metadata and metadata.dialect) or {},
        "limits": {
            name: pair
            for name, pair in ranges.items()
            if isinstance(pair, list | tuple) and len(pair) == 2 and name in COMMANDED
        },
        "channels": setup.get("channels") or {},
        "strict": bool(setup.get("limits") or setup.get("channels")),
        "source": str(ranges.get("source") or ""),
        "policy": setup.get("policy") or "off",
        "ramp": ramp_of(setup.get("ramp") or {}, (metadata and metadata.dialect) or {}),
        "order": setup.get("order"),
    }


_CHANNELS: Final = ("2", "3", "4")
"""Channels beside the first that a header with ``[1]`` in it may be of."""


def ramp_of(wanted: Mapping[str, Any], dialect: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a level goes to zero, as the keeper takes it: by which commands, how fast.

    The commands are those of the dialect that set a level at once: nothing energises before they
    were sent (``first: true``). Which of them counts in the end is what was sent last.

    Args:
        wanted: ``rate_v_per_s``, ``rate_a_per_s`` and ``max_s`` of the bench; may be empty.
        dialect: of the manifest.
    """
    rates = {"voltage_v": wanted.get("rate_v_per_s"), "current_a": wanted.get("rate_a_per_s")}
    ways = [
        {"header": header, "rate_per_s": rates[given["quantity"]]}
        for text, given in (dialect.get("levels") or {}).items()
        if given.get("first") is True and rates.get(given["quantity"])
        for header in dict.fromkeys(_spelled(text))
    ]
    return {"ways": ways, "max_s": wanted.get("max_s") or 0.0} if ways else {}


def _spelled(header: str) -> Iterator[str]:
    """A header of a dialect as it is sent, for each channel that it may be of."""
    for channel in ("", *_CHANNELS):
        yield re.sub(r"\[[^\]]*\]", "", header.replace("[1]", channel))


def limit_refusals(
    metadata: PluginMetadata, model: str, messages: Iterable[bytes]
) -> list[LimitError]:
    """What a bench that sets limits would have refused of what was sent, in order.

    The guard of such a bench follows the messages from an instrument of which nothing is known;
    one that it refuses counts as not sent. The limits are the manifest's own ranges.

    Args:
        metadata: manifest of the plugin whose driver sent them.
        model: of the instrument.
        messages: whole messages, as ``Instrument.transcript`` has them.

    Raises:
        ValueError: the manifest has no ranges of that model, so there is no limit to hold.
    """
    limits = keeper_setup(metadata, model, {})["limits"]
    if not limits:
        raise ValueError(f"{metadata.name} has no ranges of model {model!r}")
    guard = Guard(metadata.dialect, limits, strict=True, subject=model, source="the manifest")
    found = []
    for message in messages:
        try:
            guard.committed(guard.check(message))
        except LimitError as exc:
            found.append(exc)
    return found


def _ranges(
    metadata: PluginMetadata | None, model: str, setup: Mapping[str, Any]
) -> dict[str, Any] | None:
    ranges = ranges_for(metadata, model) if metadata is not None else None
    limits = setup.get("limits")
    return narrowed(ranges, limits, str(setup.get("source"))) if limits else ranges


def narrowed(ranges: Ranges, limits: Limits, source: str) -> dict[str, Any]:
    """Return ranges within which both the instrument and the bench allow a value.

    Args:
        ranges: of the instrument.
        limits: of the bench.
        source: the bench file, named where it is the narrower.

    >>> narrowed({"voltage_v": [-210, 210], "source": "2400"}, {"voltage_v": (-10, 10)}, "b.yaml")
    {'voltage_v': [-10, 10], 'source': 'b.yaml'}
    """
    result = dict(ranges or {})
    for name, (low, high) in limits.items():
        widest = result.get(name)
        if widest is None:
            result[name] = [low, high]
        else:
            result[name] = [max(low, widest[0]), min(high, widest[1])]
    result["source"] = source
    return result


def lacks_of(metadata: PluginMetadata, model: str) -> frozenset[str]:
    """Return the methods that a plugin has and this model of it does not."""
    return frozenset((_declared_of(metadata, model) or {}).get("lacks", ()))


def _declared_of(metadata: PluginMetadata, model: str) -> Mapping[str, Any] | None:
    """What stands under ``ranges`` for a model: its own, else that of the closest wildcard."""
    wanted = normal_model(model)
    matching = [
        (len(name), limits)
        for name, limits in (metadata.ranges or {}).items()
        if normal_model(name) == wanted or fnmatchcase(wanted, normal_model(name))
    ]
    return max(matching, key=lambda pair: pair[0])[1] if matching else None


def ranges_for(metadata: PluginMetadata, model: str) -> dict[str, Any] | None:
    """Return the manifest's ranges for a model: its own, else those of the closest wildcard."""
    limits = _declared_of(metadata, model)
    if limits is None:
        return None
    techniques = {
        name: method["technique"]
        for name, method in metadata.methods.items()
        if isinstance(method, Mapping) and "technique" in method
    }
    return {
        **{name: value for name, value in limits.items() if name != "lacks"},
        **({"techniques": techniques} if techniques else {}),
        "source": f"{metadata.name} {metadata.version}, model {normal_model(model).upper()}",
    }
