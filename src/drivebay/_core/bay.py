"""Bay: plugins, sessions, measurements and runs, composed into what an experimenter uses.

Promises: every measurement made through a bay is a run on disk before its points are handed out;
leaving the ``with`` block closes every instrument, made safe. A driver runs in a process of its
own, so that its crash is an error here and nothing else; no plugin code runs in this process
unless ``isolation="inline"`` or ``plugins.get_driver`` asks for it.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import platform
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from drivebay._core.bench import (
    Bench,
    BenchInstrument,
    find_bench,
    identity_problem,
    load_bench,
)
from drivebay._core.contract import ScpiDriver
from drivebay._core.errors import (
    DrivebayError,
    IdentityError,
    LeaseError,
    LinkError,
    NoDriverError,
    PluginStateError,
    ResourceError,
    UnsafeError,
)
from drivebay._core.faults import TOO_MANY, WITHIN_S, Faults
from drivebay._core.host import Exit
from drivebay._core.host import Limits as HostLimits
from drivebay._core.index import Candidate, Identity, parse_idn
from drivebay._core.keeper import KeptSession, SafeStateReport, lend, open_link, open_session
from drivebay._core.lending import bench_setup, entry_of
from drivebay._core.links import Link, list_resources, parse_resource
from drivebay._core.loader import Generation
from drivebay._core.manager import (
    PluginEvent,
    PluginInfo,
    PluginManager,
    Watcher,
    drivebay_home,
)
from drivebay._core.manifest import canonical_name
from drivebay._core.measurement import Measurement
from drivebay._core.runs import Recorder, Run, RunDraft, RunStore
from drivebay._core.seat import HostSeat, InlineSeat, Ranges, Seat, stage_in_host
from drivebay._core.session import Session
from drivebay._version import __version__

if TYPE_CHECKING:
    from drivebay._core.contract.calling import Chunk

RESOURCES_VARIABLE: Final = "DRIVEBAY_RESOURCES"
_FIND_TIMEOUT_S: Final = 2.0
_HOLDER: Final = ("user", "host", "pid", "program", "since")
_log = logging.getLogger("drivebay.bay")


@dataclass(frozen=True)
class Found:
    """An address that was looked at.

    Attributes:
        resource: canonical address.
        idn: its ``*IDN?`` reply, None when it did not answer.
        identity: the reply's four fields.
        plugin: the plugin that would be chosen, None when none claims it.
        candidates: every plugin considered, with reasons.
        error: why it could not be asked.
        alias: its name on the bench, empty without one.
        holder: who has it, when that is why it could not be asked: ``user``, ``host``, ``pid``,
            ``program``, ``since``.
    """

    resource: str
    idn: str | None = None
    identity: dict[str, str] = field(default_factory=dict)
    plugin: str | None = None
    candidates: tuple[Candidate, ...] = ()
    error: str | None = None
    alias: str = ""
    holder: dict[str, Any] = field(default_factory=dict)


class Bay:
    """The place where plugins, instruments and runs meet.

    Args:
        home: folder for plugins, runs and state; default ``DRIVEBAY_HOME``.
        plugin_dirs: folders to search for plugins instead of all sources.
        bench: the bench file, or a loaded one; default the file ``DRIVEBAY_BENCH`` names, else
            ``bench.yaml`` in the current folder or in ``home``, if there is one.

    Attributes:
        plugins: the plugin manager. It loads and checks plugins in processes of their own; only
            its ``get_driver`` and ``open(isolation="inline")`` run plugin code in this one.
        bench: the instruments of this bench by name, None without a bench file.
        runs: the store of everything measured.

    Raises:
        BenchError: every problem of the bench file.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        plugin_dirs: list[Path] | None = None,
        *,
        bench: str | Path | Bench | None = None,
    ) -> None:
        self.home = Path(home).expanduser().absolute() if home else drivebay_home()
        self.bench = _bench(bench, self.home)
        self.plugins = PluginManager(plugin_dirs, home=self.home, stager=stage_in_host)
        self.plugins.discover_plugins()
        self.runs = RunStore(self.home / "runs")
        self._instruments: list[Instrument] = []
        self._lock = threading.Lock()
        self._faults = Faults()
        self.plugins.subscribe(self._plugin_changed)

    def __enter__(self) -> Bay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every instrument, newest first, then unload the plugins; errors come last."""
        with self._lock:
            instruments, self._instruments = self._instruments[::-1], []
        problems: list[Exception] = []
        for instrument in instruments:
            try:
                instrument.close()
            except DrivebayError as exc:
                problems.append(exc)
        self.plugins.shutdown()
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise ExceptionGroup("closing the instruments", problems)

    # -- instruments -------------------------------------------------------------------------

    def addresses(self, *, network: bool = False, serial: bool = False) -> list[str]:
        """Return the addresses to look at: the bench's, ``DRIVEBAY_RESOURCES``, what VISA finds.

        By default nothing is sent to anything that is not known to be an instrument.

        Args:
            network: also search the local network, which sends broadcasts and takes seconds.
            serial: also every serial port of the machine; what hangs there, a stage or a modem,
                would be sent ``*IDN?`` by :meth:`find`.
        """
        named = [text.strip() for text in os.environ.get(RESOURCES_VARIABLE, "").split(",")]
        on_bench = self.bench.instruments.values() if self.bench is not None else ()
        found = dict.fromkeys(each.resource for each in on_bench)
        found.update((text, None) for text in named if text)
        try:
            listed = list_resources(network=network)
            found.update((text, None) for text in listed if serial or not _is_serial(text))
        except LinkError as exc:
            _log.warning("no search for instruments: %s", exc)
        return list(found)

    def find(
        self,
        resources: Sequence[str] | None = None,
        *,
        network: bool = False,
        serial: bool = False,
    ) -> list[Found]:
        """Ask instruments who they are and say which plugin serves each.

        Args:
            resources: addresses, or names of the bench; default those of :meth:`addresses`.
            network: whether that default includes a search of the local network.
            serial: whether it includes the serial ports.
        """
        if resources is None:
            resources = self.addresses(network=network, serial=serial)
        return [self._look_at(text) for text in resources]

    def _look_at(self, text: str) -> Found:
        entry = self._entry(text)
        alias = entry.alias if entry is not None else ""
        try:
            resource = entry.resource if entry is not None else parse_resource(text).text
        except ResourceError as exc:
            return Found(text, error=str(exc))
        if (held := self._holding(resource)) is not None:
            return self._found(resource, held.idn, alias)
        options = dict(entry.link_options) if entry is not None else {}
        options["timeout_s"] = _FIND_TIMEOUT_S
        try:
            with open_link(resource, **options) as link:
                return self._found(resource, link.query("*IDN?").strip(), alias)
        except LeaseError as exc:
            holder: dict[str, Any] = {k: exc.holder[k] for k in _HOLDER if k in exc.holder}
            return Found(resource, error=str(exc), alias=alias, holder=holder)
        except (LinkError, UnsafeError) as exc:
            return Found(resource, error=f"{type(exc).__name__}: {exc}", alias=alias)

    def _found(self, resource: str, idn: str, alias: str) -> Found:
        candidates = tuple(self.plugins.explain(idn))
        plugin = next((c.plugin for c in candidates if c.usable), None)
        return Found(resource, idn, parse_idn(idn).to_dict(), plugin, candidates, alias=alias)

    def _holding(self, resource: str) -> Instrument | None:
        with self._lock:
            return next((i for i in self._instruments if i.resource == resource), None)

    def open(
        self,
        instrument: str,
        plugin: str | None = None,
        config: dict[str, Any] | None = None,
        *,
        isolation: Literal["process", "inline"] | None = None,
        force: bool = False,
        lease_ttl_s: float | None = None,
        acknowledge: bool = False,
        limits: HostLimits | None = None,
    ) -> Instrument:
        """Open an instrument with the plugin that serves it.

        Args:
            instrument: its name on the bench, or its address, such as
                ``TCPIP::192.168.1.5::5025::SOCKET``.
            plugin: use this plugin, whatever the instrument answers to ``*IDN?``.
            config: for the driver, checked against the manifest's schema.
            isolation: ``process`` runs the driver in a process of its own, where its crash hurts
                nobody; ``inline`` in this one, where a debugger works. By default what the
                manifest says, else ``process``.
            force: take the instrument over from whoever holds it; it is made safe before.
            lease_ttl_s: let it go, made safe, when this program has not been running for so long
                (stopped, asleep); by default it is ours as long as this program lives.
            acknowledge: somebody has looked at an instrument that could not be made safe.
            limits: memory, files and silence allowed to the driver's process.

        Raises:
            ResourceError: it is neither an address nor a name of the bench.
            LeaseError: somebody else holds it.
            LinkOpenError: nothing answers there.
            IdentityError: another instrument answers than the bench pins.
            UnsafeError: it could not be made safe earlier, and nobody has acknowledged that.
            NoDriverError: no usable plugin serves the instrument.
            PluginError: the plugin cannot be loaded, or the config does not fit it.
            PluginStateError: this bay has opened the address already.
        """
        entry = self._entry(instrument)
        address = entry.resource if entry is not None else self._address(instrument)
        held = self._holding(address)
        if held is not None:
            text = f"{address} is open already, with {held.plugin.metadata.name}; close it first"
            raise PluginStateError(text, plugin=held.plugin.metadata.name, status="active")
        kept = open_session(
            address,
            entry.link_options if entry is not None else {},
            force=force,
            ttl_s=lease_ttl_s,
            acknowledge=acknowledge,
        )
        try:
            opened = self._open(kept, entry, plugin, config, isolation, limits)
        except BaseException:
            kept.close()
            raise
        with self._lock:
            self._instruments.append(opened)
        self.plugins.session_opened(opened.plugin.metadata.name, opened)
        return opened

    def _open(
        self,
        kept: KeptSession,
        entry: BenchInstrument | None,
        plugin: str | None,
        config: dict[str, Any] | None,
        isolation: str | None,
        limits: HostLimits | None,
    ) -> Instrument:
        plugin = plugin or (entry.plugin if entry is not None else None)
        with kept.link() as link:
            idn = _ask_identity(link, required=plugin is None)
        if entry is not None:
            _check_identity(entry, idn)
            if config is None and entry.config is not None:
                config = dict(entry.config)
        name = plugin or self._choose(idn or "", kept.resource)
        config = self.plugins.checked_config(self.plugins.require(name).metadata.name, config)
        generation = self.plugins.generation_of(name)
        where = isolation or generation.metadata.isolation or "process"
        if where not in {"process", "inline"}:
            raise ValueError(f"isolation {where!r} is neither 'process' nor 'inline'")
        made = _Seats(self, kept, config, where, limits)
        identity = parse_idn(idn) if idn else None
        session = Session(kept, made, generation, identity, self._setup(entry))
        if not session.has_safe_state:
            _log.warning(
                "%s: %s declares no safe state, so nothing can be switched off for it",
                kept.resource,
                name,
            )
        opened = Instrument(self, session, idn or "", generation.metadata.name)
        opened.alias = entry.alias if entry is not None else ""
        made.instrument = weakref.ref(opened)
        session.on_degraded = partial(self.plugins.degrade, generation.metadata.name)
        return opened

    def _entry(self, instrument: str) -> BenchInstrument | None:
        """What the bench says of an instrument, by its name or its address."""
        return entry_of(self.bench, instrument)

    def _address(self, instrument: str) -> str:
        try:
            return parse_resource(instrument).text
        except ResourceError as exc:
            if self.bench is not None:
                names = ", ".join(self.bench.instruments) or "none"
                exc.add_note(f"{self.bench.path} has the instruments: {names}")
            raise

    def _setup(self, entry: BenchInstrument | None) -> dict[str, Any]:
        """What the bench adds to the manifest."""
        if entry is None or self.bench is None:
            return {}
        return bench_setup(self.bench, entry)

    # -- what plugins do ---------------------------------------------------------------------

    def watch(self) -> Watcher:
        """Watch the plugins' files: edited code takes over the open instruments.

        Returns:
            A running watcher, also a context manager; ``stop()`` ends it.
        """
        return self.plugins.watch()

    def _plugin_changed(self, event: PluginEvent) -> None:
        """A newer generation is in service: it takes over where the older is at work."""
        if event.kind != "reloaded":
            return
        for instrument in self._served_by(event.plugin):
            instrument._session.replace(  # noqa: SLF001 - the two classes are one unit
                self.plugins.generation_of(event.plugin)
            )

    def _served_by(self, plugin: str) -> list[Instrument]:
        name = canonical_name(plugin)
        with self._lock:
            return [i for i in self._instruments if canonical_name(i.plugin_name) == name]

    def _driver_died(self, generation: Generation, resource: str, ended: Exit) -> None:
        """A driver's process ended by itself; its code is disabled when that is too often."""
        name = generation.metadata.name
        _log.error("%s on %s: its process %s", name, resource, ended)
        if self._faults.count(generation.sha256, resource, ended):
            reason = (
                f"crashed {TOO_MANY} times within {WITHIN_S / 60:g} minutes on {resource}, last:"
                f" its process {ended} (code {generation.sha256[:12]})"
            )
            self.plugins.disable_plugin(name, reason=reason)

    def _choose(self, idn: str, resource: str) -> str:
        candidates = self.plugins.explain(idn)
        for candidate in candidates:
            if candidate.usable:
                return candidate.plugin
        against = "; ".join(f"{c.plugin}: {', '.join(c.why_not)}" for c in candidates)
        known = ", ".join(sorted(self.plugins.model_index)) or "none"
        raise NoDriverError(
            f"no usable plugin serves {idn!r} at {resource} "
            + (f"({against})" if against else f"(models known: {known})")
        )

    def make_safe(self) -> dict[str, SafeStateReport]:
        """Switch every output off, now; return what became of each instrument, by address.

        Everybody's writes go out first, in the bench's order; then everybody is asked.
        """
        with self._lock:
            instruments = list(self._instruments)
        declared = [i for i in instruments if i._session.has_safe_state]  # noqa: SLF001 - one unit
        reports: dict[str, SafeStateReport] = {}
        if declared:
            keeper = declared[0]._session.kept.keeper  # noqa: SLF001 - one unit
            reports = keeper.make_safe([i.resource for i in declared], forced=True)
        for instrument in instruments:
            if instrument.resource not in reports:
                reports[instrument.resource] = instrument.make_safe()
        return reports

    def _forget(self, instrument: Instrument) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._instruments.remove(instrument)
        self.plugins.session_closed(instrument.plugin_name, instrument)


