"""What runs are looked for by: validated criteria, all of which a run must meet.

Promises: a criterion that can never match (a state there is not, a time nobody can read) is refused
with what would do, instead of finding nothing. Knows nothing of where runs are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from drivebay._core.errors import RunError, nearest
from drivebay._core.index import normal_model
from drivebay._core.runs import fileformat

STATES: Final = ("running", "done", "aborted", "failed", "interrupted", "damaged")

_UNITS_S: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
    **dict.fromkeys(("w", "week"), 7 * 86400.0),
    "month": 30 * 86400.0,
    "year": 365 * 86400.0,
}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?(?:\s+ago)?", re.IGNORECASE)
_EXAMPLES: Final = "'2 days', '90 min', 'today', '2026-11-22' or '2026-11-22 14:30'"


@dataclass(frozen=True, slots=True)
class Query:
    """Criteria, ready to be compared; the default lets every run through.

    Attributes:
        equal: names of facts and what they must be, case ignored.
        tags: tags the run must have, all of them.
        since: earliest start as a run says it (ISO 8601, UTC), or empty.
        until: latest start likewise; not included itself.
        words: pieces of text that must all occur in what is known of the run, case folded.
    """

    equal: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    words: tuple[str, ...] = ()


def query(
    *,
    method: str | None = None,
    alias: str | None = None,
    resource: str | None = None,
    model: str | None = None,
    serial: str | None = None,
    plugin: str | None = None,
    user: str | None = None,
    state: str | None = None,
    tag: str | Iterable[str] = (),
    since: str | datetime | timedelta | None = None,
    until: str | datetime | timedelta | None = None,
    text: str | None = None,
) -> Query:
    """Return checked criteria; those that are None or empty are none.

    Args:
        method: the measurement's name.
        alias: the instrument's name in the bench file.
        resource: the instrument's address.
        model: what the instrument said its model is; ``2400`` is ``MODEL 2400`` too.
        serial: its serial number likewise.
        plugin: name of the driver plugin.
        user: who measured.
        state: one of ``running, done, aborted, failed, interrupted, damaged``.
        tag: one tag, or several that the run must all have.
        since: runs that began then or later: a moment, or an age (a timedelta, ``"2 days"``).
            A moment without a time zone is in this machine's.
        until: runs that began before; likewise.
        text: words, each of which occurs somewhere in the run's facts, parameters, tags or in the
            beginnings of its notes.

    Raises:
        RunError: the state is none, or a time cannot be read.
    """
    if state is not None and state not in STATES:
        raise RunError(f"no run is {state!r}{nearest(state, STATES)} ({', '.join(STATES)})")
    facts = {
        "method": method,
        "alias": alias,
        "resource": resource,
        "model": None if model is None else normal_model(model),
        "serial": serial,
        "plugin": plugin,
        "user": user,
        "state": state,
    }
    return Query(
        equal=tuple((name, str(value)) for name, value in facts.items() if value is not None),
        tags=(tag,) if isinstance(tag, str) and tag else tuple(tag),
        since="" if since is None else fileformat.iso(moment(since, "since")),
        until="" if until is None else fileformat.iso(moment(until, "until")),
        words=tuple((text or "").casefold().split()),
    )


def moment(
    given: str | datetime | timedelta, where: str, *, now: datetime | None = None
) -> datetime:
    """Return the UTC moment that somebody means.

    Args:
        given: a moment, an age, or the text of either.
        where: what it is for, for the error message.
        now: what ages count from; the present by default.

    Raises:
        RunError: nobody can tell what is meant.

    >>> now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    >>> moment("2 days", "since", now=now).isoformat()
    '2026-11-20T12:00:00+00:00'
    """
    now = now or datetime.now(UTC)
    try:
        if isinstance(given, timedelta):
            return now - given
        when = given if isinstance(given, datetime) else _read(given.strip(), where, now)
        return when.astimezone(UTC)
    except (OverflowError, ValueError) as exc:
        raise RunError(f"{where} is {given!r}, which is no time; try {_EXAMPLES}") from exc


def _read(text: str, where: str, now: datetime) -> datetime:
    day = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if text.casefold() in {"today", "yesterday"}:
        return day - timedelta(days=text.casefold() == "yesterday")
    if age := _AGE.fullmatch(text):
        unit_s = _UNITS_S.get(age[2].casefold())
        if unit_s is None:
            known = ", ".join(name for name in _UNITS_S if len(name) > 1)
            raise RunError(f"{where} is {text!r}: no unit {age[2]!r} of time ({known})")
        return now - timedelta(seconds=float(age[1]) * unit_s)
    return datetime.fromisoformat(text)
