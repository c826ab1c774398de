"""Driver instances made by the manager: which are alive, which are connected.

Promises: a plugin is active exactly while one of its instances is connected; unloading, disabling
and shutting down disconnect them, each contained. Never keeps an instance alive.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from drivebay._core.contract import InstrumentDriver, ScpiDriver
from drivebay._core.errors import IdentityError
from drivebay._core.index import Record, parse_idn
from drivebay._core.keeper import OwnedLink
from drivebay._core.loader import Generation
from drivebay._core.manager.state_file import drivebay_home
from drivebay._core.manifest import PluginMetadata

if TYPE_CHECKING:
    from drivebay._core.manager.facade import PluginManager


class Closing(Protocol):
    """What can be disconnected: a driver, or an opened instrument whose driver runs elsewhere."""

    def disconnect(self) -> object:
        """Let the instrument go."""


class Instances:
    """All live instances, by plugin."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = weakref.ref(manager)
        # Reentrant: the collector may end an instance on the thread that holds it.
        self._lock = threading.RLock()
        self._live: dict[str, dict[int, weakref.ref[Closing]]] = {}
        self._connected: dict[str, set[int]] = {}

    def connected(self, key: str) -> bool:
        """Tell whether any instance of a plugin is connected."""
        with self._lock:
            return bool(self._connected.get(key))

    def add(self, record: Record, generation: Generation, driver: InstrumentDriver) -> None:
        """Follow a new instance; its connect and disconnect are noted from now on."""
        key, number = record.key, id(driver)

        def gone(_: Any) -> None:
            with self._lock:
                self._live.get(key, {}).pop(number, None)
            self._note(key, number, connected=False)

        with self._lock:
            self._live.setdefault(key, {})[number] = weakref.ref(driver, gone)
        after = self._after_connect(key, record.metadata, frozenset(record.body.methods))
        try:
            driver.connect = _noting(driver, "connect", after)  # type: ignore[method-assign]
            driver.disconnect = _noting(driver, "disconnect", self._after_disconnect(key))  # type: ignore[method-assign]
        except AttributeError:
            # A class with __slots__ takes no attributes: it works, it just never shows as active.
            return

    def add_session(self, record: Record, session: Closing) -> None:
        """Follow an opened instrument whose driver runs elsewhere."""
        key, number = record.key, id(session)

        def gone(_: Any) -> None:
            with self._lock:
                self._live.get(key, {}).pop(number, None)
            self._note(key, number, connected=False)

        with self._lock:
            self._live.setdefault(key, {})[number] = weakref.ref(session, gone)
        self._note(key, number, connected=True)

    def drop_session(self, key: str, session: Closing) -> None:
        """It was closed."""
        with self._lock:
            self._live.get(key, {}).pop(id(session), None)
        self._note(key, id(session), connected=False)

    def close(self, key: str) -> None:
        """Disconnect every connected instance of a plugin, newest first; errors are logged."""
        with self._lock:
            connected = self._connected.get(key, set())
            mine = self._live.get(key, {}).copy()
            live = [ref() for n, ref in reversed(mine.items()) if n in connected]
        manager = self._manager()
        for driver in live:
            if driver is None:
                continue
            try:
                driver.disconnect()
            except Exception:  # the border: the driver's own code
                if manager is not None:
                    manager.logger.exception("Plugin '%s': disconnect failed", key)
                self._note(key, id(driver), connected=False)

    def _after_connect(
        self, key: str, metadata: PluginMetadata, declared: frozenset[str]
    ) -> Callable[..., None]:
        def after(driver: InstrumentDriver, result: object) -> None:
            if result is False or result is None:
                return
            lacks: frozenset[str] = frozenset()
            if isinstance(driver, ScpiDriver):
                _say_what_holds(driver, metadata)
            else:
                lacks = self._lacks(key, driver, declared)
            self._note(key, id(driver), connected=True, lacks=lacks)

        return after

    def _lacks(
        self, key: str, driver: InstrumentDriver, declared: frozenset[str]
    ) -> frozenset[str]:
        try:
            return declared - frozenset(driver.get_capabilities())
        except Exception as exc:  # noqa: BLE001 - border: it is connected, whatever this call says
            manager = self._manager()
            if manager is not None:
                manager.logger.warning(
                    "Plugin '%s': get_capabilities() raised %s: %s", key, type(exc).__name__, exc
                )
            return frozenset()

    def _after_disconnect(self, key: str) -> Callable[..., None]:
        return lambda driver, _: self._note(key, id(driver), connected=False)

    def _note(
        self, key: str, number: int, *, connected: bool, lacks: frozenset[str] = frozenset()
    ) -> None:
        with self._lock:
            numbers = self._connected.setdefault(key, set())
            if not connected and number not in numbers:
                return
            if connected:
                numbers.add(number)
            else:
                numbers.discard(number)
            active = bool(numbers)
        manager = self._manager()
        if manager is not None:
            manager.session_changed(key, connected=active, lacks=lacks)


def _say_what_holds(driver: ScpiDriver, metadata: PluginMetadata) -> None:
    """Its keeper holds the bench's limits, and switches off what this program leaves on.

    Raises:
        BenchError: every problem of the bench file.
        IdentityError: another instrument answers than the bench pins; it is let go.
    """
    link = driver.link
    if not isinstance(link, OwnedLink):  # a lent one was told of by whoever lent it
        return
    # Imported here: who only asks which plugins there are needs no sessions.
    from drivebay._core.bench import find_bench, identity_problem, load_bench
    from drivebay._core.session import keeper_setup

    try:
        path = find_bench(drivebay_home())
        bench = None if path is None else load_bench(path)
        entry = None if bench is None else bench.entry_of(link.resource)
        if bench is None or entry is None:
            link.session.configure(**keeper_setup(metadata, "", {}))
            return
        idn = link.query("*IDN?").strip()
        problem = identity_problem(entry.identity, idn)
        if problem is not None:
            text = f"{entry.alias} ({entry.resource}): {problem}"
            raise IdentityError(text, resource=entry.resource, idn=idn)
        setup = bench.setup_of(entry)
        link.session.configure(**keeper_setup(metadata, parse_idn(idn).model, setup))
    except BaseException:
        driver.disconnect()
        raise


def _noting(
    driver: InstrumentDriver, name: str, after: Callable[[InstrumentDriver, object], None]
) -> Callable[[], bool]:
    """Wrap a bound method of one instance without keeping the instance alive."""
    function = getattr(type(driver), name)
    instance = weakref.ref(driver)

    def noting() -> bool:
        alive = instance()
        if alive is None:
            raise ReferenceError(f"{name}() of a driver that no longer exists")
        result: bool = function(alive)
        after(alive, result)
        return result

    noting.__name__ = name
    noting.__doc__ = function.__doc__
    return noting
