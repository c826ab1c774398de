"""The plugin manager: the original platform's API over discovery, index and loader.

Promises: readers see one whole snapshot and never wait; a change of plugins is one pointer store;
of many threads that load a plugin one does the work; a failed reload leaves the old code in
service and says so. The bool-returning methods never raise for a plugin's fault: the reason is in
``PluginInfo.error_message``.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivebay._core.contract import InstrumentDriver
from drivebay._core.errors import (
    DriverError,
    IncompatiblePluginError,
    LoadError,
    ManifestError,
    MissingDependencyError,
    PluginError,
    PluginNotFoundError,
    PluginStateError,
)
from drivebay._core.index import (
    CONTRACT_VERSION,
    CacheFile,
    Candidate,
    Catalog,
    Conflict,
    Record,
    claims_in_manifest,
    claims_in_source,
    line_of_key,
    missing_dependencies,
    needs_of,
    normal_model,
    parse_platform_version,
    read_file,
    scan,
    static_problem,
    winners,
)
from drivebay._core.loader import (
    Generation,
    Stager,
    describe_failure,
    hash_of,
    retire,
    stage_generation,
)
from drivebay._core.manager.able import Ability, who
from drivebay._core.manager.change import Change, Happening, circle_through, first_state, restored
from drivebay._core.manager.events import Events
from drivebay._core.manager.explain import explain
from drivebay._core.manager.info import (
    DISCOVERED,
    PluginEvent,
    PluginInfo,
    PluginStatus,
    PluginsView,
    Snapshot,
    State,
    plan_for,
)
from drivebay._core.manager.instances import Closing, Instances
from drivebay._core.manager.sources import sources_of
from drivebay._core.manager.state_file import StateFile, drivebay_home
from drivebay._core.manager.watcher import Watcher
from drivebay._core.manifest import PluginMetadata, canonical_name, check_config
from drivebay._version import __version__


class PluginManager:
    """Manages instrument driver plugins.

    Args:
        plugin_dirs: folders to search, the earlier one wins; these and nothing else. None means
            all sources: the folders of ``DRIVEBAY_PLUGIN_PATH``, ``plugins`` in ``DRIVEBAY_HOME``,
            installed distributions (entry points), the built-in drivers.
        platform_version: version of the driver contract plugins are checked against.
        logger: where to report; default this module's.
        home: folder for user plugins, cache and decisions; default ``DRIVEBAY_HOME``.
        stager: what loads and verifies a plugin; by default it is imported into this process. A
            ``Bay`` has it done in another one, and then only :meth:`get_driver` imports here.

    Raises:
        TypeError: ``plugin_dirs`` is one string or path instead of a list.
        ValueError: ``platform_version`` is not a version.
    """

    def __init__(
        self,
        plugin_dirs: list[Path] | None = None,
        platform_version: str = CONTRACT_VERSION,
        logger: logging.Logger | None = None,
        *,
        home: Path | None = None,
        stager: Stager = stage_generation,
    ) -> None:
        parse_platform_version(platform_version)
        self.platform_version = platform_version
        self.logger = logger or logging.getLogger("drivebay.plugins")
        self.home = home or drivebay_home()
        self._sources, self.plugin_dirs = sources_of(plugin_dirs, self.home)
        self._state_file = StateFile(self.home / "state.json", self.logger)
        self._cache = CacheFile(
            self.home / "cache" / "discovery.bin", f"{__version__} {CONTRACT_VERSION}"
        )
        self._seen: dict[str, Any] | None = None
        self._writing = threading.RLock()
        self._load_locks: dict[str, threading.RLock] = {}
        self._loading: dict[str, int] = {}
        self._stager = stager
        self._here: dict[str, Generation] = {}
        self._events = Events(self.logger)
        self._instances = Instances(self)
        self._watchers: list[Watcher] = []
        _, pins = self._state_file.read()
        self._snapshot = Snapshot(0, Catalog((), pins, platform_version), {}, frozenset())

    # -- what is known -----------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """Everything known now; later changes do not touch it."""
        return self._snapshot

    @property
    def plugins(self) -> Mapping[str, PluginInfo]:
        """Name -> record of every plugin, good and bad. Read-only."""
        return PluginsView(self._snapshot)

    @property
    def shadowed(self) -> tuple[PluginInfo, ...]:
        """Plugins that lost their name to another of the same name."""
        return self._snapshot.shadowed()

    @property
    def diagnostics(self) -> tuple[Any, ...]:
        """What was odd about the sources themselves at the last discovery."""
        return self._snapshot.diagnostics

    @property
    def capability_index(self) -> dict[str, list[str]]:
        """Method -> names of the plugins that have it; a copy."""
        methods = self._snapshot.catalog.by_method
        return {
            method: names for method in methods if (names := self.find_drivers_for_method(method))
        }

    @property
    def model_index(self) -> dict[str, str]:
        """Model -> name of the plugin that answers for it; a copy."""
        snapshot = self._snapshot
        models = snapshot.catalog.spellings
        return {model: name for model in models if (name := snapshot.answers[model])}

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Models claimed by more than one usable plugin of the same maker."""
        snapshot = self._snapshot
        return snapshot.catalog.conflicts(lambda record: record.name not in snapshot.blocked)

    def get_plugin_info(self, plugin_name: str) -> PluginInfo | None:
        """Return the record of a plugin, or None."""
        return self.plugins.get(plugin_name)

    def list_plugins(self) -> dict[str, PluginInfo]:
        """Return all records by name; the dictionary is the caller's own."""
        return dict(self.plugins)

    def find_driver_for_model(self, model: str) -> str | None:
        """Return the plugin for a model, or None.

        Args:
            model: ``2400``, ``MODEL 2400``, ``Keithley 2400`` or a whole ``*IDN?`` reply, in any
                case; wildcard models of manifests are honoured.
        """
        return self._snapshot.answers[model]

    def find_drivers_for_method(self, method: str) -> list[str]:
        """Return the plugins that can do a method, by precedence; the list is the caller's own."""
        snapshot = self._snapshot
        return [
            record.name
            for record in snapshot.catalog.by_method.get(method, ())
            if record.name not in snapshot.blocked
            and method not in snapshot.states.get(record.key, DISCOVERED).lacks
        ]

    def explain(self, idn: str) -> list[Candidate]:
        """Say which plugins were considered for an instrument and why, the best first.

        Args:
            idn: an ``*IDN?`` reply or a model.
        """
        return explain(self._snapshot, idn)

    def who(self, method: str, **wanted: Any) -> list[Ability]:
        """Say which models can do a method, and why the others cannot; nothing is imported.

        What is wanted is told as ``voltage_v=40``, ``current_a="1 mA"``, ``voltage_v=(-40, 40)``,
        ``current_resolution_a="100 nA"``, ``technique="ac"``.
        """
        return who(self._snapshot, method, wanted)

    # -- discovery ---------------------------------------------------------------------------

    def discover_plugins(self) -> list[str]:
        """Look at all sources; return the names that are new since the last look.

        Changed manifests are taken over, removed ones leave the registry, and a plugin that failed
        may be tried again once its manifest changed.
        """
        with self._events.held(), self._writing, _no_collection():
            known = self._cache.load() if self._seen is None else self._seen
            found = scan(self._sources, known, self._cache.bodies)
            if found.changed or (self._seen is None and set(found.seen) - set(known)):
                self._save_cache(known, found.seen)
            self._seen = found.seen
            changes = self._take(found.records, tuple(found.diagnostics))
            if self._events.wanted:
                epoch = self._snapshot.epoch
                self._events.publish(
                    PluginEvent(kind, name, epoch, text) for kind, name, text in changes
                )
        added = [name for kind, name, _ in changes if kind == "discovered"]
        for diagnostic in found.diagnostics:
            self.logger.warning("%s", diagnostic)
        if self.logger.isEnabledFor(logging.INFO):
            records = {record.name: record for record in found.records}
            for name in added:
                self.logger.info("Discovered plugin: %s v%s", name, records[name].body.version)
        return added

    def _save_cache(self, known: dict[str, Any], seen: dict[str, Any]) -> None:
        # Other managers' sources stay in the file as long as their folders exist.
        kept = {path: files for path, files in known.items() if os.path.isdir(path)}
        problem = self._cache.save({**kept, **seen})
        if problem is not None:
            self.logger.debug("discovery cache not written: %s", problem)

    def _take(self, records: list[Record], diagnostics: tuple[Any, ...]) -> list[Happening]:
        """Make a new snapshot of what a scan found; return what changed."""
        disabled, pins = self._state_file.read()
        while True:
            old = self._snapshot
            chosen, lost = winners(records)
            change = Change(old, chosen, disabled)
            catalog = Catalog(change.records, pins, self.platform_version)
            if self._store(old, catalog, change.states, tuple(lost), diagnostics):
                break
        for record in change.broken:
            for diagnostic in record.body.diagnostics:
                self.logger.error("Failed to load metadata from %s", diagnostic)
        for generation in change.out_of_service:
            retire(generation)
        return change.events

    def _store(
        self,
        old: Snapshot,
        catalog: Catalog,
        states: Mapping[str, State],
        lost: tuple[tuple[Record, str], ...] | None = None,
        diagnostics: tuple[Any, ...] | None = None,
    ) -> bool:
        """Put a new snapshot in the place of ``old``; the one place where that happens.

        Returns:
            False when another one took that place already. The lock keeps other threads out, but
            the end of a driver instance can come in between on this very thread.
        """
        out = (PluginStatus.ERROR, PluginStatus.DISABLED)
        blocked = frozenset(
            catalog.records[key].name
            for key, state in states.items()
            if state is not DISCOVERED and state.status in out
        )
        new = Snapshot(
            old.epoch + 1,
            catalog,
            states,
            blocked,
            old.lost if lost is None else lost,
            old.diagnostics if diagnostics is None else diagnostics,
        )
        if self._snapshot is not old:
            return False
        self._snapshot = new
        return True

    def _set_state(
        self, key: str, change: Callable[[State], State], kind: str, message: str = ""
    ) -> bool:
        """Change the state of a plugin; False if the plugin is not there any more."""
        with self._events.held(), self._writing:
            while True:
                old = self._snapshot
                record = old.catalog.records.get(key)
                if record is None:
                    return False
                before = old.states[key]
                after = change(before)
                if after is before:
                    return True
                if self._store(old, old.catalog, {**old.states, key: after}):
                    break
            event = PluginEvent(kind, record.name, self._snapshot.epoch, message)
            self._events.publish([event])
        return True

    # -- loading -----------------------------------------------------------------------------

    def load_plugin(self, plugin_name: str) -> bool:
        """Load a plugin; loading a loaded one again does nothing.

        Returns:
            True if its class is in service. On False ``PluginInfo.error_message`` has the reason.
        """
        try:
            self.require(plugin_name)
        except PluginError as exc:
            self.logger.error("Failed to load plugin '%s': %s", plugin_name, exc)
            return False
        return True

    def load_all_plugins(self) -> dict[str, bool]:
        """Load what is discovered and retry what failed; return name -> success.

        Plugins are loaded after those they use, otherwise by name.
        """
        waiting = {PluginStatus.DISCOVERED, PluginStatus.ERROR}
        snapshot = self._snapshot
        names = [
            record.name
            for key, record in sorted(snapshot.catalog.records.items())
            if snapshot.states[key].status in waiting
        ]
        return {name: self.load_plugin(name) for name in names}

    def require(self, plugin_name: str) -> PluginInfo:
        """Load a plugin if need be and return its record.

        Raises:
            PluginNotFoundError: there is no plugin of that name.
            PluginStateError: it is disabled.
            ManifestError: its manifest is broken.
            IncompatiblePluginError: it does not fit this platform.
            MissingDependencyError: what it needs is not installed.
            LoadError: its code cannot be used.
        """
        record = self._record(plugin_name)
        self._load(record.key, again=False)
        return self._snapshot.info(self._record(plugin_name))

    def reload_plugin(self, name: str) -> bool:
        """Load a plugin's files as they are now and put the new class in service.

        On any failure the class in service stays, is marked ``degraded``, and the reason is in
        ``error_message``. Plugins that use this one are reloaded after it.
        """
        try:
            record = self._record(name)
        except PluginNotFoundError as exc:
            self.logger.error("Failed to reload plugin '%s': %s", name, exc)
            return False
        data, _, problem = read_file(record.path)
        claims = claims_in_source if record.path.endswith(".py") else claims_in_manifest
        rejected = (
            self._snapshot.states[record.key].rejected if record.key in self.plugins else None
        )
        if problem or rejected or record.claim not in claims(data, record.path):
            self.discover_plugins()
        return self._reload(record.key, record.name)

    def _reload(self, key: str, name: str) -> bool:
        try:
            self._load(key, again=True)
        except PluginError as exc:
            serving = self.plugins[name].generation if name in self.plugins else None
            kept = f"; generation {serving} goes on" if serving else ""
            self.logger.error("Failed to reload plugin '%s'%s: %s", name, kept, exc)
            return False
        results = [self._reload(canonical_name(other), other) for other in self._dependents(key)]
        return all(results)

    def unload_plugin(self, name: str) -> bool:
        """Disconnect a plugin's instances and take its class out of service."""
        try:
            record = self._record(name)
        except PluginNotFoundError as exc:
            self.logger.error("Failed to unload plugin '%s': %s", name, exc)
            return False
        self._instances.close(record.key)
        with self._one_at_a_time(record.key):
            state = self._snapshot.states.get(record.key, DISCOVERED)
            if state.generation is None:
                return state.status is PluginStatus.DISCOVERED
            self._set_state(record.key, lambda _: DISCOVERED, "unloaded")
            retire(state.generation)
        return True

    def disable_plugin(self, name: str, reason: str | None = None) -> bool:
        """Take a plugin out of use until it is enabled again; kept across runs.

        Raises:
            StoreError: the decision cannot be written down.
        """
        try:
            record = self._record(name)
        except PluginNotFoundError as exc:
            self.logger.error("Failed to disable plugin '%s': %s", name, exc)
            return False
        text = reason or "disabled by the user"
        self._state_file.disable(record.key, text)
        self._instances.close(record.key)
        with self._one_at_a_time(record.key):
            old = self._snapshot.states.get(record.key, DISCOVERED)
            state = State(status=PluginStatus.DISABLED, reason=text)
            self._set_state(record.key, lambda _: state, "disabled", text)
            if old.generation is not None:
                retire(old.generation)
        return True

    def enable_plugin(self, name: str) -> bool:
        """Let a disabled plugin be used again.

        Raises:
            StoreError: the decision cannot be written down.
        """
        try:
            record = self._record(name)
        except PluginNotFoundError as exc:
            self.logger.error("Failed to enable plugin '%s': %s", name, exc)
            return False
        self._state_file.enable(record.key)
        with self._one_at_a_time(record.key):
            if self._snapshot.info(record).status is PluginStatus.DISABLED:
                self._set_state(record.key, lambda _: first_state(record, {}), "enabled")
        return True

    def pin(self, model: str, plugin_name: str | None) -> None:
        """Choose the plugin that answers for a model (None: no choice); kept across runs.

        Raises:
            PluginNotFoundError: there is no plugin of that name.
            StoreError: the decision cannot be written down.
        """
        name = None if plugin_name is None else self._record(plugin_name).name
        self._state_file.pin(normal_model(model), name)
        with self._writing:
            _, pins = self._state_file.read()
            while True:
                old = self._snapshot
                catalog = Catalog(old.catalog.records.values(), pins, self.platform_version)
                if self._store(old, catalog, old.states):
                    break

    def shutdown(self) -> None:
        """Stop watching, disconnect every instance, unload every plugin."""
        for watcher in self._watchers:
            watcher.stop()
        self._watchers.clear()
        for key, state in list(self._snapshot.states.items()):
            if state.generation is not None:
                self.unload_plugin(self._snapshot.catalog.records[key].name)
        self._events.publish([PluginEvent("shutdown", "", self._snapshot.epoch)])

    close = shutdown

    def _record(self, name: str, snapshot: Snapshot | None = None) -> Record:
        records = (snapshot or self._snapshot).catalog.records
        record = records.get(canonical_name(str(name)))
        if record is None:
            raise PluginNotFoundError(str(name), sorted(r.name for r in records.values()))
        return record

    @contextmanager
    def _one_at_a_time(self, key: str) -> Iterator[None]:
        """Keep other threads from loading and unloading a plugin; what happens is told after."""
        with self._writing:
            lock = self._load_locks.setdefault(key, threading.RLock())
        with self._events.held(), lock:
            yield

    def _load(self, key: str, *, again: bool) -> Generation:
        """Load one plugin after those it uses; the others that want it wait here."""
        with self._one_at_a_time(key):
            record, state = self._current(key, again)
            if state.generation is not None and not again:
                return state.generation
            me = threading.get_ident()
            if self._loading.get(key) == me:
                raise LoadError("its code loads itself while it is imported", plugin=record.name)
            self._loading[key] = me
            try:
                generation = self._stage(record)
            except PluginError as exc:
                self._failed(key, exc)
                raise
            finally:
                del self._loading[key]
            self._in_service(record, generation)
            return generation

    def _current(self, key: str, again: bool) -> tuple[Record, State]:
        snapshot = self._snapshot
        record = self._record(key, snapshot)
        state = snapshot.states[key]
        if state.status is PluginStatus.DISABLED:
            text = f"Plugin '{record.name}' is disabled: {state.reason}"
            raise PluginStateError(text, plugin=record.name, status=state.status.value)
        broken = record if not record.claim.ok else state.rejected
        if broken is not None and (again or state.generation is None):
            raise ManifestError(broken.body.diagnostics, plugin=record.name)
        return record, state

    def _stage(self, record: Record) -> Generation:
        metadata = record.metadata
        problem = static_problem(record.body.needs, self.platform_version)
        if problem:
            line = _line(
                record.path, "max_platform_version", "requires_platform", "requires_python"
            )
            where = f" ({os.path.basename(record.path)}:{line})" if line else ""
            raise IncompatiblePluginError(problem + where, plugin=record.name)
        uses = self._load_used(record)
        missing = missing_dependencies(list(metadata.dependencies))
        if missing:
            raise MissingDependencyError("; ".join(missing), plugin=record.name, missing=missing)
        return self._stager(plan_for(record), metadata, uses)

    def _load_used(self, record: Record) -> dict[str, Generation]:
        snapshot = self._snapshot
        # Looked for before anything else is locked: two threads that come into the circle at two
        # places would wait for each other.
        circle = circle_through(snapshot, record)
        if circle:
            text = f"plugins use each other in a circle: {' -> '.join(circle)}"
            raise LoadError(text, plugin=record.name)
        uses = {}
        for name in record.metadata.uses:
            key = canonical_name(name)
            if key not in snapshot.catalog.records:
                text = f"uses plugin {name!r}, which does not exist"
                raise MissingDependencyError(text, plugin=record.name, missing=[name])
            try:
                uses[key] = self._load(key, again=False)
            except PluginError as exc:
                text = f"uses plugin {name!r}, which cannot be loaded: {exc}"
                raise MissingDependencyError(text, plugin=record.name, missing=[name]) from exc
        return uses

    def _in_service(self, record: Record, generation: Generation) -> None:
        replaced: list[Generation | None] = [None]

        def serve(old: State) -> State:
            replaced[0] = old.generation
            active = self._instances.connected(record.key)
            status = PluginStatus.ACTIVE if active else PluginStatus.LOADED
            return State(status=status, generation=generation, load_time=time.time())

        old = self._snapshot.states.get(record.key, DISCOVERED)
        kind = "reloaded" if old.generation else "loaded"
        if not self._set_state(record.key, serve, kind):
            retire(generation)  # the plugin was removed while its code was being imported
            self._record(record.key)
        if replaced[0] is not None:
            retire(replaced[0])
        self.logger.info("%s plugin: %s", kind.capitalize(), record.name)
        for contradiction in generation.drift:
            self.logger.warning("Plugin '%s': %s", record.name, contradiction)

    def _failed(self, key: str, exc: PluginError) -> None:
        serving = self._snapshot.states.get(key, DISCOVERED).generation is not None

        def fail(old: State) -> State:
            traceback = getattr(exc, "traceback", "") or None
            state = replace(old, error_message=str(exc), traceback=traceback)
            if serving:
                return replace(state, degraded=True)
            return replace(state, status=PluginStatus.ERROR)

        self._set_state(key, fail, "reload_failed" if serving else "load_failed", str(exc))

    def _dependents(self, key: str) -> list[str]:
        snapshot = self._snapshot
        return [
            record.name
            for other, record in sorted(snapshot.catalog.records.items())
            if snapshot.states[other].generation is not None
            and key in {canonical_name(name) for name in record.metadata.uses}
        ]

    def refresh(self, name: str) -> None:
        """Reload a loaded plugin if its files are no longer those in service.

        A plugin that failed is tried again. This is what the watcher calls.
        """
        try:
            record = self._record(name)
        except PluginNotFoundError:
            return
        state = self._snapshot.states.get(record.key, DISCOVERED)
        if state.generation is None:
            if state.status is PluginStatus.ERROR and record.claim.ok:
                self.load_plugin(record.name)
            return
        if state.rejected is not None:
            return  # said when it was seen; the code in service belongs to the manifest before it
        try:
            now = hash_of(plan_for(record))
        except (PluginError, OSError):
            now = ""
        if now != state.generation.sha256:
            self._reload(record.key, record.name)
        elif state.degraded:
            self._set_state(record.key, restored, "reloaded")

    # -- drivers -----------------------------------------------------------------------------

    def get_driver(
        self, plugin_name: str, resource_name: str, config: dict[str, Any] | None = None
    ) -> InstrumentDriver:
        """Create an instance of a loaded plugin's driver.

        Args:
            plugin_name: name of the plugin.
            resource_name: VISA resource string.
            config: checked against the manifest's ``config_schema``; defaults are filled in.

        Raises:
            ValueError: no such plugin, or the config does not fit.
            RuntimeError: the plugin is not loaded, or its constructor raised.
        """
        snapshot = self._snapshot
        record = self._record(plugin_name, snapshot)
        state = snapshot.states[record.key]
        generation = state.generation
        if generation is None:
            text = f"Plugin '{record.name}' not loaded (status: {state.status.value})"
            if state.error_message:
                text += f": {state.error_message}"
            raise PluginStateError(text, plugin=record.name, status=state.status.value)
        config = self.checked_config(record.name, config)
        generation = self._imported(record.key, generation)
        driver_class: Any = generation.driver_class
        try:
            driver: InstrumentDriver = driver_class(resource_name, config)
        except (Exception, SystemExit) as exc:  # the border: the driver's own code
            raise self._driver_failed(record, resource_name, generation, exc) from exc
        self._instances.add(record, generation, driver)
        return driver

    def checked_config(
        self, plugin_name: str, config: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return a driver's config with the defaults of the manifest's schema filled in.

        Raises:
            ConfigError: every problem with it.
        """
        metadata = self._record(plugin_name).metadata
        return config if metadata.config_schema is None else check_config(metadata, config)

    def generation_of(self, plugin_name: str) -> Generation:
        """Return the generation in service, loaded if need be. Raises: as :meth:`require`."""
        return self._load(self._record(plugin_name).key, again=False)

    def _imported(self, key: str, generation: Generation) -> Generation:
        """The same code in this process: the generation itself, or imported for this purpose."""
        if generation.driver_class is not None:
            return generation
        with self._one_at_a_time(key):
            here = self._here.get(key)
            if here is None or here.sha256 != generation.sha256:
                uses = {k: self._imported(k, used) for k, used in generation.uses.items()}
                here = self._here[key] = stage_generation(
                    generation.plan, generation.metadata, uses, generation.files
                )
            return here

    def session_opened(self, plugin_name: str, session: Closing) -> None:
        """Count an opened instrument as an instance of a plugin; it is active while one is open.

        Unloading or disabling the plugin calls its ``disconnect``.
        """
        self._instances.add_session(self._record(plugin_name), session)

    def session_closed(self, plugin_name: str, session: Closing) -> None:
        """Take note of its end."""
        self._instances.drop_session(self._record(plugin_name).key, session)

    def degrade(self, plugin_name: str, reason: str) -> None:
        """Take note that the newest code did not take over an open instrument, and say so."""

        def note(old: State) -> State:
            return replace(old, degraded=True, error_message=reason)

        self.logger.error("Plugin '%s': %s", plugin_name, reason)
        self._set_state(self._record(plugin_name).key, note, "reload_failed", reason)

    def _driver_failed(
        self, record: Record, resource: str, generation: Generation, exc: BaseException
    ) -> DriverError:
        text, traceback = describe_failure(exc, generation.plan.home)
        message = f"{record.name} on {resource}: {text}"

        def note(old: State) -> State:
            return replace(old, error_message=message, traceback=traceback)

        self._set_state(record.key, note, "driver_failed", message)
        return DriverError(message, plugin=record.name, resource=resource, traceback=traceback)

    def session_changed(self, key: str, *, connected: bool, lacks: frozenset[str]) -> None:
        """Take note that an instance of a plugin was connected or disconnected."""
        told: list[str] = []

        def note(old: State) -> State:
            if old.generation is None:
                return old
            new = lacks - old.lacks
            message = old.error_message
            if new:
                message = f"manifest declares {', '.join(sorted(new))}, the driver does not have it"
                told[:] = [message]
            status = PluginStatus.ACTIVE if connected else PluginStatus.LOADED
            state = replace(old, status=status, lacks=old.lacks | lacks, error_message=message)
            return old if state == old else state

        self._set_state(key, note, "activated" if connected else "deactivated")
        for message in told:
            self.logger.warning("Plugin '%s': %s", key, message)

    # -- events ------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[PluginEvent], None]) -> Callable[[], None]:
        """Call back for every event, in order, with no plugin locked.

        It is called on the thread that caused the event, or on the one that is delivering an
        earlier event at that moment.

        Returns:
            A function that ends the subscription.
        """
        return self._events.subscribe(callback)

    def watch(self) -> Watcher:
        """Watch all plugin folders: edits are reloaded, new plugins appear, removed ones leave.

        Returns:
            A running watcher, also a context manager; ``stop()`` ends it.
        """
        watcher = Watcher(self)
        self._watchers.append(watcher)
        return watcher

    # -- the original platform's name for it -------------------------------------------------

    def _check_compatibility(self, metadata: PluginMetadata) -> bool:
        """Check if plugin is compatible with current platform version."""
        problem = static_problem(needs_of(metadata), self.platform_version)
        if problem:
            self.logger.warning("Plugin '%s' %s", metadata.name, problem)
        return problem is None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector from looking again and again through what a look at the sources makes.

    All of it is kept; with 10,000 plugins the collector's share would be a twentieth of the look.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _line(path: str, *keys: str) -> int:
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError:
        return 0
    return line_of_key(text, *keys) or line_of_key(text, "min_platform_version")
