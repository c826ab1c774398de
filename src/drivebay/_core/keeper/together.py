"""Several instruments made safe together: everybody's writes first, then everybody's questions.

Promises: the declared order is kept as long as everybody answers; one that does not, holds the
others up for a moment and no longer. What dead keepers left on is made safe by their records.
Chooses nothing: who is to be made safe is the caller's business.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import DrivebayError, LeaseError, ResourceError
from drivebay._core.keeper.held import Held
from drivebay._core.keeper.records import WATCHMAN, Lease, read_record, records
from drivebay._core.keeper.safing import SafeStateReport
from drivebay._core.links import parse_resource
from drivebay._core.links.direct import MAX_TIMEOUT_S

_log = logging.getLogger("drivebay.keeper")

_STAGGER_S: Final = 0.25
"""How long the next in the declared order waits for one that does not take its writes."""

_WATCHMANS_S: Final = 3.0
"""How long a watchman that is at it already is waited for."""

_SPREAD_S: Final = 1.0
"""How long questions wait for the writes of all the others."""


def make_all_safe(
    chosen: Sequence[Held],
    *,
    order: Sequence[str] = (),
    planned: bool = False,
    forced: bool = False,
) -> dict[str, SafeStateReport]:
    """Make instruments safe, each in a thread of its own; what became of each.

    Args:
        chosen: the instruments.
        order: addresses in the order in which they get their writes; the others come after, all at
            once.
        planned: as ``Held.begin_safe`` takes it.
        forced: likewise.
    """
    rank = {name: place for place, name in enumerate(order)}
    runs = [
        _Run(held, {"planned": planned, "forced": forced})
        for held in sorted(chosen, key=lambda held: rank.get(held.resource, len(rank)))
    ]
    if len(runs) == 1:
        runs[0].go()
        return {runs[0].held.resource: runs[0].report}
    all_told = threading.Event()
    for run in runs:
        run.start(all_told)
        if run.held.resource in rank:
            ramps = planned and run.held.setup.policy == "ramp_off"
            most_s = float(run.held.setup.ramp.get("max_s") or 0.0) if ramps else 0.0
            run.told.wait(_STAGGER_S + most_s)
    for run in runs:
        run.told.wait(_SPREAD_S)
    all_told.set()
    for run in runs:
        run.done.wait()
    return {run.held.resource: run.report for run in runs}


class _Run:
    """One instrument on its way to its safe state."""

    def __init__(self, held: Held, how: Mapping[str, bool]) -> None:
        self.held = held
        self.report = SafeStateReport(problems=("it was not tried",))
        self.told = threading.Event()
        self.done = threading.Event()
        self._how = dict(how)

    def start(self, all_told: threading.Event) -> None:
        """Go on in a thread; here, if the system gives none."""
        try:
            threading.Thread(target=self.go, args=(all_told,), daemon=True).start()
        except RuntimeError:
            self.go()

    def go(self, all_told: threading.Event | None = None) -> None:
        """Write, wait until everybody has written, and verify."""
        try:
            begun = self.held.begin_safe(**self._how)
            self.told.set()
            if all_told is not None:
                all_told.wait(_SPREAD_S)
            self.report = self.held.end_safe(begun)
        except Exception as exc:  # noqa: BLE001 - border: the others must be made safe all the same
            _log.exception("%s: making it safe failed", self.held.resource)
            self.report = SafeStateReport(problems=(f"{type(exc).__name__}: {exc}",))
        finally:
            self.told.set()
            self.done.set()


# -- what dead keepers left ------------------------------------------------------------------------


def recover(
    folder: Path,
    holder: Mapping[str, Any],
    tell: Callable[[dict[str, Any]], None],
    *,
    held_too: bool = False,
) -> dict[str, SafeStateReport]:
    """Make safe every armed instrument whose keeper is dead; what became of each.

    An instrument whose lease is held has a living keeper, whose business it is.

    Args:
        folder: where the records lie.
        holder: who we are, for the leases taken meanwhile.
        tell: told of every event.
        held_too: also those whose policy is to be left on.
    """
    left_on: list[Held] = []
    for row in list(records(folder, "armed")):
        resource = str(row["resource"])
        with contextlib.suppress(LeaseError):
            lease = _lease(folder, resource, holder)
            left = read_record(folder, "armed", resource)  # again, now that nobody changes it
            if left is None or (left.get("policy") == "hold" and not held_too):
                lease.release()
                continue
            try:
                left = sound(resource, left)
                held = Held(resource, left["opening"], lease, folder, holder, tell)
                held.adopt(left)
            except DrivebayError as exc:
                _log.error("%s", exc)
                lease.release()
                continue
            left_on.append(held)
    try:
        return make_all_safe(left_on, forced=True)
    finally:
        for held in left_on:
            held.close()


def _lease(folder: Path, resource: str, holder: Mapping[str, Any]) -> Lease:
    """The lease of what may be on; a watchman that has it is waited for. Raises: LeaseError."""
    deadline_s = time.monotonic() + _WATCHMANS_S
    while True:
        try:
            return Lease.take(folder, resource, holder)
        except LeaseError as exc:
            if WATCHMAN not in exc.holder or time.monotonic() > deadline_s:
                raise
        time.sleep(0.02)


def sound(resource: str, left: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of what is armed with nothing in it that could do harm.

    Anybody can write such a file, so it may say anything: what it makes an instrument do it could
    do without us, but no library is loaded because it says so.

    Raises:
        LeaseError: it is no such record.
    """
    declared, opening = left.get("safe_state"), left.get("opening")
    try:
        parse_resource(resource)
        if not isinstance(declared, dict) or not isinstance(opening, dict):
            raise TypeError("no safe state")
        deadline_s = float(declared.get("deadline_s") or 1.0)
        timeout_s = float(opening.get("timeout_s") or 5.0)
        if not (0 < deadline_s <= MAX_TIMEOUT_S and 0 < timeout_s <= MAX_TIMEOUT_S):
            raise ValueError("a deadline out of range")
        kept: dict[str, Any] = {"timeout_s": timeout_s}
        if opening.get("baud_rate") is not None:
            kept["baud_rate"] = int(opening["baud_rate"])
        if opening.get("terminator") in {"\n", "\r", "\r\n"}:
            kept["terminator"] = opening["terminator"]
        library = opening.get("visa_library")
        if isinstance(library, str) and _is_trusted(library):
            kept["visa_library"] = library
        question = declared.get("verify")
        safe_state = {
            "deadline_s": deadline_s,
            "interrupt": declared.get("interrupt"),
            "writes": [str(each) for each in declared.get("writes") or ()],
            "verify": {key: str(question[key]) for key in ("query", "equals")}
            if question
            else None,
        }
    except (TypeError, ValueError, KeyError, ResourceError) as exc:
        raise LeaseError(
            f"{resource}: what a dead keeper left of it cannot be read ({exc}); look at it, then"
            " acknowledge",
            resource=resource,
        ) from exc
    return {**left, "opening": kept, "safe_state": safe_state}


def _is_trusted(library: str) -> bool:
    """Whether a VISA library may be loaded because a record names it."""
    if library.startswith("@"):
        return library.strip("@").isidentifier()  # a package of this Python's
    try:
        found = os.stat(library)
    except OSError:
        return False
    writable = stat.S_IMODE(found.st_mode) & 0o022
    return found.st_uid in {0, os.getuid()} and not writable
