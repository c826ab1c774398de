"""A source that somebody else paces: two instruments at one device, in step with one another.

A sweep that an instrument runs by itself cannot wait for another instrument. A driver of this class
can: it holds a voltage, goes to the next one when it is told, and reads when it is told. Promises
that the output is on only between :meth:`SteppedSource.begin_steps` and ``end_steps``, with its
limit set before; that an abort from any thread is heard at the next step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import msgspec

from drivebay._core.contract.scpi import ScpiDriver
from drivebay._core.errors import PluginStateError


class Steps(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a source is set up whose levels come one by one.

    Attributes:
        top_v: largest magnitude of the levels, in volts.
        compliance_a: current that is never exceeded, in amperes.
        nplc: integration time in periods of the mains.
        sense_range_a: fixed current range; None lets the instrument choose.
        four_wire: whether the voltage is sensed at the device.
    """

    top_v: float
    compliance_a: float
    nplc: float = 1.0
    sense_range_a: float | None = None
    four_wire: bool = False


class SteppedSource(ScpiDriver):
    """A driver whose source can be paced; a subclass writes the first three methods."""

    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        """As :class:`ScpiDriver`."""
        super().__init__(resource_name, config)
        self._steps: ExitStack | None = None

    @abstractmethod
    def stepping(self, p: Steps) -> AbstractContextManager[None]:
        """Set everything up and have the output on, at 0 V; off when the context is left.

        Use :meth:`ScpiDriver.output` in it, which switches off whatever happened.
        """

    @abstractmethod
    def step_to(self, level_v: float) -> None:
        """Go to a level and do not wait for it to settle."""

    @abstractmethod
    def step_read(self) -> dict[str, Any]:
        """Measure once: ``voltage_v``, ``current_a``, ``in_compliance``."""

    def is_paced(self) -> bool:
        """True: it can be paced. What is no such driver does not have the question."""
        return True

    def begin_steps(self, setup: Mapping[str, Any]) -> None:
        """Switch on at 0 V; called by the platform.

        Args:
            setup: what :class:`Steps` holds.

        Raises:
            PluginStateError: it is measuring.
            InstrumentError: the instrument refused a command; its output is off.
            LinkError: the channel failed.
        """
        name = type(self).__name__
        values = msgspec.convert(dict(setup), Steps)
        if not self._stop.begin():
            text = f"{name} on {self.resource_name} is measuring already"
            raise PluginStateError(text, plugin=name, status="active")
        self._start_afresh()
        try:
            with ExitStack() as stack:
                stack.enter_context(self.stepping(values))
                self._steps = stack.pop_all()
        except BaseException:
            self._stop.end()
            raise

    def end_steps(self) -> None:
        """Switch off, and look at the error queue; does nothing if nothing was begun.

        Raises: as :meth:`ScpiDriver.output`.
        """
        steps, self._steps = self._steps, None
        if steps is None:
            return
        try:
            steps.close()
        finally:
            self._stop.end()