class Instrument:
    """An opened instrument. Its methods can also be called by name: ``smu.iv_sweep(...)``.

    Attributes:
        resource: canonical address.
        idn: its ``*IDN?`` reply.
        alias: its name on the bench, empty without one.
    """

    def __init__(self, bay: Bay, session: Session, idn: str, plugin: str) -> None:
        self._bay = bay
        self._session = session
        self._plugin = plugin
        self.resource = session.resource
        self.idn = idn
        self.alias = ""

    def __repr__(self) -> str:
        state = "closed" if self._session.closed else "open"
        return f"<Instrument {self.resource} {self._plugin} {state}>"

    def __enter__(self) -> Instrument:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def identity(self) -> dict[str, str]:
        """Manufacturer, model, serial and firmware, as the driver reported them."""
        return dict(self._session.identity)

    @property
    def plugin(self) -> PluginInfo:
        """The plugin that serves it, as it is now."""
        return self._bay.plugins.plugins[self._plugin]

    @property
    def plugin_name(self) -> str:
        """Name of the plugin that serves it."""
        return self._plugin

    @property
    def code(self) -> dict[str, str]:
        """Name, version and SHA-256 of the code that runs now; older than the files if degraded."""
        running = self._session.seat.generation
        return {
            "name": running.metadata.name,
            "version": running.metadata.version,
            "sha256": running.sha256,
        }

    @property
    def methods(self) -> list[str]:
        """Names of what it can measure."""
        return list(self._session.seat.methods)

    @property
    def driver(self) -> Any:
        """The driver: the instance itself inline, else something that calls it in its process."""
        seat = self._session.ready()
        return seat.driver if isinstance(seat, InlineSeat) else _Calls(self._session)

    @property
    def host_pid(self) -> int | None:
        """The process the driver runs in; None for this one."""
        return self._session.seat.pid

    @property
    def keeper_pid(self) -> int:
        """The process that holds the link."""
        return self._session.kept.keeper.pid

    @property
    def reloads(self) -> int:
        """How often newer code has taken over since it was opened."""
        return self._session.reloads

    @property
    def reconnects(self) -> int:
        """How often its link was made new since it was opened."""
        return self._session.link.reopened

    @property
    def transcript(self) -> list[tuple[int, str, bytes]]:
        """The latest traffic, whoever caused it: monotonic nanoseconds, ``w`` or ``r``, bytes."""
        return self._session.link.messages()

    def measure(self, method: str, **params: Any) -> Run:
        """Measure, record, and return the run.

        Args:
            method: such as ``iv_sweep``.
            **params: its parameters in SI units; numbers may be text with a unit (``"10 mA"``).

        Raises:
            MethodError: the driver has no such method.
            ParameterError: every problem with the parameters, before anything is sent.
            AbortedError: somebody stopped it; ``run_id`` names the run with the points so far.
            DrivebayError: it failed; ``run_id`` likewise.
        """
        stream = self.stream(method, **params)
        for _ in stream:
            pass
        return stream.run

    def stream(self, method: str, **params: Any) -> Stream:
        """Measure and hand out points as they are taken; they are recorded all the same.

        Raises:
            MethodError: the driver has no such method.
            ParameterError: every problem with the parameters, before anything is sent.
        """
        self._require_open()
        return Stream(self, Measurement(self._session, method, params))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.methods:
            raise AttributeError(f"{type(self).__name__} of {self._plugin!r} has no {name!r}")

        def call(**params: Any) -> Run:
            return self.measure(name, **params)

        call.__name__ = name
        return call

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.methods]

    def write(self, *commands: str) -> None:
        """Send commands to the instrument."""
        link = self._link()
        with self._session.claimed():
            for command in commands:
                link.write(command)

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Send a question and return the answer."""
        link = self._link()
        with self._session.claimed():
            return link.query(command, timeout_s=timeout_s)

    def reset(self) -> None:
        """Put the instrument into its default state."""
        self._require_open()
        with self._session.claimed():
            self._session.ready().call("reset")

    def status(self) -> dict[str, Any]:
        """Return what the driver reports, and what the keeper knows, under ``safety``.

        ``safety`` is ``unknown``, ``armed``, ``energised``, ``safing``, ``safe`` or ``unsafe``.
        """
        self._require_open()
        known = self._session.kept.status()
        found = dict(self._session.ready().aside("get_status"))
        return {**found, "safety": known["state"], "armed": known.get("armed", False)}

    def abort(self, by: str = "user") -> None:
        """Stop the running measurement, from any thread; its output goes off at once."""
        self._session.abort(by)

    def make_safe(self) -> SafeStateReport:
        """Send the safe state of the bench or the manifest, now."""
        return self._session.make_safe(forced=True)

    def went_well(self) -> None:
        """A measurement ended well: earlier crashes of the code that made it are forgotten."""
        self._bay._faults.forget(self.code["sha256"], self.resource)  # noqa: SLF001 - one unit

    def close(self) -> None:
        """Close the session; the instrument is made safe first if anything may be on."""
        self._bay._forget(self)  # noqa: SLF001 - the two classes are one unit
        self._session.close()

    def disconnect(self) -> None:
        """Close it because its plugin goes out of use; see :meth:`close`."""
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._session.closed

    def _require_open(self) -> None:
        if self.closed:
            text = f"{self.resource} is closed; open it again"
            raise PluginStateError(text, plugin=self._plugin, status="closed")

    def _link(self) -> Link:
        self._require_open()
        return self._session.link


class _Calls:
    """A driver in another process: every public method of it can be called."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any) -> Any:
            return self._session.ready().call(name, *args)

        call.__name__ = name
        return call


