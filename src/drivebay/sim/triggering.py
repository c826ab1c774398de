"""Operations that take time: idle, waiting for a trigger, or taking readings at their due times.

Promises: readings are taken no earlier than their integration would end; an abort is obeyed at
once, from any thread, and leaves the readings that were complete. Never measures: the instrument
does, when it is told which readings are due. Never keeps the instrument locked for long while a
slow circuit is worked out: what is due then is taken in parts, and an abort comes between two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Readings quicker than this are handed over in batches; a thread cannot be woken for each.
BATCH_S = 2e-3
# Longest that the instrument stays locked for readings, one reading excepted.
_HOLD_S = 5e-3
# Readings that take no time are there at once, unless they take this long to be worked out.
_AT_ONCE_S = 0.1
# Long enough for who waits for the lock to get it: who lets go and takes it again is always first.
_LET_GO_S = 1e-3


class Clock:
    """The instrument's time: the monotonic clock, but readings may take scaled time.

    Attributes:
        scale: real seconds a simulated second of a reading takes; 0 for none at all.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._real_s = time.monotonic()
        self._simulated_s = 0.0

    def now_s(self) -> float:
        """Simulated seconds since the start, while idle."""
        return self._simulated_s + time.monotonic() - self._real_s

    def set_s(self, simulated_s: float) -> None:
        """It is now that time."""
        self._real_s = time.monotonic()
        self._simulated_s = simulated_s


@dataclass(slots=True)
class Run:
    """One pass through the trigger model.

    Attributes:
        per_pass: readings a pass of the arm layer takes (the trigger count).
        total: all readings, infinite for an infinite arm count.
        cycle_s: seconds a reading takes.
        pass_s: seconds from the start of one pass to that of the next.
        started_s: simulated time of its start.
        done: readings taken so far.
    """

    per_pass: int
    total: float
    cycle_s: float
    pass_s: float
    started_s: float = 0.0
    real_start_s: float = 0.0
    done: int = 0

    def end_s(self, index: int) -> float:
        """Simulated time at which a reading is complete."""
        passes, within = divmod(index, self.per_pass)
        return self.started_s + passes * self.pass_s + (within + 1) * self.cycle_s

    def complete_by(self, elapsed_s: float) -> int:
        """How many readings are complete after some simulated time."""
        # A nanosecond of grace: a wait that ends on the dot must not find itself one ulp early.
        elapsed_s += 1e-9
        passes = int(elapsed_s // self.pass_s)
        within = min(int((elapsed_s - passes * self.pass_s) / self.cycle_s), self.per_pass)
        return int(min(passes * self.per_pass + within, self.total))


class TriggerModel:
    """Runs passes, in the caller's thread if they take no time and else in one of its own.

    Args:
        lock: the instrument's lock; every method but ``close`` is called with it held.
        clock: the instrument's time.
        take: takes the readings from one index up to another (exclusive).
        finished: called when a run has ended, with whether it was aborted.
        after: called without the lock, when others may have been answered.
    """

    def __init__(
        self,
        lock: threading.RLock,
        clock: Clock,
        take: Callable[[Run, int, int], None],
        finished: Callable[[Run, bool], None],
        after: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._take = take
        self._finished = finished
        self._after = after
        self._changed = threading.Condition(lock)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._part = 1
        self.run: Run | None = None
        self.waiting_for = ""

    @property
    def busy(self) -> bool:
        """True unless idle."""
        return self.run is not None

    def start(self, run: Run, waits_for: str) -> None:
        """Leaves idle; ``waits_for`` is "", "arm" or "trigger"."""
        self.run = run
        self.waiting_for = waits_for
        if not waits_for:
            self._begin(run)

    def bus_trigger(self, accepted: str) -> bool:
        """``*TRG`` or GET: ends the wait for it; False if nothing waited."""
        if self.run is None or self.waiting_for != accepted:
            return False
        self.waiting_for = ""
        self._begin(self.run)
        return True

    def abort(self) -> bool:
        """To idle, now; False if it was there."""
        run = self.run
        if run is None:
            return False
        if not self.waiting_for:
            self._advance(run, time.monotonic())
        if self.run is not None:
            self._end(run, aborted=True)
        return True

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _begin(self, run: Run) -> None:
        run.started_s, run.real_start_s = self._clock.now_s(), time.monotonic()
        if self._clock.scale == 0 and run.total < float("inf"):
            until_s = time.monotonic() + _AT_ONCE_S
            while self.run is run and time.monotonic() < until_s:
                self._take_part(run, int(run.total))
            if self.run is not run:
                return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sim-trigger", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                run = self.run
                if run is None or self.waiting_for:
                    self._changed.wait()
                    continue
                wait_s = self._due_s(run) - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                self._advance(run, time.monotonic())
                if self.run is run and self._due_s(run) <= time.monotonic():
                    self._changed.wait(_LET_GO_S)
            self._after()

    def _due_s(self, run: Run) -> float:
        """When to look again: at the next reading, but fast readings come in batches."""
        scale = self._clock.scale
        if scale == 0 and run.total < float("inf"):
            return run.real_start_s
        if scale == 0:
            # Without end: readings that take no time, a thousand a second.
            return run.real_start_s + run.done * 1e-3
        due_s = run.real_start_s + (run.end_s(run.done) - run.started_s) * scale
        if run.cycle_s * scale < BATCH_S and run.done < run.total - 1:
            due_s += min(BATCH_S, (run.total - 1 - run.done) * run.cycle_s * scale)
        return due_s

    def _advance(self, run: Run, now_s: float) -> None:
        """Takes what is complete, or a part of it."""
        scale = self._clock.scale
        if scale:
            self._take_part(run, run.complete_by((now_s - run.real_start_s) / scale))
        else:
            self._take_part(run, run.done + 1 if run.total == float("inf") else int(run.total))

    def _take_part(self, run: Run, count: int) -> None:
        """Takes readings up to a number, but no more than were quick to work out so far."""
        began_s, stop = time.monotonic(), min(count, run.done + self._part)
        whole = stop - run.done == self._part
        self._take_up_to(run, stop)
        spent_s = time.monotonic() - began_s
        if spent_s > _HOLD_S:
            self._part = max(1, self._part // 2)
        elif whole and spent_s < _HOLD_S / 2:
            self._part *= 2

    def _take_up_to(self, run: Run, count: int) -> None:
        if count > run.done:
            first, run.done = run.done, count
            self._take(run, first, count)
        if run.done >= run.total and self.run is run:
            self._end(run, aborted=False)

    def _end(self, run: Run, aborted: bool) -> None:
        if not aborted or self._clock.scale == 0:
            end_s = run.end_s(run.done - 1) if run.done else run.started_s
        else:
            end_s = run.started_s + (time.monotonic() - run.real_start_s) / self._clock.scale
        self._clock.set_s(max(end_s, run.started_s))
        self.run = None
        self.waiting_for = ""
        self._finished(run, aborted)
        self._changed.notify_all()
