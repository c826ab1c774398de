"""An instrument whose readings take time: it is busy meanwhile, and obeys what its manual says.

Promises: readings are taken when they are due and not before; what waits for the end of them
(``*OPC``, ``*WAI``, a query declared ``when_idle``) waits; an abort ends them at once. Never
measures: a model's ``take`` does.
"""

from __future__ import annotations

from drivebay.sim.eventlog import EventLog
from drivebay.sim.instrument import ScpiInstrument
from drivebay.sim.syntax import CommandTree, ScpiError
from drivebay.sim.triggering import Clock, Run, TriggerModel


class MeasuringInstrument(ScpiInstrument):
    """A SCPI instrument with a clock and one operation at a time.

    Attributes:
        clock: its time.
        trigger: the operation that runs, if one does.
        readings_taken: how many since the start.
    """

    clock: Clock
    trigger: TriggerModel
    readings_taken: int

    def __init__(
        self,
        tree: CommandTree,
        log: EventLog,
        *,
        time_scale: float = 1.0,
        obeys_only_abort_while_busy: bool = True,
    ) -> None:
        """An idle instrument.

        Args:
            tree: its commands.
            log: where it records events.
            time_scale: real seconds that a simulated second takes; 0 for none at all.
            obeys_only_abort_while_busy: whether other commands wait for the end of an operation.
        """
        super().__init__(tree, log, obeys_only_abort_while_busy)
        self.clock = Clock(time_scale)
        self.readings_taken = 0
        self.trigger = TriggerModel(
            self.lock, self.clock, self._due, self._over, self.flush_clients
        )

    @property
    def busy(self) -> bool:
        """True while an operation runs or waits for its trigger."""
        return self.trigger.busy

    def begin(
        self, count: float, cycle_s: float, *, waits_for: str = "", per_pass: int | None = None
    ) -> None:
        """Leaves idle; ``take`` is called as readings become due, then ``finished``.

        Args:
            count: how many readings; infinite until it is aborted.
            cycle_s: simulated seconds from one to the next.
            waits_for: a name that ``trigger.bus_trigger`` must be called with first; "" starts now.
            per_pass: readings a trigger takes; all of them unless told.

        Raises:
            ScpiError: -213, it is not idle.
        """
        if self.busy:
            raise ScpiError(-213)
        each = int(count) if per_pass is None and count != float("inf") else per_pass or 1
        if count != 1:
            points = -1 if count == float("inf") else int(count)
            self.log.add("sweep_begin", mode=self.sweep_mode, points=points, cycle_s=cycle_s)
        self.trigger.start(Run(each, count, cycle_s, each * cycle_s), waits_for)

    @property
    def sweep_mode(self) -> str:
        """What ``sweep_begin`` says in the log: FIX, LIST, SWE, or a model's own word."""
        return "FIX"

    def take(self, first: int, times_s: list[float]) -> None:
        """Takes readings that are due now; models say how.

        Args:
            first: index of the first of them in the operation, from 0.
            times_s: the time each ended, on the instrument's clock.
        """

    def finished(self, aborted: bool) -> None:
        """Called once when the operation has ended, before what waited for that goes on."""

    def abort(self) -> None:
        """To idle at once; readings that were complete are taken."""
        taken = self.trigger.run.done if self.trigger.run else 0
        if self.trigger.abort():
            self.log.add("abort", taken=taken)

    def close(self) -> None:
        """Ends the thread of the operation."""
        self.trigger.close()

    def _due(self, run: Run, first: int, stop: int) -> None:
        self.readings_taken += stop - first
        self.take(first, [run.end_s(index) for index in range(first, stop)])

    def _over(self, run: Run, aborted: bool) -> None:
        if run.total != 1:
            self.log.add("sweep_end", taken=run.done, aborted=aborted)
        self.finished(aborted)
        self.present()
        self.became_idle()
