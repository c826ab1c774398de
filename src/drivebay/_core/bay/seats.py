"""The drivers of one instrument, one after the other: at first, after a crash, for newer code."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from drivebay._core.contract import ScpiDriver
from drivebay._core.errors import PluginStateError
from drivebay._core.host import Exit, Limits
from drivebay._core.keeper import KeptSession, lend
from drivebay._core.loader import Generation
from drivebay._core.manager import PluginManager
from drivebay._core.seat import HostSeat, InlineSeat, Ranges, Seat


class Seats:
    """Makes the drivers of one instrument, one after the other, all in the same way."""

    def __init__(
        self,
        plugins: PluginManager,
        kept: KeptSession,
        config: dict[str, Any] | None,
        where: str,
        limits: Limits | None,
        died: Callable[[Generation, str, Exit], None],
    ) -> None:
        """Nothing is started yet.

        Args:
            plugins: makes the instances that run in this process.
            kept: the instrument in the keeper.
            config: for the driver, checked already.
            where: ``process`` or ``inline``.
            limits: memory, files and silence allowed to a driver's process.
            died: told the code, the instrument and how a driver's process ended by itself; it is
                called on a thread that nobody may keep waiting.
        """
        self._plugins = weakref.ref(plugins)
        self._kept = kept
        self._config = config
        self._inline = where == "inline"
        self._limits = limits
        self._died = died

    def __call__(self, generation: Generation, ranges: Ranges) -> Seat:
        if self._inline:
            return self._here(generation, ranges)
        seat = HostSeat(
            generation,
            self._kept,
            self._kept.resource,
            self._config,
            ranges,
            self._limits,
            partial(self._died, generation, self._kept.resource),
        )
        if not seat.takes_link:
            # It opens its own connection, and many instruments accept only one.
            self._kept.park()
        return seat

    def _here(self, generation: Generation, ranges: Ranges) -> Seat:
        plugins = self._plugins()
        if plugins is None:
            raise PluginStateError("the bay is gone", plugin=generation.plan.name, status="closed")
        resource = self._kept.resource
        driver = plugins.get_driver(generation.metadata.name, resource, self._config)
        if isinstance(driver, ScpiDriver):
            driver.use_link(self._kept.link())
            driver.ranges = ranges
        else:
            lend(self._kept)
        seat = InlineSeat(driver, generation, resource)
        seat.config = self._config
        return seat
