"""Bay: plugins, sessions, measurements and runs, composed into what an experimenter uses.

Promises: every measurement made through a bay is a run on disk before its points are handed out;
leaving the ``with`` block closes every instrument, made safe. A driver runs in a process of its
own, so that its crash is an error here and nothing else; no plugin code runs in this process
unless ``isolation="inline"`` or ``plugins.get_driver`` asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from drivebay._core.bay.instrument import Instrument, Surroundings
from drivebay._core.bay.pair import Pair
from drivebay._core.bay.seats import Seats
from drivebay._core.bench import (
    Bench,
    BenchInstrument,
    find_bench,
    identity_problem,
    load_bench,
)
from drivebay._core.errors import (
    DrivebayError,
    IdentityError,
    LeaseError,
    LinkError,
    NoDriverError,
    PluginError,
    PluginStateError,
    ResourceError,
    UnsafeError,
)
from drivebay._core.faults import TOO_MANY, WITHIN_S, Faults
from drivebay._core.host import Exit
from drivebay._core.host import Limits as HostLimits
from drivebay._core.index import Candidate, parse_idn
from drivebay._core.keeper import (
    KeeperClient,
    KeptSession,
    SafeStateReport,
    open_link,
    open_session,
)
from drivebay._core.links import Link, list_resources, parse_resource
from drivebay._core.loader import Generation
from drivebay._core.manager import (
    PluginEvent,
    PluginManager,
    Watcher,
    drivebay_home,
)
from drivebay._core.manifest import PluginMetadata, canonical_name
from drivebay._core.runs import Run, RunStore
from drivebay._core.seat import stage_in_host
from drivebay._core.session import Session

if TYPE_CHECKING:
    pass

RESOURCES_VARIABLE: Final = "DRIVEBAY_RESOURCES"
_FIND_TIMEOUT_S: Final = 2.0
_FIND_AT_ONCE: Final = 16
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
        self._open_now: list[tuple[Instrument, Session]] = []
        self._lock = threading.Lock()
        self._faults = Faults()
        self._around = Surroundings(self.plugins, self.runs, self._faults, self._closed)
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
            opened, self._open_now = self._open_now[::-1], []
        problems: list[Exception] = []
        for _, session in opened:  # first: one that is slow to end keeps no other on
            session.end_soon()
        for instrument, _ in opened:
            try:
                instrument.close()
            except DrivebayError as exc:
                problems.append(exc)
        self.plugins.shutdown()
        self.runs.settle()
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
        """Ask instruments who they are and say which plugin serves each, in the order given.

        They are asked at once, 16 at a time: those that do not answer cost one wait, not one each.

        Args:
            resources: addresses, or names of the bench; default those of :meth:`addresses`.
            network: whether that default includes a search of the local network.
            serial: whether it includes the serial ports.
        """
        if resources is None:
            resources = self.addresses(network=network, serial=serial)
        names = {text: self._name(text) for text in resources}
        asked = dict.fromkeys(names.values())
        with ThreadPoolExecutor(_FIND_AT_ONCE, "drivebay-find") as askers:
            found = dict(zip(asked, askers.map(self._look_at, asked), strict=True))
        for name, each in found.items():
            if each.holder.get("pid") == os.getpid():
                # Another address of an instrument that was just asked; it is free by now.
                found[name] = self._look_at(name)
        return [found[names[text]] for text in resources]

    def _name(self, text: str) -> str:
        """One text for all that mean one address; what is none stays as it is."""
        entry = self._entry(text)
        if entry is not None:
            return entry.alias
        with contextlib.suppress(ResourceError):
            return parse_resource(text).text
        return text

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
            return next((i for i, _ in self._open_now if i.resource == resource), None)

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
                nobody; ``inline`` in this one, where a debugger works. A plugin whose manifest
                says ``inline`` has to be asked for in so many words.
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
            session, idn = self._session(kept, entry, plugin, config, isolation, limits)
        except BaseException:
            kept.close()
            raise
        alias = entry.alias if entry is not None else ""
        opened = Instrument(session, self._around, idn, alias)
        with self._lock:
            twins = [each.resource for each, _ in self._open_now if each.idn == idn]
            self._open_now.append((opened, session))
        if twins and parse_idn(idn).serial.strip("0"):
            _log.warning(
                "%s answers as %s does, serial number and all (V013): if both are addresses of one"
                " instrument, nothing keeps the two apart; close one",
                address,
                _some(twins),
            )
        self.plugins.session_opened(opened.plugin_name, opened)
        with contextlib.suppress(PluginError):  # taken out of use meanwhile: that is told by others
            # Newer code may have come while it was opened, and nobody told a session not yet known.
            session.replace(self.plugins.generation_of(opened.plugin_name))
        return opened

    # -- two instruments at one device -------------------------------------------------------

    def pair(self, *, gate: str | Instrument, drain: str | Instrument) -> Pair:
        """Take two instruments as one, for curves of a transistor.

        Args:
            gate: the one at the gate: opened, or its name or address, which is opened for the pair
                and closed with it unless this bay has it open.
            drain: the one at the drain, likewise.

        Raises:
            PluginStateError: both are the same instrument.
            DrivebayError: one of them cannot be opened.
        """
        owned: list[Instrument] = []
        with contextlib.ExitStack() as undo:
            parts = []
            for given in (gate, drain):
                opened = given if isinstance(given, Instrument) else self._opened_as(given)
                if opened is None:
                    opened = undo.enter_context(self.open(str(given)))
                    owned.append(opened)
                parts.append(opened)
            if parts[0] is parts[1]:
                text = (
                    f"{parts[0].resource} cannot be at the gate and at the drain; an instrument"
                    " with two channels measures a transfer_curve by itself"
                )
                raise PluginStateError(text, plugin=parts[0].plugin_name, status="active")
            undo.pop_all()
        return Pair(parts[0], parts[1], tuple(owned))

    def transfer_curve(
        self, *, gate: str | Instrument, drain: str | Instrument, **params: Any
    ) -> Run:
        """Sweep the gate of a transistor at each of some drain voltages, with two instruments.

        Args:
            gate: as for :meth:`pair`.
            drain: as for :meth:`pair`.
            **params: those of the standard method ``transfer_curve``.

        Raises: as :meth:`pair`, and as :meth:`Instrument.measure`.
        """
        with self.pair(gate=gate, drain=drain) as both:
            return both.transfer_curve(**params)

    def output_curve(
        self, *, gate: str | Instrument, drain: str | Instrument, **params: Any
    ) -> Run:
        """Sweep the drain of a transistor at each of some gate voltages, with two instruments.

        Args:
            gate: as for :meth:`pair`.
            drain: as for :meth:`pair`.
            **params: those of the standard method ``output_curve``.

        Raises: as :meth:`pair`, and as :meth:`Instrument.measure`.
        """
        with self.pair(gate=gate, drain=drain) as both:
            return both.output_curve(**params)

    def _opened_as(self, text: str) -> Instrument | None:
        entry = self._entry(text)
        return self._holding(entry.resource if entry is not None else self._address(text))

    def _session(
        self,
        kept: KeptSession,
        entry: BenchInstrument | None,
        plugin: str | None,
        config: dict[str, Any] | None,
        isolation: str | None,
        limits: HostLimits | None,
    ) -> tuple[Session, str]:
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
        where = _isolation(isolation, generation.metadata)
        made = Seats(self.plugins, kept, config, where, limits, self._driver_died)
        identity = parse_idn(idn) if idn else None
        session = Session(kept, made, generation, identity, self._setup(entry))
        if not session.has_safe_state:
            _log.warning(
                "%s: %s declares no safe state, so nothing can be switched off for it",
                kept.resource,
                name,
            )
        session.on_degraded = partial(self.plugins.degrade, generation.metadata.name)
        return session, idn or ""

    def _entry(self, instrument: str) -> BenchInstrument | None:
        """What the bench says of an instrument, by its name or its address."""
        return None if self.bench is None else self.bench.entry_of(instrument)

    def _address(self, instrument: str) -> str:
        try:
            return parse_resource(instrument).text
        except ResourceError as exc:
            if self.bench is None:
                exc.add_note("there is no bench file here that names instruments")
            else:
                names = ", ".join(self.bench.instruments) or "none"
                exc.add_note(f"{self.bench.path} has the instruments: {names}")
            raise

    def _setup(self, entry: BenchInstrument | None) -> dict[str, Any]:
        """What the bench adds to the manifest."""
        if entry is None or self.bench is None:
            return {}
        return self.bench.setup_of(entry)

    # -- what plugins do ---------------------------------------------------------------------

    def watch(self) -> Watcher:
        """Watch the plugins' files: edited code takes over the open instruments.

        Returns:
            A running watcher, also a context manager; ``stop()`` ends it.
        """
        return self.plugins.watch()

    def _plugin_changed(self, event: PluginEvent) -> None:
        """A newer generation is in service: it takes over where the older is at work.

        One that could not be put in service is told to what is recorded meanwhile.
        """
        if event.kind not in {"reloaded", "reload_failed"}:
            return
        name = canonical_name(event.plugin)
        with self._lock:
            sessions = [s for i, s in self._open_now if canonical_name(i.plugin_name) == name]
        for session in sessions:
            if event.kind == "reloaded":
                session.replace(self.plugins.generation_of(event.plugin))
            else:
                session.listener("degraded", event.message)

    def _driver_died(self, generation: Generation, resource: str, ended: Exit) -> None:
        """A driver's process ended by itself; whoever tells us must not be kept waiting."""
        threading.Thread(
            target=self._count_fault, args=(generation, resource, ended), daemon=True
        ).start()

    def _count_fault(self, generation: Generation, resource: str, ended: Exit) -> None:
        """Say that a driver's process ended; disable its code when that is too often."""
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
            opened = list(self._open_now)
        reports: dict[str, SafeStateReport] = {}
        keepers: dict[KeeperClient, list[str]] = {}  # one that died was replaced by another
        for _, session in opened:
            if session.has_safe_state:
                keepers.setdefault(session.kept.keeper, []).append(session.resource)
        for keeper, resources in keepers.items():
            try:
                reports.update(keeper.make_safe(resources, forced=True))
            except DrivebayError as exc:
                gone = SafeStateReport(verified=False, problems=(str(exc),))
                reports = dict.fromkeys(resources, gone) | reports
        for instrument, _ in opened:
            if instrument.resource not in reports:
                reports[instrument.resource] = instrument.make_safe()
        return reports

    def _closed(self, instrument: Instrument) -> None:
        with self._lock:
            self._open_now = [pair for pair in self._open_now if pair[0] is not instrument]
        self.plugins.session_closed(instrument.plugin_name, instrument)


def _isolation(asked: str | None, metadata: PluginMetadata) -> str:
    """Where the driver will run: in this process only if the caller says so himself."""
    if asked is None and metadata.isolation == "inline":
        raise PluginStateError(
            f"{metadata.name} can only run in the program's own process (isolation: inline in its"
            " manifest), where its crash takes the program with it; if that is wanted, open it"
            " with isolation='inline'",
            plugin=metadata.name,
            status="discovered",
        )
    if asked not in {None, "process", "inline"}:
        raise ValueError(f"isolation {asked!r} is neither 'process' nor 'inline'")
    return asked or "process"


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


def _some(names: Sequence[str], at_most: int = 3) -> str:
    """Names for a message: a room full of simulators has fifty."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
