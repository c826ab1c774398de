"""Bay: plugins, sessions, measurements and runs, composed into what an experimenter uses.

Promises: every measurement made through a bay is a run on disk before its points are handed out;
leaving the ``with`` block closes every instrument. Drivers run in this process for now, so a driver
that crashes takes the program with it; hosts come next.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from drivebay._core.contract import ScpiDriver
from drivebay._core.errors import (
    DrivebayError,
    LinkError,
    NoDriverError,
    PluginStateError,
    ResourceError,
)
from drivebay._core.index import Candidate, Identity, parse_idn
from drivebay._core.keeper import SafeStateReport, open_link
from drivebay._core.links import Link, list_resources, parse_resource
from drivebay._core.manager import PluginInfo, PluginManager, drivebay_home
from drivebay._core.measurement import Measurement
from drivebay._core.runs import Run, RunStore, RunWriter
from drivebay._core.session import Session
from drivebay._version import __version__

if TYPE_CHECKING:
    from drivebay._core.contract.calling import Chunk

RESOURCES_VARIABLE: Final = "DRIVEBAY_RESOURCES"
_FIND_TIMEOUT_S: Final = 2.0
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
    """

    resource: str
    idn: str | None = None
    identity: dict[str, str] = field(default_factory=dict)
    plugin: str | None = None
    candidates: tuple[Candidate, ...] = ()
    error: str | None = None


