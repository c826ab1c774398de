"""What the Truevolt multimeters can do, as data.

Facts from the data sheet *Digital Multimeters 34460A, 34461A, 34465A (6 1/2 digit), 34470A (7 1/2
digit)*, 5991-1983EN, "Specifications", and the *Truevolt Series DMM Operating and Service Guide*,
34460-90901, "Memory and reading storage". Never contains behaviour. Shunts are those of the data
sheet's burden voltages, rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

OHMS = (100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
# What flows through the device on each resistance range.
TEST_CURRENT_A = {
    100.0: 1e-3,
    1e3: 1e-3,
    1e4: 100e-6,
    1e5: 10e-6,
    1e6: 5e-6,
    1e7: 500e-9,
    1e8: 500e-9,
    1e9: 500e-9,
}
SHUNT_OHM = {
    1e-6: 1000.0,
    1e-5: 1000.0,
    1e-4: 100.0,
    1e-3: 100.0,
    1e-2: 1.0,
    1e-1: 1.0,
    1.0: 0.1,
    3.0: 0.1,
    10.0: 0.01,
}
# Test currents stop here: open leads show it. The data sheet has no figure; this one is assumed.
OPEN_LEADS_V = 12.0
# The 100 Mohm and 1 Gohm ranges measure beside this one (data sheet, footnote of the test current).
PARALLEL_OHM = 1e7


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        name: the model in ``*IDN?``.
        currents_a: ranges of DC current.
        ohms: ranges of resistance.
        nplc: integration times it has, with the resolution of each as a share of the range.
        memory: readings it holds.
        most_samples: largest ``SAMPle:COUNt``.
        digitizes: whether it has a sample timer, apertures in seconds and offset compensation.
    """

    name: str
    currents_a: tuple[float, ...]
    ohms: tuple[float, ...]
    nplc: dict[float, float]
    memory: int
    most_samples: int
    digitizes: bool

    def ranges(self, function: str) -> tuple[float, ...]:
        """The ranges of a function, ascending."""
        if function == "VOLT":
            return (0.1, 1.0, 10.0, 100.0, 1000.0)
        return self.currents_a if function == "CURR" else self.ohms


_AMPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 3.0)
_QUICK = (0.001, 0.002, 0.006, 0.02, 0.06, 0.2, 1.0, 10.0, 100.0)
_PLAIN = (0.02, 0.2, 1.0, 10.0, 100.0)
MODELS = {
    "34460A": Model(
        "34460A",
        _AMPS,
        OHMS,
        dict(zip(_PLAIN, (300e-6, 100e-6, 30e-6, 10e-6, 3e-6), strict=True)),
        1_000,
        1_000_000,
        digitizes=False,
    ),
    "34461A": Model(
        "34461A",
        (*_AMPS, 10.0),
        OHMS,
        dict(zip(_PLAIN, (100e-6, 10e-6, 3e-6, 1e-6, 0.3e-6), strict=True)),
        10_000,
        1_000_000,
        digitizes=False,
    ),
    "34465A": Model(
        "34465A",
        (1e-6, 1e-5, *_AMPS, 10.0),
        (*OHMS, 1e9),
        dict(
            zip(
                _QUICK,
                (30e-6, 15e-6, 6e-6, 3e-6, 1.5e-6, 0.7e-6, 0.3e-6, 0.1e-6, 0.03e-6),
                strict=True,
            )
        ),
        50_000,
        1_000_000_000,
        digitizes=True,
    ),
    "34470A": Model(
        "34470A",
        (1e-6, 1e-5, *_AMPS, 10.0),
        (*OHMS, 1e9),
        dict(
            zip(
                _QUICK,
                (30e-6, 10e-6, 3e-6, 1e-6, 0.5e-6, 0.3e-6, 0.1e-6, 0.03e-6, 0.01e-6),
                strict=True,
            )
        ),
        50_000,
        1_000_000_000,
        digitizes=True,
    ),
}
