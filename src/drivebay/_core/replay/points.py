"""Whether the points of a replay are those of the run: bit for bit, and if not, where.

Promises: two columns are equal only if all their bytes are, not-a-number included; a difference
says its first row and its largest size. Pure functions; runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Columns = Mapping[str, Array]


@dataclass(frozen=True)
class ColumnDifference:
    """One column that is not what the run holds.

    Attributes:
        column: its name.
        rows: how many of the rows that both have differ.
        first_row: the first of them, from 0; where only the number of rows differs, the first row
            that one of the two lacks.
        recorded: the value there, None where there is none.
        replayed: likewise.
        largest: the largest absolute difference of a finite number; 0 where there is none.
    """

    column: str
    rows: int
    first_row: int
    recorded: float | None
    replayed: float | None
    largest: float

    def __str__(self) -> str:
        return (
            f"column {self.column!r} differs in {self.rows} rows, first in row {self.first_row}:"
            f" recorded {_word(self.recorded)}, now {_word(self.replayed)}"
        )


def joined(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Return whole columns from chunks; a single value is a column of one row."""
    import numpy as np

    parts: dict[str, list[Array]] = {}
    for chunk in chunks:
        for name, values in chunk.items():
            parts.setdefault(name, []).append(np.atleast_1d(np.asarray(values)))
    return {name: np.concatenate(each) for name, each in parts.items()}


def compared(recorded: Columns, replayed: Columns, *, ended: bool = True) -> list[ColumnDifference]:
    """Return every column that differs, in the order of the run.

    Args:
        recorded: the run's columns.
        replayed: those of the replay.
        ended: the run was not broken off, so both must have as many rows.
    """
    names = [*recorded, *(name for name in replayed if name not in recorded)]
    found = (_one(name, recorded.get(name), replayed.get(name), ended) for name in names)
    return [each for each in found if each is not None]


def _one(
    name: str, recorded: Array | None, replayed: Array | None, ended: bool
) -> ColumnDifference | None:
    import numpy as np

    empty = np.empty(0)
    old = empty if recorded is None else recorded
    new = empty if replayed is None else replayed
    if np.can_cast(new.dtype, old.dtype, casting="same_kind"):
        new = new.astype(old.dtype)
    else:  # other kinds of numbers: equal only where they have the same value
        old, new = old.astype(float), new.astype(float)
    both = min(len(old), len(new))
    other = _rows(old[:both]) != _rows(new[:both])
    rows = np.flatnonzero(other.any(axis=1)) if both else np.empty(0, dtype=int)
    if not rows.size and (len(old) == len(new) or not ended):
        return None
    first = int(rows[0]) if rows.size else both
    return ColumnDifference(
        name, int(rows.size), first, _at(old, first), _at(new, first), _largest(old, new, both)
    )


def _rows(column: Array) -> Array:
    """The bytes of each row."""
    import numpy as np

    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.itemsize)


def _at(column: Array, row: int) -> float | None:
    return float(column[row]) if row < len(column) else None


def _largest(old: Array, new: Array, both: int) -> float:
    import numpy as np

    size = np.abs(old[:both].astype(float) - new[:both].astype(float))
    finite = size[np.isfinite(size)]
    return float(finite.max()) if finite.size else 0.0


def _word(value: float | None) -> str:
    return "nothing" if value is None else repr(value)
