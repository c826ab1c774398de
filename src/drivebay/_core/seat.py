"""Where a driver runs: in this process (inline) or in one of its own (a host), behind one face.

Promises: above this module nobody needs to know which it is; a seat that fails to come about leaves
no process and no grant behind. Owns no link and no lease: it is lent one.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drivebay._core.contract import InstrumentDriver, Resumable, ScpiDriver
from drivebay._core.contract.calling import (
    Chunk,
    known_specs,
    measured,
    plain_parameters,
)
from drivebay._core.errors import (
    DrivebayError,
    DriverError,
    LinkOpenError,
    LoadError,
    MethodError,
)
from drivebay._core.host import Code, Exit, Host, Limits, spec_of_plain
from drivebay._core.loader import Generation, describe_failure, next_number, read_files

if TYPE_CHECKING:
    from drivebay._core.keeper import KeptSession
    from drivebay._core.loader import LoadPlan
    from drivebay._core.manifest import PluginMetadata
    from drivebay._core.methods import MethodSpec

Ranges = Mapping[str, Any] | None


class Seat(ABC):
    """A connected driver.

    Attributes:
        generation: the code it runs.
        identity: the instrument, as the driver read it when it connected.
        methods: what it can measure, by name.
        pid: the process it runs in, None for this one.
        exit: how its process ended, None while it runs.
        config: the driver's options.
        talk: what was said to and by the instrument when it connected.
        tell: is told kind and data of what the driver prints and logs, while somebody listens.
    """

    generation: Generation
    config: Mapping[str, Any] | None = None
    talk: Sequence[tuple[int, str, bytes]] = ()
    tell: Callable[[str, Any], None] | None = None
    identity: dict[str, str]
    methods: Mapping[str, MethodSpec]
    pid: int | None = None

    @property
    def exit(self) -> Exit | None:
        """How its process ended, None while it runs or when it has none."""
        return None

    def spec(self, method: str) -> MethodSpec:
        """Return what a method takes and gives.

        Raises:
            MethodError: there is no such method.
        """
        if method not in self.methods:
            raise MethodError(method, self.methods, subject=self.generation.metadata.name)
        return self.methods[method]

    @abstractmethod
    def validate(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as plain data, checked, with defaults filled in.

        Raises:
            MethodError: there is no such method.
            ParameterError: every problem with the parameters.
        """

    @abstractmethod
    def stream(
        self, method: str, params: Mapping[str, Any], values: dict[str, Any]
    ) -> Generator[Chunk]:
        """Measure; yield chunks as they are taken, and put whatever else there is into ``values``.

        Raises: what the driver raises, a DriverError for anything that is not ours.
        """

    @abstractmethod
    def call(self, name: str, *args: Any) -> Any:
        """Call a method of the driver. Raises: as :meth:`stream`."""

    @abstractmethod
    def aside(self, name: str) -> Any:
        """Call a method of the driver that may run beside a measurement, such as ``get_status``."""

    @abstractmethod
    def abort(self) -> None:
        """Ask the running measurement to stop, from any thread."""

    @abstractmethod
    def use_ranges(self, ranges: Ranges) -> None:
        """Set the limits that parameters are held against."""

    @abstractmethod
    def export_state(self) -> dict[str, Any] | None:
        """Return what the next generation must know; None if the driver keeps no such state."""

    def _state(self, state: object) -> dict[str, Any]:
        """What a driver exported.

        Raises:
            DriverError: it is no dictionary.
        """
        if not isinstance(state, dict):
            name = self.generation.metadata.name
            text = f"{name}: export_state() returned {state!r:.80}, expected a dictionary"
            raise DriverError(text, plugin=name)
        return state

    @abstractmethod
    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over from the last generation."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect the driver and end its process, if it has one; never raises."""