class _Seats:
    """Makes the drivers of one instrument, one after the other, all in the same way."""

    def __init__(
        self,
        bay: Bay,
        kept: KeptSession,
        config: dict[str, Any] | None,
        where: str,
        limits: HostLimits | None,
    ) -> None:
        self._bay = weakref.ref(bay)
        self._kept = kept
        self._config = config
        self._inline = where == "inline"
        self._limits = limits
        self.instrument: Callable[[], Instrument | None] = lambda: None

    def __call__(self, generation: Generation, ranges: Ranges) -> Seat:
        if self._inline:
            return self._here(generation, ranges)
        seat = HostSeat(
            generation,
            self._kept,
            self._kept.resource,
            self._config,
            ranges,
            self._limits,
            partial(self._died, generation),
        )
        if not seat.takes_link:
            # It opens its own connection, and many instruments accept only one.
            self._kept.park()
        return seat

    def _here(self, generation: Generation, ranges: Ranges) -> Seat:
        bay = self._bay()
        if bay is None:
            raise PluginStateError("the bay is gone", plugin=generation.plan.name, status="closed")
        resource = self._kept.resource
        driver = bay.plugins.get_driver(generation.metadata.name, resource, self._config)
        if isinstance(driver, ScpiDriver):
            driver.use_link(self._kept.link())
            driver.ranges = ranges
        else:
            lend(self._kept)
        return InlineSeat(driver, generation, resource)

    def _died(self, generation: Generation, ended: Exit) -> None:
        instrument, bay = self.instrument(), self._bay()
        if instrument is None or bay is None or instrument.closed:
            return
        # On a thread of the host's monitor, which nobody may keep waiting.
        threading.Thread(
            target=bay._driver_died,  # noqa: SLF001 - the classes are one unit
            args=(generation, self._kept.resource, ended),
            daemon=True,
        ).start()


