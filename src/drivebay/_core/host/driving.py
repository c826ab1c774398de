"""What a host can be asked to do: load a plugin, make its driver, call it, measure with it.

Promises: whatever plugin code raises becomes a DrivebayError that can cross, with the driver's own
traceback and the plugin's own line; also SystemExit and KeyboardInterrupt. What a driver returns is
plain data or an error that says what is allowed. Knows no pipes: :mod:`serve` has those.
"""

from __future__ import annotations

import errno
import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drivebay._core.contract import InstrumentDriver, Resumable, ScpiDriver
from drivebay._core.contract.calling import (
    Chunk,
    known_specs,
    measured,
    method_spec,
    plain_parameters,
)
from drivebay._core.errors import DrivebayError, DriverError, LinkOpenError, LoadError
from drivebay._core.host import crossing
from drivebay._core.host.replayed import follow_recording
from drivebay._core.keeper import GRANT_VARIABLE
from drivebay._core.links import KeptLink, Link, open_direct
from drivebay._core.links.pulse import PULSE
from drivebay._core.loader import (
    Files,
    Generation,
    LoadPlan,
    compiled_by,
    describe_failure,
    stage_generation,
)
from drivebay._core.manifest import canonical_name, metadata_from_plain
from drivebay._core.methods import STANDARD, MethodSpec


