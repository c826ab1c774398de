"""An opened instrument, as an experimenter sees it: measure, talk, stop, close.

Promises: what is measured through it is a run on disk; nothing of it touches the instrument while a
measurement runs, but for what stops it.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from drivebay._core.bay.stream import Stream
from drivebay._core.errors import PluginStateError
from drivebay._core.faults import Faults
from drivebay._core.keeper import SafeStateReport
from drivebay._core.links import Link
from drivebay._core.loader import Generation
from drivebay._core.manager import PluginInfo, PluginManager
from drivebay._core.manifest import secrets_of
from drivebay._core.measurement import Measurement
from drivebay._core.runs import Run, RunDraft, RunStore
from drivebay._core.runs.environment import clocks, machine
from drivebay._core.runs.marks import user
from drivebay._core.seat import InlineSeat
from drivebay._core.session import Session
from drivebay._version import __version__

_BENCH_FACTS: Final = ("limits", "channels", "strict", "source", "policy", "ramp", "safe_state")
_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Surroundings:
    """What an instrument shares with the others of its bay.

    Attributes:
        plugins: what serves it.
        runs: where its measurements go.
        faults: the crashes of its drivers.
        closed: is told when it was closed.
    """

    plugins: PluginManager
    runs: RunStore
    faults: Faults
    closed: Callable[[Instrument], None]


class Instrument:
    """An opened instrument. Its methods can also be called by name: ``smu.iv_sweep(...)``.

    Attributes:
        resource: canonical address.
        idn: its ``*IDN?`` reply.
        alias: its name on the bench, empty without one.
    """

    def __init__(self, session: Session, around: Surroundings, idn: str, alias: str) -> None:
        self._session = session
        self._around = around
        self._plugin = session.metadata.name
        self.resource = session.resource
        self.idn = idn
        self.alias = alias

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
        return self._around.plugins.plugins[self._plugin]

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
        return seat.driver if isinstance(seat, InlineSeat) else RemoteDriver(self._session)

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
        return Stream(Measurement(self._session, method, params), self._draft, self._went_well)

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
        """Send commands to the instrument.

        Raises:
            BusyError: a measurement is running.
            LimitError: a command would go past a limit; it and those after it were not sent.
            AbortedError: it may energise, and everything was switched off (``drivebay estop``).
            UnsafeError: it may energise, and the instrument could not be made safe.
            LinkError: the channel failed.
        """
        link = self._link()
        with self._session.claimed():
            self._session.heed_hand()
            for command in commands:
                link.write(command)

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Send a question and return the answer. Raises: as :meth:`write`."""
        link = self._link()
        with self._session.claimed():
            self._session.heed_hand()
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

    def _draft(
        self, measurement: Measurement, also: tuple[Generation, ...] = (), **more: Any
    ) -> RunDraft:
        return self._around.runs.draft(
            method=measurement.method,
            plugin=self.code,
            identity=self.identity,
            resource=self.resource,
            parameters=measurement.parameters,
            columns=measurement.columns or (),  # a seed-style driver shows them in its first chunk
            provenance={**self._provenance(), **more},
            bench=self._bench(),
            sources=_sources(self._session.seat.generation, *also),
        )

    def _bench(self) -> dict[str, Any]:
        """What holds for this instrument on its bench: limits, policy, who keeps it."""
        in_force = self._session.in_force
        known = {name: in_force.get(name) for name in _BENCH_FACTS}
        return {"alias": self.alias, **known, "keeper_pid": self.keeper_pid}

    def _provenance(self) -> dict[str, Any]:
        info = self.plugin
        needed = tuple(_name_of(text) for text in info.metadata.dependencies)
        options = secrets_of(self._session.metadata, self._session.seat.config)
        return {
            "drivebay": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "host": platform.node(),
            "user": user(),
            "program": os.path.basename(sys.argv[0]) if sys.argv else "",
            "alias": self.alias,
            "idn": self.idn,
            "plugin_path": info.path,
            "plugin_source": info.source,
            "degraded": info.degraded,
            "reloads": self.reloads,
            "config": options.config,
            "config_withheld": list(options.withheld),
            "isolation": "process" if self.host_pid is not None else "inline",
            "machine": machine(needed),
            "clock": clocks(),
        }

    def _went_well(self) -> None:
        """A measurement ended well: earlier crashes of the code that made it are forgotten."""
        self._around.faults.forget(self.code["sha256"], self.resource)

    def close(self) -> None:
        """Close the session; the instrument is made safe first if anything may be on."""
        self._around.closed(self)
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


class RemoteDriver:
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


def _sources(*running: Generation) -> dict[str, Mapping[str, bytes]]:
    """The files of the code that measures, and of the plugins it imports."""
    return {
        each.metadata.name: each.files.sources for one in running for each in (one, *one.needs())
    }


def _name_of(requirement: str) -> str:
    """The distribution that a requirement names.

    >>> _name_of("scipy >= 1.10; python_version > '3.8'")
    'scipy'
    """
    found = _DISTRIBUTION.match(requirement.strip())
    return found[0] if found else ""
