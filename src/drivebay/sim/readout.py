"""What a converter makes of an exact value: noise that shrinks with integration, and steps.

Promises: the same seed and the same sequence of readings give the same values. Never draws a
number more or less than one a reading.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence

# Drawing a deviate costs more than all the rest of a reading, so a prime number of them is reused.
NOISE_POOL = 4099
# White noise at 1 power line cycle as a share of the range (rms), unless an instrument says other:
# 2 pA on a 1 uA range.
NOISE_OF_RANGE = 2e-6
OVERRANGE = 1.05


class Deviates:
    """Standard normal deviates from a seed; a pool of them repeats."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed).gauss
        self._pool = [draw(0.0, 1.0) for _ in range(NOISE_POOL)]
        self._drawn = 0

    def take(self, count: int) -> list[float]:
        """The next ``count`` of them."""
        pool, first = self._pool, self._drawn
        self._drawn = (first + count) % NOISE_POOL
        taken = pool[first : first + count]
        while len(taken) < count:
            taken += pool[: count - len(taken)]
        return taken


class Converter:
    """Turns exact values into readings.

    Attributes:
        noise: a factor on the noise; 0 for none.
    """

    def __init__(self, seed: int, noise: float = 1.0) -> None:
        """A converter with its own noise.

        Raises:
            ValueError: ``noise`` is negative or not finite.
        """
        if not (math.isfinite(noise) and noise >= 0):
            raise ValueError(f"noise must be finite and >= 0, got {noise!r}")
        self.noise = noise
        self._deviates = Deviates(seed)

    def reading(
        self,
        value: float,
        full_scale: float,
        nplc: float,
        *,
        steps: float = 1e6,
        noise_of_range: float = NOISE_OF_RANGE,
    ) -> float:
        """One reading.

        Args:
            value: what is there.
            full_scale: of the range it is read on, in the same unit.
            nplc: power line cycles it integrates, averaging included.
            steps: how many steps the range has.
            noise_of_range: rms noise at 1 PLC, as a share of the range.
        """
        sigma = noise_of_range * self.noise * full_scale / math.sqrt(nplc)
        step = full_scale / steps
        return round((value + sigma * self._deviates.take(1)[0]) / step) * step


def range_for(value: float, ranges: Sequence[float], overrange: float = OVERRANGE) -> float:
    """The lowest range that holds a value; the highest if none does.

    Args:
        value: with any sign.
        ranges: nominal full scales, ascending.
        overrange: how far beyond its name a range goes.

    >>> range_for(2.05, (0.2, 2.0, 20.0)), range_for(-3.0, (0.2, 2.0, 20.0))
    (2.0, 20.0)
    """
    place = bisect_left(ranges, abs(value) / overrange / 1.000001)
    return ranges[min(place, len(ranges) - 1)]
