"""Every output of this machine off, whoever opened it; and taking off a latch.

Promises: needs no lease and no plugin; asks every keeper at the same time, ends one that hangs, and
makes safe by their records what dead keepers left on. Says of each instrument what became of it,
and calls nothing off that did not say so itself. What no keeper of this machine ever opened is not
known here.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

from drivebay._core.errors import DrivebayError, LeaseError
from drivebay._core.keeper.client import report_of, running_keeper
from drivebay._core.keeper.neighbours import KeeperSilentError, call_public, end_keeper
from drivebay._core.keeper.records import (
    holders,
    lease_folder,
    lock_owner,
    read_holder,
    read_record,
    records,
    remove_record,
)
from drivebay._core.keeper.safing import SafeStateReport
from drivebay._core.keeper.together import sound
from drivebay._core.links import parse_resource

_log = logging.getLogger("drivebay.keeper")

_RECOVER_S: Final = 10.0
"""How long another process may take over making safe what a dead keeper left."""
_PAUSE_S: Final = 0.1


def all_outputs_off() -> dict[str, SafeStateReport]:
    """Switch off every output that Drivebay opened on this machine, whoever did; ask nobody.

    A policy that leaves an output on is no reason to. The programs that own the instruments cannot
    switch on again until somebody calls :func:`acknowledge` or opens the instrument anew.

    Returns:
        What became of each instrument, by address. It is off where ``verified`` is True; False
        means that it says otherwise or does not answer, None that nobody could ask it.

    Raises:
        LeaseError: the folder that says who has which instrument cannot be used.
    """
    folder = lease_folder()
    found: dict[str, SafeStateReport] = {}
    silent: set[str] = set()
    threads = [
        threading.Thread(target=_ask, args=(str(path), found, silent), daemon=True)
        for path in sorted(folder.glob("keeper-*.socket"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _end_the_silent(folder, found, silent)
    _recover(folder, found)
    for row in holders(folder):
        resource = str(row["resource"])
        if resource not in found and lock_owner(folder, resource):
            found[resource] = SafeStateReport(problems=("its keeper did not answer",))
    for row in records(folder, "unsafe"):
        resource, problems = str(row["resource"]), row.get("problems")
        told = tuple(map(str, problems)) if isinstance(problems, list) else ()
        if resource not in found:
            found[resource] = SafeStateReport(verified=False, problems=told)
    return dict(sorted(found.items()))


def _ask(path: str, found: dict[str, SafeStateReport], silent: set[str]) -> None:
    """Thread of one keeper: everything off."""
    try:
        answer: dict[str, Any] = call_public(path, "estop")
    except KeeperSilentError:
        silent.add(path)
    except DrivebayError as exc:
        _log.warning("a keeper at %s refuses: %s", path, exc)
    else:
        found.update({name: report_of(data) for name, data in answer.items()})


def _end_the_silent(folder: Path, found: dict[str, SafeStateReport], silent: set[str]) -> None:
    """End keepers that hang: what they left on is in their records, and made safe next."""
    for row in list(holders(folder)):
        resource = str(row["resource"])
        if resource not in found and row.get("socket") in silent:
            try:
                end_keeper(folder, resource)
            except LeaseError as exc:
                found[resource] = SafeStateReport(problems=(str(exc),))


def _recover(folder: Path, found: dict[str, SafeStateReport]) -> None:
    """Make safe what dead keepers left on; somebody else may be about it already."""
    deadline = time.monotonic() + _RECOVER_S
    seen: set[str] = set()
    while left := {str(row["resource"]) for row in records(folder, "armed")} - set(found):
        seen |= left
        try:
            keeper = running_keeper()
            answer = keeper.call("recover", True, timeout_s=3 * _RECOVER_S)
            keeper.rest()
        except DrivebayError as exc:
            found.update(dict.fromkeys(left, SafeStateReport(problems=(str(exc),))))
            return
        found.update({name: report_of(data) for name, data in answer.items()})
        if not left - set(found):
            break
        if time.monotonic() > deadline:
            unread = SafeStateReport(problems=("what was left of it cannot be made safe",))
            found.update(dict.fromkeys(left - set(found), unread))
            return
        time.sleep(_PAUSE_S)
    for resource in seen - set(found):
        # Its record went while we looked, and only who confirmed it removes one.
        found[resource] = SafeStateReport(verified=True)


def acknowledge(resource: str) -> bool:
    """Take the latch off an instrument: a person has looked at it; whether there was one.

    Args:
        resource: its address.

    Raises:
        ResourceError: that is no address.
        LeaseError: another user's program holds it, and he or root must do it.
        OSError: what is written of it cannot be removed.
    """
    text = parse_resource(resource).text
    folder = lease_folder()
    if lock_owner(folder, text):
        socket = str(read_holder(folder, text).get("socket"))
        with contextlib.suppress(KeeperSilentError):
            answer: bool = call_public(socket, "acknowledge", text)
            return answer
    # Of an instrument that nobody holds; one that hangs is asked for everything off first.
    latched = remove_record(folder, "unsafe", text)
    left = read_record(folder, "armed", text)
    # One that says what makes it safe stays: whoever opens it next switches off what is on.
    if left is not None and (latched or not _is_sound(text, left)):
        return remove_record(folder, "armed", text) or latched
    return latched


def _is_sound(resource: str, left: dict[str, Any]) -> bool:
    try:
        sound(resource, left)
    except LeaseError:
        return False
    return True