class Driving:
    """One plugin, and one driver of it."""

    def __init__(self) -> None:
        self.name = "the driver"
        self.resource = ""
        self._generation: Generation | None = None
        self._driver: InstrumentDriver | None = None
        self.verbs: dict[str, Callable[..., Any]] = {
            "load": self.load,
            "create": self.create,
            "connect": self.connect,
            "ranges": self.ranges,
            "validate": self.validate,
            "call": self.call,
        }

    @property
    def driver(self) -> InstrumentDriver:
        """The driver.

        Raises:
            DriverError: none was made yet.
        """
        if self._driver is None:
            raise DriverError(f"{self.name}: no driver was made yet", plugin=self.name)
        return self._driver

    @property
    def home(self) -> str:
        """The plugin's folder, empty before it is loaded."""
        return self._generation.plan.home if self._generation else ""

    # -- what can be asked -------------------------------------------------------------------------

    def load(
        self,
        code: dict[str, Any],
        uses: Sequence[dict[str, Any]],
        load_s: float,
        kept: dict[str, Any] | None,
        keep_compiled: bool,
    ) -> dict[str, Any]:
        """Import the plugin, after those it uses; what is known of it then.

        Raises:
            LoadError: it cannot be imported, or is no driver.
        """
        PULSE.excuse(load_s)
        self.name = code["plan"]["name"]
        if kept is not None:
            os.environ[GRANT_VARIABLE] = json.dumps(kept)
            if kept.get("replayed"):
                follow_recording(kept["path"], kept["token"])
        staged: dict[str, Generation] = {}
        for used in uses:
            staged[canonical_name(used["plan"]["name"])] = _stage(used, staged)
        generation = self._generation = _stage(code, staged)
        found: Any = generation.driver_class
        specs = found.method_specs() if issubclass(found, ScpiDriver) else {}
        return {
            "sha256": generation.sha256,
            "class_name": found.__qualname__,
            "module": found.__module__,
            "scpi": issubclass(found, ScpiDriver),
            "resumable": issubclass(found, Resumable),
            "methods": {name: plain_spec(spec) for name, spec in specs.items()},
            "drift": generation.drift,
            "seconds": generation.seconds,
            "compiled": compiled_by(generation) if keep_compiled else b"",
        }

    def create(
        self,
        resource: str,
        config: dict[str, Any] | None,
        ranges: dict[str, Any] | None,
        link: dict[str, Any] | None,
    ) -> None:
        """Make the driver, and lend it a link if it can take one.

        Raises:
            DriverError: its constructor raised.
            LinkError: the link could not be had.
        """
        if self._generation is None:
            raise LoadError("no plugin was loaded yet", plugin=self.name)
        self.resource = resource
        found: Any = self._generation.driver_class
        driver: InstrumentDriver = found(resource, config)
        if isinstance(driver, ScpiDriver):
            if link is not None:
                driver.use_link(_open(link))
            driver.ranges = ranges
        self._driver = driver

    def connect(self) -> dict[str, Any]:
        """Connect; the instrument's identity and the driver's methods.

        Raises:
            LinkOpenError: ``connect()`` did not return True.
        """
        driver = self.driver
        connected = driver.connect()
        if connected is False or connected is None:
            raise LinkOpenError(
                f"{self.name}: connect() on {self.resource} returned {connected!r}",
                resource=self.resource,
            )
        identity = {str(key): str(value) for key, value in dict(driver.get_identity()).items()}
        methods = {name: plain_spec(spec) for name, spec in known_specs(driver).items()}
        return {"identity": identity, "methods": methods}

    def ranges(self, ranges: dict[str, Any] | None) -> None:
        """Set the limits that parameters are held against."""
        if isinstance(self.driver, ScpiDriver):
            self.driver.ranges = ranges

    def validate(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as plain data, checked, with defaults.

        Raises:
            MethodError: there is no such method.
            ParameterError: every problem with the parameters.
        """
        return plain_parameters(self.driver, method_spec(self.driver, method, self.name), params)

    def call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a public method of the driver, or read a public attribute.

        Raises:
            DriverError: it has no such name.
        """
        target = getattr(self.driver, name, None) if not name.startswith("_") else None
        if target is None:
            kind = type(self.driver).__name__
            raise DriverError(f"{self.name}: {kind} has no method {name!r}", plugin=self.name)
        return target(*args, **kwargs) if callable(target) else target

    def stream(
        self, method: str, params: Mapping[str, Any], values: dict[str, Any]
    ) -> Iterator[Chunk]:
        """Measure; chunks as they are taken, and what else was returned in ``values``.

        Raises: as the driver does; MethodError.
        """
        method_spec(self.driver, method, self.name)
        return measured(self.driver, method, params, values)

    # -- what comes of it --------------------------------------------------------------------------

    def pack(self, head: Sequence[Any], result: Any, what: str) -> tuple[bytes, Sequence[Any]]:
        """Return the frame of a result.

        Raises:
            DriverError: it is not plain data.
        """
        try:
            return crossing.pack([*head, result])
        except TypeError as exc:
            raise DriverError(
                f"{self.name}: {what}() returned {exc}", plugin=self.name, resource=self.resource
            ) from exc

    def failure(self, exc: BaseException, what: str) -> DrivebayError:
        """Return what was raised as an error of ours that has the driver's traceback."""
        if isinstance(exc, DrivebayError):
            if not getattr(exc, "traceback", ""):
                exc.traceback = "".join(traceback.format_exception(exc))  # type: ignore[attr-defined]
            return exc
        text, trace = describe_failure(exc, self.home)
        if isinstance(exc, SystemExit):
            text = f"sys.exit({exc.code!r}): {text}"
        error = DriverError(
            f"{self.name}.{what} raised {text}",
            plugin=self.name,
            resource=self.resource,
            traceback=trace,
        )
        if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
            error.add_note("limit: files")
        for note in getattr(exc, "__notes__", ()):
            error.add_note(str(note))
        return error


def _stage(code: Mapping[str, Any], staged: Mapping[str, Generation]) -> Generation:
    plan, metadata = LoadPlan(**code["plan"]), metadata_from_plain(code["metadata"])
    uses = {key: staged[key] for name in metadata.uses if (key := canonical_name(name)) in staged}
    try:
        return stage_generation(plan, metadata, uses, Files(**code["files"]))
    except KeyboardInterrupt as exc:
        # Nobody can press a key here: it was the plugin.
        trace = "".join(traceback.format_exception(exc))
        text = "raised KeyboardInterrupt while it was imported"
        raise LoadError(text, plugin=plan.name, traceback=trace) from exc


def _open(link: Mapping[str, Any]) -> Link:
    if "kept" in link:
        return KeptLink(link["kept"]["path"], link["kept"]["token"])
    return open_direct(str(link["direct"]))


def plain_spec(spec: MethodSpec) -> dict[str, Any]:
    """Return a method's definition as plain data; :func:`spec_of_plain` is the way back."""
    return {
        "name": spec.name,
        "title": spec.title,
        "help": spec.help,
        "standard": STANDARD.get(spec.name) is spec,
        "columns": None
        if spec.columns is None
        else [msgspec.to_builtins(column) for column in spec.columns],
    }
