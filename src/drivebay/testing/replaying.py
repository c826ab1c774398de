"""Record what a driver says to an instrument, and test the driver on that without the instrument.

Promises: a replay is strict: the first byte that differs from the recording is an error that names
it, and so is a recorded message that was not used. Nothing is connected, and nothing waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from drivebay.driver import InstrumentDriver, Recording, ReplayLink, ScpiDriver

if TYPE_CHECKING:
    from drivebay import Instrument

_KEPT_BYTES: Final = 4096
"""A transcript keeps no more of one message."""

_Driver = TypeVar("_Driver", bound=ScpiDriver)


@contextmanager
def recorded(path: str | Path, instrument: Instrument) -> Iterator[Instrument]:
    """Write what passes between an open instrument and its driver in the block into a file.

    The file is written when the block is left well; after an error there is none.

    Args:
        path: JSON lines, a head and then a line for each message.
        instrument: opened with ``Bay.open``.

    Raises:
        ValueError: more passed than an instrument's transcript keeps whole, in all or in one
            message: record less at once, with fewer points.
    """
    began_ns = time.monotonic_ns()
    before = instrument.transcript[:1]
    yield instrument
    after = instrument.transcript
    if before and after[:1] != before:
        raise ValueError(
            f"more than {len(after)} messages passed, and the first are forgotten; record less"
        )
    entries = [entry for entry in after if entry[0] >= began_ns]
    longest = max((len(data) for _, _, data in entries), default=0)
    if longest >= _KEPT_BYTES:
        raise ValueError(f"a message is longer than {_KEPT_BYTES} bytes; record fewer points")
    Recording(instrument.resource, entries).save(path)


@contextmanager
def replayed(
    path: str | Path,
    driver: type[_Driver],
    config: Mapping[str, Any] | None = None,
    *,
    ranges: Mapping[str, Any] | None = None,
) -> Iterator[_Driver]:
    """Have a connected driver that talks to a recording instead of an instrument.

    Args:
        path: what :func:`recorded` wrote.
        driver: its class, which derives from ``ScpiDriver``; another opens its own connection and
            cannot be given this one.
        config: its options.
        ranges: limits of the model, as in its manifest.

    Raises:
        TypeError: ``driver`` is no such class.
        ValueError: the file is not a recording.
        LinkError: the driver sent something else, or not all of the recording was used.
    """
    if not issubclass(driver, ScpiDriver):
        known = "an InstrumentDriver" if issubclass(driver, InstrumentDriver) else "no driver"
        raise TypeError(f"{driver.__name__} is {known}, expected a subclass of ScpiDriver")
    recording = Recording.load(path)
    link = ReplayLink(recording)
    made = driver(recording.resource, dict(config) if config is not None else None)
    made.use_link(link)
    made.ranges = ranges
    with made:
        yield made
        link.finish()
