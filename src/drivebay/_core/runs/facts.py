"""What the catalogue notes of a run, read from its file, which alone is believed.

Promises: a file that cannot be read gives facts too, with the state ``damaged`` and the reason. A
run whose writer died is made one file on the way. Never reads points.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from drivebay._core.errors import DrivebayError, StoreError
from drivebay._core.index import normal_model
from drivebay._core.runs import fileformat, marks, shelf
from drivebay._core.runs.run import Run
from drivebay._core.runs.writer import tidy

FOREIGN: Final = "foreign"
"""State of a database that has neither the name nor the mark of a run: somebody else's."""

_MOST_TEXT: Final = 2000  # characters that can be searched, of one run
_MOST_NOTE: Final = 200  # of them, of one note or reason
# What a head that is whole but makes no sense ends in: somebody else's file, or a hostile one.
_STRANGE: Final = (KeyError, TypeError, ValueError, AttributeError)
_PASSING: Final = (sqlite3.OperationalError, OSError)  # locked, no permission: gone by and by


class Facts(NamedTuple):
    """One run in the catalogue, in the order of its table's columns."""

    order: str
    """Sorts as the runs began: its id, or the like made of its start."""
    folder: str
    name: str
    id: str
    state: str
    method: str
    alias: str
    resource: str
    plugin: str
    model: str
    """As models are looked up: ``MODEL 2400`` and ``2400`` are one."""
    serial: str
    user: str
    started_at: str
    duration_s: float
    rows: int
    tags: str
    """Each between line feeds, so that a whole one is looked for."""
    modified_ns: int
    changed_ns: int
    size: int
    settled: int
    """1 if the same stamp means the same facts, 0 while it is written."""


def read(
    folder: Path, place: tuple[str, str], stamp: shelf.Stamp, *, believed: bool
) -> tuple[Facts, str]:
    """Return the facts of one file and the text that is searched.

    Args:
        folder: the store's.
        place: folder and name in it.
        stamp: the file's, from before it is read.
        believed: whether that stamp is old enough to tell a later change.
    """
    path = folder.joinpath(*place)
    unfinished = shelf.is_unfinished(path)
    try:
        run = open_tidied(path, unfinished)
        said = _marks(run)
        text = _storable("\n".join(_pieces(run, said))[:_MOST_TEXT]).casefold()
        return _of_run(run, said, place, stamp, believed and not unfinished), text
    except (DrivebayError, *_STRANGE) as exc:
        if not _is_ours(path):
            return _of_unread(path, FOREIGN, place, stamp, believed), ""
        lasting = not isinstance(exc.__cause__, _PASSING)
        return _of_unread(path, "damaged", place, stamp, believed and lasting), path.name.casefold()


def open_tidied(path: Path, unfinished: bool) -> Run:
    """Open a run; first make one file of it if its writer (or the last reader) left it in more.

    Raises:
        StoreError: the file is damaged or from a newer version.
    """
    if unfinished:
        tidy(path)
    run = Run(path)
    if run.is_one_file:
        return run
    tidy(path)
    return Run(path)


def look(path: Path, unfinished: bool) -> Run:
    """Open a run for a list: a damaged one too, and nothing that a list shows can raise later."""
    try:
        run = open_tidied(path, unfinished)
        len(run)  # reads its end too
    except StoreError as exc:
        return Run(path, damage=str(exc))
    except (DrivebayError, *_STRANGE) as exc:
        return Run(path, damage=f"{path} is damaged: {type(exc).__name__}: {exc}")
    return run


def agree(facts: Facts, run: Run) -> bool:
    """Whether facts of an unchanged file are still what the file says."""
    if facts.state == "damaged":  # or something in it that a list does not show is
        return True
    said = (run.id, run.method, run.resource, run.started_at)
    return (facts.id, facts.method, facts.resource, facts.started_at) == tuple(map(_storable, said))


