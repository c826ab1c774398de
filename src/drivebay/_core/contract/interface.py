"""The contract every driver keeps: ten methods, and a claim of what it serves.

Rules: a method that is abstract here stays abstract, and none is added within a major version;
what came later is an optional protocol that a driver may have or not. Nothing here talks to an
instrument.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

from drivebay._core.errors import LinkError, LinkOpenError
from drivebay._core.manifest import PluginMetadata, metadata_from_call

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Class = TypeVar("_Class", bound=type)


class InstrumentDriver(ABC):
    """What the platform expects of a driver.

    As a context manager it connects, and on the way out it aborts if the body raised, then
    disconnects; an error of the way out never hides the body's.
    """

    @abstractmethod
    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        """Remember what to talk to; touch no hardware.

        Args:
            resource_name: VISA resource string or another address the driver understands.
            config: options of the driver, checked against its manifest's ``config_schema``.
        """

    @abstractmethod
    def connect(self) -> bool:
        """Open the channel to the instrument; True if that worked. Changes no output."""

    @abstractmethod
    def disconnect(self) -> bool:
        """Close the channel to the instrument; True if that worked."""

    @abstractmethod
    def reset(self) -> None:
        """Put the instrument into its default state."""

    @abstractmethod
    def get_identity(self) -> dict[str, str]:
        """Who the instrument is: keys ``manufacturer``, ``model``, ``serial``, ``firmware``."""

    @abstractmethod
    def get_capabilities(self) -> list[str]:
        """Names of the methods it can measure, such as ``["iv_sweep", "cv_measurement"]``."""

    @abstractmethod
    def configure(self, method: str, params: dict[str, Any]) -> None:
        """Prepare a measurement.

        Args:
            method: name of the method.
            params: its parameters.
        """

    @abstractmethod
    def measure(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Measure, and return the results by name.

        Args:
            method: name of the method.
            params: its parameters.
        """

    @abstractmethod
    def abort(self) -> None:
        """Stop the measurement that is going on, if any."""

    @abstractmethod
    def get_status(self) -> dict[str, Any]:
        """How the instrument is, by name."""

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            LinkOpenError: ``connect()`` returned False or None.
        """
        connected = self.connect()
        if connected is False or connected is None:
            raise LinkOpenError(
                f"{type(self).__name__}.connect() returned {connected!r}, expected True",
                resource=_resource_of(self),
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Abort if the body raised, then disconnect.

        Raises:
            LinkError: the body was fine and ``disconnect()`` returned False.
        """
        if exc is None:
            if self.disconnect() is False:
                raise LinkError(
                    f"{type(self).__name__}.disconnect() returned False",
                    resource=_resource_of(self),
                )
            return
        # The body's error is the one to tell; what happens while leaving is noted on it.
        for step in (self.abort, self.disconnect):
            try:
                step()
            except Exception as other:  # noqa: BLE001 - border: a driver call, kept as a note
                note = f"{step.__name__}() raised {type(other).__name__}: {other}"
                exc.add_note(f"while leaving {type(self).__name__}: {note}")


def _resource_of(driver: InstrumentDriver) -> str:
    return str(getattr(driver, "resource_name", ""))


@runtime_checkable
class Streaming(Protocol):
    """A driver that gives points as they are taken."""

    def stream(
        self, method: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Chunks of columns, checked; the sum of them is what ``measure`` returns."""


@runtime_checkable
class Resumable(Protocol):
    """A driver whose state outlives a reload of its code."""

    def export_state(self) -> dict[str, Any]:
        """What the next generation must know, as plain data."""

    def resume(self, state: dict[str, Any]) -> None:
        """Take over from the last generation."""


def driver_plugin(
    name: str,
    version: str,
    author: str,
    description: str,
    supported_methods: list[str],
    supported_models: list[str],
    **kwargs: Any,
) -> Callable[[_Class], _Class]:
    """Declare a class as a driver plugin, as a ``plugin.yaml`` beside it would.

    The claim belongs to that very class: :func:`plugin_metadata` of a subclass is None.

    Args:
        name: the plugin's name.
        version: the plugin's version (PEP 440).
        author: who to ask.
        description: one sentence on what it drives.
        supported_methods: methods it can measure.
        supported_models: models it serves, wildcards allowed.
        **kwargs: any other key of a manifest, ``driver_class`` too.

    Raises:
        ManifestError: every problem with the arguments, when the class is decorated.
    """
    arguments = {
        "name": name,
        "version": version,
        "author": author,
        "description": description,
        "supported_methods": supported_methods,
        "supported_models": supported_models,
        **kwargs,
    }

    def decorator(cls: _Class) -> _Class:
        nested = "." in cls.__qualname__
        where = f"{cls.__module__}{':' if nested else '.'}{cls.__qualname__}"
        metadata = metadata_from_call(arguments, driver_class=where)
        cls._plugin_metadata = metadata  # type: ignore[attr-defined]
        return cls

    return decorator


def plugin_metadata(cls: type) -> PluginMetadata | None:
    """What ``@driver_plugin`` declared of this class itself; None if it was not decorated."""
    found = cls.__dict__.get("_plugin_metadata")
    return found if isinstance(found, PluginMetadata) else None