class Stream:
    """A measurement as it happens: iterate over it for chunks, then look at :attr:`run`.

    It runs in a thread of its own, and so does the disk: a reader that is slow, or that stops after
    an error of its own, delays neither the record nor the end, at which the output goes off; and
    the instrument takes the next points while the last ones are synced.
    """

    def __init__(self, instrument: Instrument, measurement: Measurement) -> None:
        self._instrument = instrument
        self._measurement = measurement
        self._recorder: Recorder | None = None
        self._error: BaseException | None = None
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._iterator: Iterator[Chunk] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The validated parameters, defaults filled in."""
        return self._measurement.parameters

    @property
    def run(self) -> Run:
        """The record; complete once the stream is exhausted.

        Raises:
            PluginStateError: the measurement has not begun.
            StoreError: it could not be made.
        """
        if self._recorder is None:
            raise PluginStateError("the measurement has not begun", plugin="", status="waiting")
        return self._recorder.run

    def abort(self, by: str = "user") -> None:
        """Stop the measurement, from any thread."""
        self._measurement.abort(by)

    def __iter__(self) -> Iterator[Chunk]:
        """Begin to measure, if that has not happened, and give the chunks.

        Raises:
            BusyError: another measurement is running on the instrument.
            StoreError: the run cannot be recorded; nothing was sent.
            DrivebayError: it failed or was aborted; ``run_id`` names the run with the points.
        """
        if self._iterator is None:
            self._start()
            self._iterator = self._given()
        return self._iterator

    def _start(self) -> None:
        session = self._measurement.session
        session.claim()
        try:
            # On disk first: a point that was shown is a point that is kept.
            recorder = Recorder(self._draft(), kept=self._chunks.put, failed=self._not_kept)
            self._recorder = recorder
            self._thread = threading.Thread(
                target=self._record, args=(recorder,), name=f"drivebay-{self._measurement.method}"
            )
            self._thread.start()
        except BaseException:
            if self._recorder is not None:
                self._recorder.finish("failed", "the measurement could not be started", {})
            session.release()
            raise

    def _given(self) -> Iterator[Chunk]:
        thread = self._thread
        assert thread is not None  # noqa: S101 - _start made it
        try:
            while (chunk := self._chunks.get()) is not None:
                yield chunk
        except KeyboardInterrupt:
            self.abort("keyboard")
            raise
        except GeneratorExit:
            self.abort("the reader stopped reading")
            raise
        finally:
            thread.join()
        if self._error is not None:
            raise self._error

    def _record(self, recorder: Recorder) -> None:
        """Task root of the measuring thread: every end becomes a value that the reader raises."""
        measurement = self._measurement
        chunks = measurement.chunks()
        try:
            try:
                with contextlib.closing(chunks):  # type: ignore[type-var]  # it is a generator
                    for chunk in chunks:
                        recorder.put(chunk)
            finally:
                state = measurement.state or "failed"
                if state == "done":
                    self._instrument.went_well()
                recorder.finish(state, measurement.reason, measurement.values)
        except BaseException as exc:  # noqa: BLE001 - task root
            if isinstance(exc, DrivebayError):
                exc.run_id = recorder.run_id
            self._error = exc
        finally:
            measurement.session.release()
            self._chunks.put(None)

    def _not_kept(self, error: BaseException) -> None:
        """Stop measuring what cannot be kept, without waiting for the next chunk."""
        try:
            self.abort(f"the run store ({error})")
        except Exception:  # noqa: BLE001 - border: a driver's abort()
            _log.exception("%s: stopping because of the run store", self._instrument.resource)

    def _draft(self) -> RunDraft:
        instrument, measurement = self._instrument, self._measurement
        info = instrument.plugin
        return instrument._bay.runs.draft(  # noqa: SLF001 - the two classes are one unit
            method=measurement.method,
            plugin=instrument.code,
            identity=instrument.identity,
            resource=instrument.resource,
            parameters=measurement.parameters,
            columns=measurement.columns or (),  # a seed-style driver shows them in its first chunk
            provenance=_provenance(info, instrument.idn),
        )


def _bench(bench: str | Path | Bench | None, home: Path) -> Bench | None:
    if isinstance(bench, Bench):
        return bench
    path = Path(bench) if bench is not None else find_bench(home)
    return None if path is None else load_bench(path)


def _check_identity(entry: BenchInstrument, idn: str | None) -> None:
    problem = identity_problem(entry.identity, idn or "")
    if problem is not None:
        raise IdentityError(
            f"{entry.alias} ({entry.resource}): {problem}", resource=entry.resource, idn=idn or ""
        )


def _is_serial(text: str) -> bool:
    try:
        return parse_resource(text).interface == "serial"
    except ResourceError:
        return text.upper().startswith("ASRL")


def _ask_identity(link: Link, *, required: bool) -> str | None:
    try:
        return link.query("*IDN?").strip()
    except LinkError:
        if required:
            raise
        # The plugin was named, so an instrument that knows no *IDN? can be opened all the same.
        _log.info("%s does not answer *IDN?", link.resource)
        return None


def _provenance(info: PluginInfo, idn: str) -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    return {
        "drivebay": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "user": user,
        "program": os.path.basename(sys.argv[0]) if sys.argv else "",
        "idn": idn,
        "plugin_path": info.path,
        "plugin_source": info.source,
    }


__all__ = ["Bay", "Found", "Identity", "Instrument", "Stream"]
