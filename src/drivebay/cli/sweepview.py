"""A measurement on the screen while it runs: a progress bar and, on a terminal, the live curve.

Draws only; the points go past it. On anything but a terminal it prints nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from rich.console import RenderableType

    from drivebay import Stream

    Chunk = dict[str, np.ndarray[Any, Any]]

_HEIGHT = 16
_WIDTH = 84
# Columns carry their unit as a suffix of their name.
_UNITS = {"v": "V", "a": "A", "s": "s", "hz": "Hz", "ohm": "ohm", "f": "F", "k": "K", "w": "W"}


class View(Protocol):
    """What is told of each chunk."""

    def add(self, chunk: Chunk) -> None:
        """Take note of points that were measured."""


class _Silent:
    def add(self, chunk: Chunk) -> None:
        """Nothing is shown."""


class _Live:
    """Redraws the curve of two columns and a bar."""

    def __init__(self, parameters: Mapping[str, Any], curve: bool, size: tuple[int, int]) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._curve = curve
        self._width = max(30, min(_WIDTH, size[0] - 1))
        self._height = max(3, min(_HEIGHT, size[1] - 6))
        self._axes: tuple[str, str] | None = None
        self._span = _span_of(parameters)
        self._parts: tuple[list[Any], list[Any]] = ([], [])
        bar = BarColumn(bar_width=48)
        self._progress = Progress(
            TextColumn("     "), bar, MofNCompleteColumn(), TextColumn("points"), Elapsed()
        )
        self._task = self._progress.add_task("sweep", total=total_of(parameters))

    def add(self, chunk: Chunk) -> None:
        """Take note of points that were measured."""
        names = list(chunk)
        if self._curve and self._axes is None:
            self._axes = _axes_of(names)
        if self._axes is not None:
            for part, name in zip(self._parts, self._axes, strict=True):
                part.append(chunk[name])
        self._progress.advance(self._task, len(chunk[names[0]]) if names else 0)

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        if not self._parts[0]:
            return self._progress
        return Group(Text(self.curve(), style="cyan"), self._progress)

    def curve(self) -> str:
        """What was measured so far, as text."""
        import numpy as np

        from drivebay.plotting import plot_text

        x, y = (np.concatenate(part) for part in self._parts)
        units = [_UNITS.get(name.rpartition("_")[2], "") for name in self._axes or ("", "")]
        return plot_text(
            x, y, self._width, self._height, x_unit=units[0], y_unit=units[1], x_range=self._span
        )


@contextlib.contextmanager
def view(stream: Stream, *, curve: bool, on_stderr: bool = False) -> Iterator[View]:
    """Show a stream while it is read.

    Args:
        stream: the measurement, for the number of its points.
        curve: whether to draw the points too.
        on_stderr: draw there, because standard output is for the result.
    """
    target = sys.stderr if on_stderr else sys.stdout
    if not target.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=target)
    shown = _Live(stream.parameters, curve, (console.width, console.height))
    with Live(shown, console=console, refresh_per_second=10, transient=not curve) as live:
        yield shown
        live.refresh()


def total_of(parameters: Mapping[str, Any]) -> int | None:
    """How many points a measurement will give; None where its parameters do not say."""
    points = parameters.get("points")
    if not isinstance(points, int):
        return None
    return 2 * points - 1 if parameters.get("up_and_down") is True else points


def _span_of(parameters: Mapping[str, Any]) -> tuple[float, float] | None:
    """The voltages a sweep will cover, so that its curve grows from one side to the other."""
    ends = (parameters.get("start_v"), parameters.get("stop_v"))
    if not all(isinstance(end, int | float) for end in ends) or ends[0] == ends[1]:
        return None
    low, high = sorted(float(end) for end in ends if end is not None)
    return low, high


def _axes_of(names: list[str]) -> tuple[str, str] | None:
    """What to draw against what: the first two columns, as their method declares them."""
    return (names[0], names[1]) if len(names) > 1 else None