class InlineSeat(Seat):
    """A driver in this process: a debugger works, and a crash takes everything with it."""

    def __init__(self, driver: InstrumentDriver, generation: Generation, resource: str) -> None:
        self.driver = driver
        self.generation = generation
        self._resource = resource
        connected = self._contained("connect", driver.connect)
        if connected is False:
            raise LinkOpenError(
                f"{generation.metadata.name}: connect() on {resource} returned False",
                resource=resource,
            )
        self.identity = dict(self._contained("get_identity", driver.get_identity))
        self.methods = known_specs(driver)

    def validate(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return plain_parameters(self.driver, self.spec(method), params)

    def stream(
        self, method: str, params: Mapping[str, Any], values: dict[str, Any]
    ) -> Generator[Chunk]:
        try:
            yield from measured(self.driver, method, params, values)
        except DrivebayError:
            raise
        except Exception as exc:
            raise self._error(method, exc) from exc

    def call(self, name: str, *args: Any) -> Any:
        return self._contained(name, getattr(self.driver, name), *args)

    aside = call

    def abort(self) -> None:
        self.driver.abort()

    def use_ranges(self, ranges: Ranges) -> None:
        if isinstance(self.driver, ScpiDriver):
            self.driver.ranges = ranges

    def export_state(self) -> dict[str, Any] | None:
        if not isinstance(self.driver, Resumable):
            return None
        return self._state(self._contained("export_state", self.driver.export_state))

    def resume(self, state: Mapping[str, Any]) -> None:
        if isinstance(self.driver, Resumable):
            self._contained("resume", self.driver.resume, dict(state))

    def close(self) -> None:
        with contextlib.suppress(DrivebayError):
            self._contained("disconnect", self.driver.disconnect)

    def _contained(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except DrivebayError:
            raise
        except Exception as exc:
            raise self._error(what, exc) from exc

    def _error(self, what: str, exc: Exception) -> DriverError:
        name = self.generation.metadata.name
        text, trace = describe_failure(exc, self.generation.plan.home)
        return DriverError(
            f"{name}.{what} raised {text}", plugin=name, resource=self._resource, traceback=trace
        )


class HostSeat(Seat):
    """A driver in a process of its own."""

    def __init__(
        self,
        generation: Generation,
        kept: KeptSession,
        resource: str,
        config: Mapping[str, Any] | None,
        ranges: Ranges,
        limits: Limits | None = None,
        on_death: Callable[[Exit], None] | None = None,
    ) -> None:
        """Start the process, load the code, lend it the link, connect.

        Raises:
            LoadError: the code is not what was verified, or cannot be loaded any more.
            DriverError: its code raised; a subclass if its process ended.
            LinkError: the link could not be had.
        """
        self.generation = generation
        self.config = config
        self._kept = kept
        self._show = _teller(generation.metadata.name)
        self._on_death = on_death
        self._closing = False
        self._token = kept.grant()
        grant = {"resource": resource, "path": kept.keeper.path, "token": self._token}
        metadata = generation.metadata
        try:
            self._host = Host.start(
                metadata.name,
                metadata.version,
                limits=limits,
                on_output=self._printed,
                on_log=self._logged,
                on_death=self._ended,
            )
        except BaseException:
            kept.revoke(self._token, "its driver did not start")
            raise
        try:
            self.pid = self._host.pid
            loaded = self._host.load(_code(generation), _needs(generation), kept=grant)
            self._resumable = loaded.resumable
            link = {"kept": grant} if loaded.scpi else None
            self.takes_link = loaded.scpi
            self._host.create(resource, config, ranges=ranges, link=link)
            connected = self._host.connect()
        except BaseException:
            self.close()
            raise
        self.identity = connected.identity
        self.methods = {name: spec_of_plain(plain) for name, plain in connected.methods.items()}

    @property
    def exit(self) -> Exit | None:
        return self._host.exit

    def validate(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return self._host.validate(method, params)

    def stream(
        self, method: str, params: Mapping[str, Any], values: dict[str, Any]
    ) -> Generator[Chunk]:
        return self._host.stream(method, params, values)

    def call(self, name: str, *args: Any) -> Any:
        return self._host.call(name, *args)

    def aside(self, name: str) -> Any:
        try:
            return self._host.aside(name)
        except TimeoutError as exc:
            plugin = self.generation.metadata.name
            raise DriverError(str(exc), plugin=plugin, resource=self._kept.resource) from exc

    def abort(self) -> None:
        self._host.abort()

    def use_ranges(self, ranges: Ranges) -> None:
        self._host.use_ranges(ranges)

    def export_state(self) -> dict[str, Any] | None:
        return self._state(self._host.call("export_state")) if self._resumable else None

    def resume(self, state: Mapping[str, Any]) -> None:
        if self._resumable:
            self._host.call("resume", dict(state))

    def _printed(self, line: str) -> None:
        self._show(line)
        if self.tell is not None:
            self.tell("printed", line)

    def _logged(self, name: str, level: int, text: str) -> None:
        logging.getLogger(name).log(level, "%s", text)
        if self.tell is not None:
            self.tell("logged", {"logger": name, "level": level, "text": text})

    def _ended(self, ended: Exit) -> None:
        if not self._closing and self._on_death is not None:
            self._on_death(ended)

    def close(self) -> None:
        self._closing = True
        # Revoked first: its end is no accident, and nothing is switched off because of it.
        with contextlib.suppress(DrivebayError):
            self._kept.revoke(self._token, "its session was closed")
        if self._host.alive:
            with contextlib.suppress(DrivebayError):
                self._host.call("disconnect")
        self._host.close()


def stage_in_host(
    plan: LoadPlan, metadata: PluginMetadata, uses: Mapping[str, Generation]
) -> Generation:
    """Load and verify a plugin's code in a process that is ended right after.

    Raises:
        LoadError: the code cannot be read, imported or used, or ended the process.
    """
    number = next_number()
    try:
        files = read_files(plan)
    except OSError as exc:
        raise LoadError(f"{exc.filename}: {exc.strerror}", plugin=plan.name) from exc
    new = Generation(number, "", None, files, 0.0, plan, metadata, dict(uses))
    host = Host.start(metadata.name, metadata.version, on_output=_teller(metadata.name))
    try:
        loaded = host.load(_code(new), _needs(new), keep_compiled=True)
    except DriverError as exc:
        raise LoadError(str(exc), plugin=metadata.name, traceback=exc.traceback) from exc
    finally:
        host.close()
    return replace(
        new,
        files=replace(files, compiled=loaded.compiled),
        seconds=loaded.seconds,
        drift=loaded.drift,
        class_name=loaded.class_name,
        methods=tuple(loaded.methods),
    )


def _code(generation: Generation) -> Code:
    """What a host needs to run exactly the bytes of a generation, whatever is on disk now."""
    return Code(generation.plan, generation.metadata, generation.files)


def _needs(generation: Generation) -> list[Code]:
    return [_code(each) for each in generation.needs()]


def _teller(name: str) -> Callable[[str], None]:
    """What a driver prints reaches the user, and never mixes with data on standard output."""

    def tell(line: str) -> None:
        sys.stderr.write(f"[{name}] {line}\n")

    return tell