def _of_run(
    run: Run, said: Sequence[marks.Mark], place: tuple[str, str], stamp: shelf.Stamp, settled: bool
) -> Facts:
    identity = run.identity if isinstance(run.identity, Mapping) else {}
    return Facts(
        order=run.id if shelf.ID.fullmatch(run.id) else _order(run.started_at),
        folder=place[0],
        name=place[1],
        id=_storable(run.id),
        state=run.state,
        method=_storable(run.method),
        alias=_storable(_alias(run)),
        resource=_storable(run.resource),
        plugin=_storable(run.plugin.get("name")),
        model=normal_model(_storable(identity.get("model"))),
        serial=_storable(identity.get("serial")),
        user=_storable(run.provenance.get("user")),
        started_at=_storable(run.started_at),
        duration_s=run.duration_s,
        rows=len(run),
        tags="".join(f"\n{tag}\n" for tag in marks.tags_of(said)),
        modified_ns=stamp[0],
        changed_ns=stamp[1],
        size=stamp[2],
        settled=int(settled),
    )


def _is_ours(path: Path) -> bool:
    """Whether a file that cannot be read is a run's, by its name or its mark."""
    if shelf.ID.fullmatch(shelf.stem(path.name)):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError:
        return False
    # Bytes 68 to 71 are the application id (sqlite.org/fileformat2.html, 1.3.11).
    return head[68:72] == fileformat.APPLICATION_ID.to_bytes(4, "big")


def _of_unread(
    path: Path, state: str, place: tuple[str, str], stamp: shelf.Stamp, settled: bool
) -> Facts:
    name = shelf.stem(path.name)
    changed = datetime.fromtimestamp(stamp[0] / 1e9, UTC)
    order = name if shelf.ID.fullmatch(name) else _order(fileformat.iso(changed))
    began = changed
    if order == name:
        with contextlib.suppress(ValueError):  # digits that are no date
            began = datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    nothing = dict.fromkeys(("method", "alias", "resource", "plugin", "model", "serial"), "")
    return Facts(
        order=order,
        folder=place[0],
        name=place[1],
        id=name,
        state=state,
        **nothing,
        user="",
        started_at=fileformat.iso(began),
        duration_s=0.0,
        rows=0,
        tags="",
        modified_ns=stamp[0],
        changed_ns=stamp[1],
        size=stamp[2],
        settled=int(settled),
    )


def _order(started_at: str) -> str:
    """What sorts among ids as that moment does.

    >>> _order("2026-11-22T23:15:02.123456+00:00")
    '20261122-231502'
    """
    digits = "".join(filter(str.isdigit, started_at[:19]))
    return f"{digits[:8]}-{digits[8:]}"


def _storable(value: object) -> str:
    """Text that SQLite takes: a lone half of a character, which JSON can hold, becomes ``?``."""
    return str(value or "").encode("utf-8", "replace").decode("utf-8")


def _marks(run: Run) -> Sequence[marks.Mark]:
    """What people said of it, read once; damage there hides no points, and ``verify`` names it."""
    try:
        return run.marks
    except StoreError:
        return ()


def _alias(run: Run) -> str:
    return str(run.bench.get("alias") or "")


def _pieces(run: Run, said: Sequence[marks.Mark]) -> Iterator[str]:
    """Everything a person may remember of a run, what identifies it best first."""
    yield from (run.id, run.path.name, run.method, _alias(run), run.resource)
    yield " ".join(str(run.plugin.get(key) or "") for key in ("name", "version"))
    yield str(run.provenance.get("user") or "")
    yield " ".join(marks.tags_of(said))
    yield _plain(run.identity)
    for each in run.instruments.values():
        yield f"{each.get('alias') or ''} {each.get('resource') or ''}"
        yield _plain(each.get("identity"))
    yield _plain(run.parameters)
    yield (run.reason or "")[:_MOST_NOTE]
    for note in marks.notes_of(said):
        yield f"{note.by} {note.text[:_MOST_NOTE]}"


def _plain(facts: Any) -> str:
    if isinstance(facts, Mapping):
        return " ".join(f"{key}={value}" for key, value in facts.items())
    return str(facts)
