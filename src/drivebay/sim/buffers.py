"""A reading buffer: named columns, a size, and what is left of them when it is full.

Promises: at most its size; a ring buffer forgets the oldest, another stops and says so once. Never
formats: an instrument has its own way to say a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


class ReadingBuffer:
    """Readings as rows of named numbers.

    Attributes:
        columns: names, in order.
        size: how many rows it holds.
        ring: whether a full buffer forgets its oldest row.
    """

    def __init__(self, columns: Sequence[str], size: int, *, ring: bool = False) -> None:
        """An empty buffer.

        Raises:
            ValueError: it has no column or no place.
        """
        if not columns or size < 1:
            raise ValueError(f"a buffer has columns and places, got {columns!r} and {size!r}")
        self.columns = tuple(columns)
        self.size = size
        self.ring = ring
        self._rows: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        """Whether the next row has no place of its own."""
        return len(self._rows) >= self.size

    def put(self, row: Mapping[str, float]) -> bool:
        """Stores one row; True if that filled the buffer.

        Raises:
            KeyError: a column is missing.
        """
        if self.full and not self.ring:
            return False
        was_full = self.full
        self._rows.append(tuple(row[name] for name in self.columns))
        if was_full:
            del self._rows[0]
        return self.full and not was_full

    def resize(self, size: int) -> None:
        """A new size; what was stored is lost."""
        self.size = size
        self._rows.clear()

    def clear(self) -> None:
        """Forgets every row."""
        self._rows.clear()

    def rows(
        self, first: int = 1, last: int | None = None, columns: Sequence[str] | None = None
    ) -> list[tuple[float, ...]]:
        """Rows ``first`` to ``last``, both counted from 1 and included.

        Raises:
            IndexError: there are no such rows.
            KeyError: there is no such column.
        """
        end = len(self._rows) if last is None else last
        if not (1 <= first <= end <= len(self._rows)):
            raise IndexError(f"rows {first} to {end} of {len(self._rows)}")
        chosen = self._rows[first - 1 : end]
        if columns is None:
            return chosen
        places = [self._place(name) for name in columns]
        return [tuple(row[place] for place in places) for row in chosen]

    def column(self, name: str) -> list[float]:
        """All values of a column.

        Raises:
            KeyError: there is no such column.
        """
        place = self._place(name)
        return [row[place] for row in self._rows]

    def statistics(self, name: str) -> dict[str, float]:
        """``mean``, ``sdev`` (of a sample), ``min``, ``max`` of a column.

        Raises:
            KeyError: there is no such column.
            IndexError: the buffer is empty.
        """
        values = self.column(name)
        if not values:
            raise IndexError("the buffer is empty")
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        return {
            "mean": mean,
            "sdev": math.sqrt(squares / max(len(values) - 1, 1)),
            "min": min(values),
            "max": max(values),
        }

    def _place(self, name: str) -> int:
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; columns: {', '.join(self.columns)}")
        return self.columns.index(name)
