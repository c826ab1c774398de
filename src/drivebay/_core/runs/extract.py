"""What an export is made from: a run as it was at one moment, read block by block.

Promises: every format tells of the same rows and the same facts, also while the run is still being
measured; at most a block and a stored chunk are in memory. Never writes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import plain

if TYPE_CHECKING:
    import numpy as np

    from drivebay._core.runs.run import Run

    Array = np.ndarray[Any, np.dtype[Any]]

NULL_IN_COLUMNS = (
    "not a number; where not_finite_columns names the row under inf or -inf, that infinity"
)
"""Said in every JSON of a run, for whoever finds it without its manual."""

# Rows handed on at a time: half a megabyte a column. Parquet wants its row groups no smaller.
BLOCK_ROWS = 65_536


def needed(module: str, who: str) -> Any:
    """Return a library of the extra ``[export]``.

    Raises:
        RunError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        package = module.partition(".")[0]
        if exc.name and exc.name.partition(".")[0] != package:
            package = f"{package} and {exc.name}"
        raise RunError(
            f"{who} needs {package}, which is not installed: pip install 'drivebay[export]'"
        ) from exc


def about(run: Run) -> dict[str, Any]:
    """Return everything known of a run but its points, its traffic and its code, as strict JSON.

    A part that is damaged is null and named in ``problems``: it keeps nobody from the points. A
    number that JSON does not have is null and named in ``not_finite``, by its JSON pointer.
    """
    problems: list[str] = []

    def whole(part: Callable[[], Any]) -> Any:
        try:
            return part()
        except StoreError as exc:
            problems.append(str(exc))
            return None

    found = {
        **run.to_summary(),
        "parameters": run.parameters,
        "provenance": run.provenance,
        "ended_at": run.ended_at,
        "writer": run.writer,
        "bench": run.bench,
        "limits": run.limits,
        "tags": whole(lambda: list(run.tags)),
        "notes": whole(lambda: [{"at": n.at, "by": n.by, "text": n.text} for n in run.notes]),
        "kinds": run.kinds,
        "values": whole(lambda: run.values),
        "events": whole(
            lambda: [
                {"time_s": time_s, "kind": kind, "data": data} for time_s, kind, data in run.events
            ]
        ),
        "problems": problems,
    }
    return {**plain.strict(found), "not_finite": plain.not_finite(found)}


def not_finite_rows(array: Array, first_row: int = 0) -> dict[str, Any]:
    """Return what JSON cannot say of a column: how many are ``nan``, which rows ``inf``, ``-inf``.

    Args:
        array: a column, or a part of it.
        first_row: number of its first row.

    Returns:
        Nothing where all are numbers.
    """
    import numpy as np

    if array.dtype.kind != "f" or np.isfinite(array).all():
        return {}
    found: dict[str, Any] = {}
    if missing := int(np.isnan(array).sum()):
        found["nan"] = missing
    for word in ("inf", "-inf"):
        rows = np.flatnonzero(array == float(word)) + first_row
        if rows.size:
            found[word] = rows.tolist()
    return found


def distinct(names: Iterable[str], clean: Callable[[str], str]) -> dict[str, str]:
    """Return ``{name: cleaned name}``, no two alike: the later one gets ``_2``, ``_3`` and on.

    >>> distinct(["a/b", "a b", "c"], lambda name: name.replace("/", "_").replace(" ", "_"))
    {'a/b': 'a_b', 'a b': 'a_b_2', 'c': 'c'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = candidate = clean(name)
        number = 1
        while candidate in taken:
            number += 1
            candidate = f"{stem}_{number}"
        taken.add(candidate)
        found[name] = candidate
    return found


@dataclass(frozen=True, slots=True)
class Extract:
    """A run as an export sees it.

    Attributes:
        run: the run.
        rows: how many rows there were when it was looked at.
        units: unit of each column, in the order of the columns.
        kinds: kind of each column, ``float``, ``int`` or ``bool``.
        about: everything else that is known of it; see :func:`about`.
    """

    run: Run
    rows: int
    units: dict[str, str]
    kinds: dict[str, str]
    about: dict[str, Any]

    @classmethod
    def of(cls, run: Run) -> Extract:
        """Look at a run.

        Raises:
            StoreError: its file cannot be read.
        """
        rows = len(run)
        return cls(run, rows, run.units, run.kinds, about(run) | {"rows": rows})

    def about_text(self, indent: int | None = None) -> str:
        """Return :attr:`about` and the names of the columns as strict JSON."""
        whole = self.about | {"columns": list(self.units)}
        return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=indent)

    def blocks(self) -> Iterator[dict[str, Array]]:
        """Give the rows in order, :data:`BLOCK_ROWS` or more at a time; none when there are none.

        Raises:
            StoreError: a chunk is damaged, or rows are missing.
        """
        waiting: list[dict[str, Array]] = []
        held = seen = 0
        for chunk in self.run.chunks():
            if not self.units or seen == self.rows:
                break
            count = min(len(next(iter(chunk.values()))), self.rows - seen)
            waiting.append({name: array[:count] for name, array in chunk.items()})
            held, seen = held + count, seen + count
            if held >= BLOCK_ROWS:
                yield self._joined(waiting)
                waiting, held = [], 0
        if self.units and seen != self.rows:
            raise StoreError(f"{self.run.path} is damaged: {seen} rows are left of {self.rows}")
        if held:
            yield self._joined(waiting)

    def _joined(self, parts: list[dict[str, Array]]) -> dict[str, Array]:
        import numpy as np

        return {name: np.concatenate([part[name] for part in parts]) for name in self.units}
