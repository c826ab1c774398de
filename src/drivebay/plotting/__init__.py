"""Plots of runs: figures for a paper or a notebook, and curves for the terminal.

Promises: axes carry units with engineering prefixes, both directions of a sweep and points in
compliance can be told apart, without colours too; the same runs give the same bytes. No global
state of matplotlib is touched (no pyplot), so drawing in a thread or without a display works.
``plot_text`` needs nothing but the standard library, ``ascii_plot`` numpy; matplotlib (the extra
``drivebay[plot]``) is imported when the first figure is drawn.
"""

from __future__ import annotations

from drivebay.plotting.curves import Plottable
from drivebay.plotting.figures import plot_run, plot_runs
from drivebay.plotting.live import LivePlot
from drivebay.plotting.numbers import engineering, with_uncertainty
from drivebay.plotting.terminal import ascii_plot
from drivebay.plotting.text import plot_text

__all__ = [
    "LivePlot",
    "Plottable",
    "ascii_plot",
    "engineering",
    "plot_run",
    "plot_runs",
    "plot_text",
    "with_uncertainty",
]