class Bay:
    """The place where plugins, instruments and runs meet.

    Args:
        home: folder for plugins, runs and state; default ``DRIVEBAY_HOME``.
        plugin_dirs: folders to search for plugins instead of all sources.
    """

    def __init__(
        self, home: str | Path | None = None, plugin_dirs: list[Path] | None = None
    ) -> None:
        self.home = Path(home).expanduser().absolute() if home else drivebay_home()
        self.plugins = PluginManager(plugin_dirs, home=self.home)
        self.plugins.discover_plugins()
        self.runs = RunStore(self.home / "runs")
        self._instruments: list[Instrument] = []
        self._lock = threading.Lock()

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
        """Return the addresses to look at: ``DRIVEBAY_RESOURCES`` and what VISA finds.

        By default nothing is sent to anything that is not known to be an instrument.

        Args:
            network: also search the local network, which sends broadcasts and takes seconds.
            serial: also every serial port of the machine; what hangs there, a stage or a modem,
                would be sent ``*IDN?`` by :meth:`find`.
        """
        named = [text.strip() for text in os.environ.get(RESOURCES_VARIABLE, "").split(",")]
        found = dict.fromkeys(text for text in named if text)
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
            resources: addresses to ask; default those of :meth:`addresses`.
            network: whether that default includes a search of the local network.
            serial: whether it includes the serial ports.
        """
        if resources is None:
            resources = self.addresses(network=network, serial=serial)
        return [self._look_at(text) for text in resources]

    def _look_at(self, text: str) -> Found:
        try:
            resource = parse_resource(text).text
        except ResourceError as exc:
            return Found(text, error=str(exc))
        if (held := self._holding(resource)) is not None:
            return self._found(resource, held.idn)
        try:
            with open_link(resource, timeout_s=_FIND_TIMEOUT_S) as link:
                return self._found(resource, link.query("*IDN?").strip())
        except LinkError as exc:
            return Found(resource, error=f"{type(exc).__name__}: {exc}")

    def _found(self, resource: str, idn: str) -> Found:
        candidates = tuple(self.plugins.explain(idn))
        plugin = next((c.plugin for c in candidates if c.usable), None)
        return Found(resource, idn, parse_idn(idn).to_dict(), plugin, candidates)

    def _holding(self, resource: str) -> Instrument | None:
        with self._lock:
            return next((i for i in self._instruments if i.resource == resource), None)

    def open(
        self,
        resource: str,
        plugin: str | None = None,
        config: dict[str, Any] | None = None,
        *,
        isolation: Literal["inline"] = "inline",
    ) -> Instrument:
        """Open an instrument with the plugin that serves it.

        Args:
            resource: its address, such as ``TCPIP::192.168.1.5::5025::SOCKET``.
            plugin: use this plugin, whatever the instrument answers to ``*IDN?``.
            config: for the driver, checked against the manifest's schema.
            isolation: ``inline`` runs the driver in this process, the only way so far.

        Raises:
            ResourceError: the address is not one.
            LinkOpenError: nothing answers there.
            NoDriverError: no usable plugin serves the instrument.
            PluginError: the plugin cannot be loaded, or the config does not fit it.
            PluginStateError: this bay has opened the address already.
        """
        address = parse_resource(resource).text
        if isolation != "inline":
            raise ValueError(f"isolation {isolation!r} is not available; only 'inline' is")
        held = self._holding(address)
        if held is not None:
            text = f"{address} is open already, with {held.plugin.metadata.name}; close it first"
            raise PluginStateError(text, plugin=held.plugin.metadata.name, status="active")
        link = open_link(address)
        try:
            idn = _ask_identity(link, required=plugin is None)
            name = plugin or self._choose(idn or "", address)
            info = self.plugins.require(name)
            driver = self.plugins.get_driver(name, address, config)
        except BaseException:
            link.close()
            raise
        lend: Link | None = link
        if not isinstance(driver, ScpiDriver):
            # It opens its own connection, and many instruments accept only one.
            link.close()
            lend = None
        identity = parse_idn(idn) if idn else None
        session = Session(driver, info.metadata, lend, address, identity)
        instrument = Instrument(self, session, idn or "", info.metadata.name)
        with self._lock:
            self._instruments.append(instrument)
        return instrument

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
        """Send every open instrument its safe state, now; return what became of each."""
        with self._lock:
            instruments = list(self._instruments)
        return {instrument.resource: instrument.make_safe() for instrument in instruments}

    def _forget(self, instrument: Instrument) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._instruments.remove(instrument)


class Instrument:
    """An opened instrument. Its methods can also be called by name: ``smu.iv_sweep(...)``.

    Attributes:
        resource: canonical address.
        idn: its ``*IDN?`` reply.
    """

    def __init__(self, bay: Bay, session: Session, idn: str, plugin: str) -> None:
        self._bay = bay
        self._session = session
        self._plugin = plugin
        self.resource = session.resource
        self.idn = idn

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
    def methods(self) -> list[str]:
        """Names of what it can measure."""
        return list(self._session.driver.get_capabilities())

    @property
    def driver(self) -> Any:
        """The driver instance itself."""
        return self._session.driver

    @property
    def transcript(self) -> list[tuple[int, str, bytes]]:
        """The latest traffic: monotonic nanoseconds, ``w`` or ``r``, bytes."""
        link = self._session.link
        return list(link.transcript) if link is not None else []

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
            self._session.driver.reset()

    def status(self) -> dict[str, Any]:
        """Return what the driver reports of the instrument."""
        self._require_open()
        return dict(self._session.driver.get_status())

    def abort(self) -> None:
        """Stop the running measurement, from any thread."""
        self._session.abort()

    def make_safe(self) -> SafeStateReport:
        """Send the safe state of the manifest, now."""
        return self._session.make_safe()

    def close(self) -> None:
        """Close the session; the instrument is made safe first if a measurement went wrong."""
        self._bay._forget(self)  # noqa: SLF001 - the two classes are one unit
        self._session.close()

    def _require_open(self) -> None:
        if self._session.closed:
            text = f"{self.resource} is closed; open it again"
            raise PluginStateError(text, plugin=self._plugin, status="closed")

    def _link(self) -> Link:
        self._require_open()
        if self._session.link is None:
            text = f"{self._plugin} opens its own connection; write and query go through its driver"
            raise PluginStateError(text, plugin=self._plugin, status="active")
        return self._session.link


class Stream:
    """A measurement as it happens: iterate over it for chunks, then look at :attr:`run`.

    It runs in a thread of its own: a reader that is slow, or that stops after an error of its own,
    delays neither the record nor the end, at which the output goes off.
    """

    def __init__(self, instrument: Instrument, measurement: Measurement) -> None:
        self._instrument = instrument
        self._measurement = measurement
        self._writer: RunWriter | None = None
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
        """
        if self._writer is None:
            raise PluginStateError("the measurement has not begun", plugin="", status="waiting")
        return self._writer.run

    def abort(self, by: str = "user") -> None:
        """Stop the measurement, from any thread."""
        self._measurement.abort(by)

    def __iter__(self) -> Iterator[Chunk]:
        """Begin to measure, if that has not happened, and give the chunks.

        Raises:
            BusyError: another measurement is running on the instrument.
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
            columns = self._measurement.columns
            if columns is not None:
                self._begin([(c.name, c.unit, c.kind) for c in columns])
            self._thread = threading.Thread(
                target=self._record, name=f"drivebay-{self._measurement.method}"
            )
            self._thread.start()
        except BaseException:
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

    def _record(self) -> None:
        """Task root of the measuring thread: every end becomes a value that the reader raises."""
        try:
            self._record_chunks()
        except BaseException as exc:  # noqa: BLE001 - task root
            if isinstance(exc, DrivebayError) and self._writer is not None:
                exc.run_id = self._writer.run.id
            self._error = exc
        finally:
            self._measurement.session.release()
            self._chunks.put(None)

    def _record_chunks(self) -> None:
        chunks = self._measurement.chunks()
        try:
            with contextlib.closing(chunks):  # type: ignore[type-var]  # it is a generator
                for chunk in chunks:
                    writer = self._writer
                    if writer is None:
                        writer = self._begin([_column(name, a) for name, a in chunk.items()])
                    # On disk first: a point that was shown is a point that is kept.
                    writer.append(chunk)
                    self._chunks.put(chunk)
        finally:
            self._finish()

    def _begin(self, columns: list[tuple[str, str, str]]) -> RunWriter:
        instrument, measurement = self._instrument, self._measurement
        info = instrument.plugin
        self._writer = instrument._bay.runs.create(  # noqa: SLF001 - the two classes are one unit
            method=measurement.method,
            plugin={
                "name": info.metadata.name,
                "version": info.metadata.version,
                "sha256": info.sha256 or "",
            },
            identity=instrument.identity,
            resource=instrument.resource,
            parameters=measurement.parameters,
            columns=columns,
            provenance=_provenance(info, instrument.idn),
        )
        return self._writer

    def _finish(self) -> None:
        writer = self._writer or self._begin([])
        measurement = self._measurement
        if measurement.values:
            writer.add_values(measurement.values)
        writer.finish(measurement.state or "failed", measurement.reason)


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


def _column(name: str, array: Any) -> tuple[str, str, str]:
    kinds: Mapping[str, str] = {"f": "float", "b": "bool", "i": "int", "u": "int"}
    return name, "", kinds[array.dtype.kind]


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
