"""What a benchmark says: one quantity beside its limit and peers, against what it must reach."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass
class Row:
    """One line of the page.

    Attributes:
        quantity: what was measured.
        figure: Drivebay's own figure, with its unit.
        beside: limit and peers, each with its figure; a peer that is not installed says so.
        ratio: the comparison that counts, in words.
        must: what it must reach.
        met: whether it does; None where a peer is missing and nothing can be said.
        script: the file that measures it.
    """

    quantity: str
    figure: str
    beside: str
    ratio: str
    must: str
    met: bool | None
    script: str

    def line(self) -> str:
        verdict = {True: "yes", False: "**no**", None: "not measured"}[self.met]
        cells = (
            self.quantity,
            self.figure,
            self.beside,
            self.ratio,
            self.must,
            verdict,
            self.script,
        )
        return "| " + " | ".join(cells) + " |"


def installed(peer: str) -> bool:
    """Whether a peer can be measured here; peers live in the environment of ``make bench`` only."""
    return importlib.util.find_spec(peer) is not None


def seconds(value: float) -> str:
    """A duration with three digits and a fitting unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
