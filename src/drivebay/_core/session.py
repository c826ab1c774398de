"""Stage 4: one link and one driver on one instrument; its life cycle and its safe state.

Promises: what the manifest declares as the safe state is sent whenever a measurement does not end
well and when a session is closed after one that did not; the writes go out first, without a
question before them, and are verified after. The link is closed last, whatever else fails.

This stage runs the driver in the caller's process. It never chooses a driver and stores nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from drivebay._core.contract import InstrumentDriver, ScpiDriver
from drivebay._core.errors import BusyError, DrivebayError, LinkOpenError
from drivebay._core.index import Identity, normal_model
from drivebay._core.keeper import SafeStateReport, run_safe_state
from drivebay._core.links import Link
from drivebay._core.manifest import PluginMetadata

_log = logging.getLogger("drivebay.session")

_ABORT_DEADLINE_S: Final = 10.0
"""How long close() waits for a driver's own clean-up before it sends the safe state itself."""


class Session:
    """An opened instrument.

    Args:
        driver: a new instance, not yet connected.
        metadata: the manifest of its plugin.
        link: an open link, lent to drivers that can take it; None for a driver that opens its own.
        identity: the instrument's answer to ``*IDN?``, if it was asked already.
    """

    def __init__(
        self,
        driver: InstrumentDriver,
        metadata: PluginMetadata,
        link: Link | None,
        resource: str,
        identity: Identity | None = None,
    ) -> None:
        self.driver = driver
        self.metadata = metadata
        self.link = link
        self.resource = resource
        self.suspect = False
        """A measurement did not end well and nobody has confirmed the safe state since."""
        self._busy = threading.Lock()
        self._closed = False
        self._connect(identity)

    def _connect(self, identity: Identity | None) -> None:
        driver, link = self.driver, self.link
        if isinstance(driver, ScpiDriver):
            if link is not None:
                driver.use_link(link)
            if identity is not None:
                driver.ranges = ranges_for(self.metadata, identity.model)
        try:
            connected = driver.connect()
            if connected is False:
                raise LinkOpenError(
                    f"{self.metadata.name}: connect() on {self.resource} returned False",
                    resource=self.resource,
                )
            self.identity: dict[str, str] = dict(driver.get_identity())
        except BaseException:
            if link is not None:
                link.close()
            raise
        if isinstance(driver, ScpiDriver):
            driver.ranges = ranges_for(self.metadata, self.identity.get("model", ""))

    def claim(self) -> None:
        """Take the instrument for one measurement; :meth:`release` gives it back, from any thread.

        Raises:
            BusyError: another measurement is running.
        """
        if not self._busy.acquire(blocking=False):
            raise BusyError(f"{self.resource} is in the middle of a measurement; abort() ends it")

    def release(self) -> None:
        """Give back what :meth:`claim` took."""
        self._busy.release()

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the instrument for the block.

        Raises:
            BusyError: a measurement is running.
        """
        self.claim()
        try:
            yield
        finally:
            self.release()

    def abort(self) -> None:
        """Stop the running measurement, from any thread; returns without waiting for its end."""
        self.driver.abort()

    def make_safe(self) -> SafeStateReport:
        """Bring the instrument into the state its manifest declares as safe.

        Never raises: what fails is in the report, is logged, and the rest is still done.
        """
        declared = self.metadata.safe_state
        if not declared or self.link is None:
            return self._driver_reset()
        report = run_safe_state(self.link, declared)
        self.suspect = bool(report.problems) or report.verified is False
        if self.suspect:
            _log.error(
                "%s: safe state not confirmed: %s", self.resource, "; ".join(report.problems)
            )
        return report

    def _driver_reset(self) -> SafeStateReport:
        # A seed-style driver owns its connection, so the most that can be asked is its reset().
        try:
            self.driver.reset()
        except Exception as exc:  # noqa: BLE001 - border: the driver's own code
            problem = f"reset() raised {type(exc).__name__}: {exc}"
            _log.exception("%s: %s", self.resource, problem)
            return SafeStateReport(problems=(problem,))
        return SafeStateReport(sent=("reset()",))

    def close(self) -> None:
        """Abort what is running, make safe if that did not end well, disconnect, close the link."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._busy.acquire(blocking=False):
                self._busy.release()
            else:
                try:
                    self.abort()
                except DrivebayError as exc:
                    _log.warning("%s: abort: %s", self.resource, exc)
                # The measurement's own thread cleans up, and it needs the link until it has.
                if not self._busy.acquire(timeout=_ABORT_DEADLINE_S):
                    _log.error(
                        "%s: the driver did not stop within %g s", self.resource, _ABORT_DEADLINE_S
                    )
                    self.suspect = True
            if self.suspect:
                self.make_safe()
            self.driver.disconnect()
        finally:
            if self.link is not None:
                self.link.close()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed


def ranges_for(metadata: PluginMetadata, model: str) -> dict[str, Any] | None:
    """Return the manifest's ranges for a model: its own, else those of the closest wildcard."""
    if not metadata.ranges:
        return None
    wanted = normal_model(model)
    matching = [
        (len(name), limits)
        for name, limits in metadata.ranges.items()
        if normal_model(name) == wanted or fnmatchcase(wanted, normal_model(name))
    ]
    if not matching:
        return None
    limits = max(matching, key=lambda pair: pair[0])[1]
    return {**limits, "source": f"{metadata.name} {metadata.version}, model {wanted.upper()}"}
