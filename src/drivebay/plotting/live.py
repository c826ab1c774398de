"""A figure that grows while something is measured, in a notebook.

Promises: the measurement goes on whatever happens to the picture; drawing takes at most a quarter
of the time; a loop that is left stops the measurement as it would without a picture. It needs no
widget and no front end of its own: one output of the cell is drawn anew. Where there is no notebook
nothing is drawn until :attr:`LivePlot.figure` is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drivebay.plotting.figures import plot_run

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    Chunk = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

__all__ = ["LivePlot"]

_SHARE = 4  # of the time; at most one part of it is spent on drawing


class LivePlot:
    """Chunks as they are taken, and a figure of all there are so far.

    >>> from drivebay.plotting import LivePlot
    >>> points = LivePlot([{"voltage_v": [0.0, 1.0], "current_a": [0.0, 0.5]}])
    >>> for chunk in points:  # or LivePlot(smu.stream("iv_sweep", ...))
    ...     print(max(chunk["current_a"]))
    0.5

    Attributes:
        drawn: how often the figure has been drawn.
        problem: why it could not be drawn, the last time it could not; None if it always could.
    """

    def __init__(
        self,
        stream: Iterable[Chunk],
        *,
        every_s: float = 0.25,
        log: bool | None = None,
        units: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is measured until the first chunk is asked for.

        Args:
            stream: what ``smu.stream(...)`` gave, or any chunks.
            every_s: shortest time between two drawings, in seconds.
            log: as in :func:`drivebay.plotting.plot_run`.
            units: of the columns, for chunks that belong to no run.

        Raises:
            ModuleNotFoundError: matplotlib is not installed (``pip install 'drivebay[plot]'``);
                better now than with an instrument measuring.
        """
        if importlib.util.find_spec("matplotlib") is None:
            raise ModuleNotFoundError(
                "plotting needs matplotlib, which is not installed: pip install 'drivebay[plot]'",
                name="matplotlib",
            )
        self.drawn = 0
        self.problem: Exception | None = None
        self._stream = stream
        self._every_s = every_s
        self._log = log
        self._points = _Points(dict(units or {}))
        self._figure: Figure | None = None
        self._handle: Any = None
        self._next_s = 0.0

    def __iter__(self) -> Iterator[Chunk]:
        """Give each chunk; in a notebook the figure has been drawn with it, if it was time.

        Raises:
            DrivebayError: what the stream raises; the figure shows what there is.
        """
        in_notebook = _in_notebook()
        given = iter(self._stream)
        try:
            for chunk in given:
                self._points.add(chunk)
                self._figure = None
                if in_notebook and time.monotonic() >= self._next_s:
                    self._show()
                yield chunk
        finally:
            # The stream holds on to its own iterator: without this, leaving the loop would leave
            # the instrument measuring for as long as anybody holds the stream.
            if close := getattr(given, "close", None):
                close()
            if in_notebook:
                self._show()

    @property
    def run(self) -> Any:
        """The record of the measurement; None for chunks that belong to none.

        Raises:
            PluginStateError: it has not begun.
        """
        return getattr(self._stream, "run", None)

    @property
    def figure(self) -> Figure:
        """The figure of all points so far.

        Raises:
            ValueError: there is nothing to plot.
        """
        if self._figure is None:
            self._figure = plot_run(self._points.of(self.run), log=self._log)
            self.drawn += 1
        return self._figure

    def _show(self) -> None:
        began_s = time.monotonic()
        try:
            figure = self.figure
            if self._handle is None:
                self._handle = _display(figure)
            else:
                self._handle.update(figure)
        except Exception as exc:  # noqa: BLE001 - the border: no picture stops a measurement
            self.problem = exc
        ended_s = time.monotonic()
        self._next_s = ended_s + max(self._every_s, (_SHARE - 1) * (ended_s - began_s))


class _Points:
    """All points so far, as something to plot: with the facts of the run they belong to."""

    def __init__(self, units: dict[str, str]) -> None:
        self.units = units
        self._chunks: dict[str, list[Any]] = {}
        self._run: Any = None

    def add(self, chunk: Chunk) -> None:
        for name, values in chunk.items():
            self._chunks.setdefault(name, []).append(values)

    def of(self, run: Any) -> _Points:
        """Return this, knowing what the run is."""
        self._run = run
        if run is not None:
            self.units = dict(run.units)
        return self

    @property
    def columns(self) -> dict[str, Any]:
        import numpy as np

        # Joined once: the next drawing adds only what has come since.
        for name, parts in self._chunks.items():
            if len(parts) > 1 or not isinstance(parts[0], np.ndarray):
                self._chunks[name] = [np.concatenate([np.atleast_1d(part) for part in parts])]
        return {name: parts[0] for name, parts in self._chunks.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._run is None:
            raise AttributeError(name)
        return getattr(self._run, name)  # what the caption says of it


def _in_notebook() -> bool:
    """Whether this code runs in a kernel, whose front end shows what it is given."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def _display(figure: Figure) -> Any:
    display: Any = importlib.import_module("IPython.display").display
    return display(figure, display_id=True)
