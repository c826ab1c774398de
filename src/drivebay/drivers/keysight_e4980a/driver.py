"""Keysight E4980A and E4980AL LCR meters: capacitance over bias and over frequency.

Promises: levels run as list sweeps on the instrument in pieces of about 0.25 s; the DC bias comes
on at 0 V and goes off whatever happened. Never asks for readings before the sweep has ended: it
polls the status, so that an abort is obeyed at once.

Facts: *Keysight E4980A/E4980AL Precision LCR Meter User's Guide*, E4980-90230, and the data sheet
5989-4435EN; README.md says page by page which of them could be confirmed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivebay.driver import (
    CFSweep,
    CVMeasurement,
    Diagnostic,
    LinkTimeoutError,
    ParameterError,
    ScpiDriver,
    method,
)

_MOST_POINTS = 201
_MOST_AVERAGES = 256
_PIECE_S = 0.25
# Operation status: a list sweep or a measurement runs (table 8-2, 270).
_RUNNING = 8 | 16
# Longest that a reading takes, at 20 Hz and at 1 kHz and above (data sheet, "Measurement time").
_SLOW_S = {"short": 0.33, "medium": 0.38, "long": 0.48}
_QUICK_S = {"short": 0.02, "medium": 0.11, "long": 0.24}
_WORDS = {"short": "SHOR", "medium": "MED", "long": "LONG"}
# Frequency options of the E4980AL, as *OPT? names them.
_TOP_HZ = {"030": 3e5, "032": 3e5, "050": 5e5, "052": 5e5, "100": 1e6, "102": 1e6}
_PLAIN_BIASES_V = (0.0, 1.5, 2.0)
_PLAIN_LEVEL_V = 2.0
_LONGEST_PAUSE_S = 0.1


class KeysightE4980A(ScpiDriver):
    """LCR meters E4980A and E4980AL."""

    output_query = ":BIAS:STAT?"
    binary_setup = (":FORM REAL,64", ":FORM:BORD SWAP")
    binary_dtype = "<f8"
    _options: tuple[str, ...] | None = None

    @method("cv_measurement")
    def cv_measurement(self, p: CVMeasurement) -> Iterator[dict[str, Any]]:
        """Sweep the DC bias by lists; capacitance and conductance in parallel at each."""
        levels = np.concatenate([np.asarray(each) for each in p.segments(at_most=_MOST_POINTS)])
        self._check("cv_measurement", p, p.frequency_hz, levels, "start_v")
        step_s = p.delay_s + self._reading_s(p, p.frequency_hz)
        self._set_up(p, p.frequency_hz)
        with self._biased():
            self.write(f":BIAS:VOLT {float(levels[0])!r}")
            self.sleep(p.hold_s)
            for rows, seconds, piece in self._swept(":LIST:BIAS:VOLT", levels, step_s):
                yield _chunk(rows, seconds, piece, np.full(len(piece), p.frequency_hz))
        self.check_errors()

    @method("cf_sweep")
    def cf_sweep(self, p: CFSweep) -> Iterator[dict[str, Any]]:
        """Sweep the frequency by lists at one DC bias, which stays off at 0 V."""
        levels = np.concatenate([np.asarray(each) for each in p.segments(at_most=_MOST_POINTS)])
        self._check("cf_sweep", p, float(levels.max()), np.array([p.bias_v]), "bias_v")
        step_s = p.delay_s + self._reading_s(p, float(levels.min()))
        self._set_up(p, float(levels[0]))
        with self._biased() if p.bias_v else nullcontext():
            if p.bias_v:
                self.write(f":BIAS:VOLT {p.bias_v!r}")
            self.sleep(p.hold_s)
            for rows, seconds, piece in self._swept(":LIST:FREQ", levels, step_s):
                yield _chunk(rows, seconds, np.full(len(piece), p.bias_v), piece)
        self.check_errors()

    def get_status(self) -> dict[str, Any]:
        """As every driver; when idle also which corrections are on, and the cable length in m."""
        status = super().get_status()
        if status["connected"] and not status["measuring"]:
            status["corrections"] = self._corrections()
        return status

    # -- what they are made of --------------------------------------------------------------------

    def _biased(self) -> AbstractContextManager[None]:
        return self.output(on=":BIAS:STAT ON", off=":BIAS:STAT OFF")

    def _corrections(self) -> dict[str, str]:
        """Asked for at each measurement, so that the transcript of the run says it."""
        names = {
            "open": ":CORR:OPEN:STAT?",
            "short": ":CORR:SHOR:STAT?",
            "load": ":CORR:LOAD:STAT?",
        }
        return {name: self.query(text) for name, text in (names | {"cable": ":CORR:LENG?"}).items()}

    def _set_up(self, p: CVMeasurement | CFSweep, frequency_hz: float) -> None:
        """Set everything the sweep depends on; nothing is taken over from before."""
        self.write(
            *(":ABOR", "*CLS", ":BIAS:STAT OFF", ":BIAS:VOLT 0", ":TRIG:SOUR BUS"),
            # A list is swept on its page only.
            *(":DISP:PAGE LIST", ":LIST:CLE:ALL", ":LIST:MODE SEQ"),
            *(":FUNC:IMP CPG", ":FUNC:IMP:RANG:AUTO ON", ":AMPL:ALC OFF"),
            f":APER {_WORDS[p.aperture]},{p.averages}",
            *(f":FREQ {frequency_hz!r}", f":VOLT {p.ac_level_v!r}"),
            *(":TRIG:TDEL 0", f":TRIG:DEL {p.delay_s!r}", ":INIT:CONT ON"),
        )
        self._corrections()
        self.check_errors()

    def _swept(
        self, header: str, levels: NDArray[np.float64], step_s: float
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
        """Numbers, times and levels of each piece; one is handed out while the next is measured."""
        size = max(1, min(_MOST_POINTS, int(_PIECE_S / step_s)))
        pieces = [levels[k : k + size] for k in range(0, len(levels), size)]
        began_s = time.monotonic()
        since_s = self._trigger(header, pieces[0], began_s)
        for index, piece in enumerate(pieces):
            self._wait_until_idle(len(piece) * step_s)
            until_s = time.monotonic() - began_s
            # Of a list each reading has its values, its status and its limit result.
            rows = self.query_numbers(":FETC?", columns=4, rows=len(piece))
            share = np.array([(k + 1) / len(piece) for k in range(len(piece))])
            seconds = since_s + (until_s - since_s) * share
            if index + 1 < len(pieces):
                since_s = self._trigger(header, pieces[index + 1], began_s)
            yield rows, seconds, piece

    def _trigger(self, header: str, piece: NDArray[np.float64], began_s: float) -> float:
        """Give the list and start it; when that was."""
        words = ",".join(repr(float(level)) for level in piece)
        self.write(f"{header} {words}", ":TRIG")
        return time.monotonic() - began_s

    def _wait_until_idle(self, expected_s: float) -> None:
        """Ask for the status until the sweep has ended.

        Raises:
            LinkTimeoutError: it had not in twice its time and the link's deadline.
        """
        deadline_s = time.monotonic() + 2 * expected_s + self.link.timeout_s
        pause_s = min(_LONGEST_PAUSE_S, max(1e-3, expected_s / 8))
        while int(float(self.query(":STAT:OPER:COND?"))) & _RUNNING:
            if time.monotonic() > deadline_s:
                raise LinkTimeoutError(
                    f"{self.resource_name} still sweeps",
                    resource=self.resource_name,
                    command=":STAT:OPER:COND?",
                )
            self.sleep(pause_s)

    @staticmethod
    def _reading_s(p: CVMeasurement | CFSweep, frequency_hz: float) -> float:
        table = _QUICK_S if frequency_hz >= 1e3 else _SLOW_S
        return table[p.aperture] * p.averages

    def _installed(self) -> tuple[str, ...]:
        """The options the meter has."""
        if self._options is None:
            self._options = tuple(word.strip() for word in self.query("*OPT?").split(","))
        return self._options

    def _check(
        self,
        name: str,
        p: CVMeasurement | CFSweep,
        top_hz: float,
        biases_v: NDArray[np.float64],
        which: str,
    ) -> None:
        """Refuse what this meter with its options cannot do, before anything is set."""
        if p.averages > _MOST_AVERAGES:
            raise _refused(name, "averages", f"{p.averages} is above {_MOST_AVERAGES}")
        installed = self._installed()
        limits = [_TOP_HZ[option] for option in installed if option in _TOP_HZ]
        if limits and top_hz > max(limits) * 1.000001:
            text = f"{top_hz:g} Hz is above the {max(limits):g} Hz of its options"
            raise _refused(name, "frequency_hz" if name == "cv_measurement" else "stop_hz", text)
        if "001" in installed:
            return
        if p.ac_level_v > _PLAIN_LEVEL_V:
            raise _refused(name, "ac_level_v", "above 2 V it needs option 001")
        if not np.isclose(biases_v[:, None], _PLAIN_BIASES_V, atol=1e-9).any(axis=1).all():
            text = "without option 001 the bias is 0, 1.5 or 2 V; give such with spacing list"
            raise _refused(name, which, text)


def _refused(method_name: str, parameter: str, text: str) -> ParameterError:
    return ParameterError([Diagnostic("P004", text, path=f"/{parameter}")], method=method_name)


def _chunk(
    rows: NDArray[np.float64],
    seconds: NDArray[np.float64],
    bias_v: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
) -> dict[str, Any]:
    farad, siemens, status, _ = rows
    good = (status == 0) & np.isfinite(farad) & np.isfinite(siemens)
    return {
        "voltage_v": bias_v,
        "frequency_hz": frequency_hz,
        "capacitance_f": np.where(good, farad, np.nan),
        "conductance_s": np.where(good, siemens, np.nan),
        "time_s": seconds,
        "overload": ~good,
    }
