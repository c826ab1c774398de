"""Columns that grow as the chunks of a run are read, each number copied once.

Promises: an array that was handed out is read-only and never changes, whatever is read after it;
where the number of rows is known before, nothing is copied a second time. Never looks at a
checksum: what comes here was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drivebay._core.runs import fileformat

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class GrowingColumns:
    """The columns of a run, as far as it was read.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, columns: Sequence[fileformat.StoredColumn], room: int) -> None:
        """Begin.

        Args:
            columns: what a chunk consists of.
            room: rows to have room for, from a source that can be believed; more may come.
        """
        import numpy as np

        self.rows = 0
        self._columns = tuple(columns)
        self._arrays: dict[str, Array] = {
            column.name: np.empty(room, fileformat.dtype(column)) for column in self._columns
        }
        self._room = room

    def take(self, rows: int, data: bytes) -> None:
        """Add the rows of a chunk."""
        end = self.rows + rows
        if end > self._room:
            self._grow(max(end, 2 * self._room))
        for name, part in fileformat.decode(self._columns, rows, data).items():
            self._arrays[name][self.rows : end] = part
        self.rows = end

    def arrays(self) -> dict[str, Array]:
        """Return what there is, read-only."""
        found = {name: array[: self.rows] for name, array in self._arrays.items()}
        for array in found.values():
            array.flags.writeable = False
        return found

    def _grow(self, room: int) -> None:
        """Move to larger arrays; those handed out stay where they are."""
        import numpy as np

        for name, array in self._arrays.items():
            larger = np.empty(room, array.dtype)
            larger[: self.rows] = array[: self.rows]
            self._arrays[name] = larger
        self._room = room
