"""The 2400 driver on a scripted GPIB link: binary blocks, the status word, the time stamps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay._core.links import Link
from drivebay.driver import AskedNumbers

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2400"
SWEEP: dict[str, Any] = {"start_v": 0, "stop_v": 1, "points": 3, "compliance_a": 0.01, "nplc": 1.0}
STATUS_IDLE = 0b11000 << 10  # voltage and current measured (18-50)


def load_driver() -> Any:
    spec = importlib.util.spec_from_file_location("keithley_2400_readout", FOLDER / "driver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = load_driver()


class GpibLink:
    """A 2400 on GPIB, scripted: readings are the levels, as REAL,32 blocks in swapped order.

    ``edit`` changes the rows (voltage, current, time, status) of a segment before they are sent.
    """

    def __init__(self, edit: Any = None, step_s: float = 0.02) -> None:
        self.resource, self.interface = "GPIB0::24::INSTR", "gpib"
        self.supports_binary, self.timeout_s, self.closed = True, 5.0, False
        self.edit, self.step_s = edit, step_s
        self.sent: list[str] = []
        self.levels: list[float] = []
        self.now_s = 0.0
        self.compliance = "0"

    def write(self, command: str, *, timeout_s: float | None = None) -> None:
        self.sent.append(command)
        head, _, tail = command.partition(" ")
        if head == ":SOUR:LIST:VOLT":
            self.levels = [float(word) for word in tail.split(",")]
        elif head == ":SENS:CURR:PROT":
            self.compliance = tail

    write_each = Link.write_each

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        self.sent.append(command)
        return {
            ":SYST:ERR?": '0,"No error"',
            ":OUTP?": "0",
            ":SENS:CURR:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?": f"{self.compliance};0;1",
        }[command]

    def read_block(self, *, timeout_s: float | None = None) -> bytes:
        assert self.sent[-1] == ":READ?"
        rows = []
        for level in self.levels:
            self.now_s += self.step_s
            rows.append([level, level / 1000, self.now_s, STATUS_IDLE])
        table = np.array(rows)
        if self.edit is not None:
            table = self.edit(table)
        return table.astype("<f4").tobytes()

    def interrupt(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def measured(link: GpibLink, **change: Any) -> dict[str, Any]:
    smu = MODULE.Keithley2400("GPIB0::24::INSTR")
    smu.use_link(link)
    result: dict[str, Any] = smu.measure("iv_sweep", SWEEP | change)
    return result


def test_where_blocks_get_through_and_end_the_readings_are_binary():
    link = GpibLink()

    data = measured(link)

    assert link.sent.index(":FORM REAL,32") < link.sent.index(":READ?")
    assert link.sent.index(":FORM:BORD SWAP") < link.sent.index(":READ?")
    assert data["voltage_v"].tolist() == [0, 0.5, 1]
    assert data["current_a"] == pytest.approx([0, 5e-4, 1e-3], rel=1e-6)


def test_single_precision_holds_the_whole_status_word():
    every_bit = (1 << 24) - 1

    def full(table: Any) -> Any:
        table[:, 3] = every_bit - 1  # all but over-range
        return table

    data = measured(GpibLink(full))

    assert data["in_compliance"].all()
    assert float(np.float32(every_bit)) == every_bit


@pytest.mark.parametrize(
    ("bits", "limited"), [(0, False), (1 << 3, True), (1 << 16, True), (1 << 4, False)]
)
def test_real_and_range_compliance_are_told_and_nothing_else(bits, limited):
    def mark(table: Any) -> Any:
        table[1, 3] = STATUS_IDLE | bits
        return table

    data = measured(GpibLink(mark))

    assert data["in_compliance"].tolist() == [False, limited, False]


def test_over_range_is_no_number_by_its_bit_or_by_its_code():
    def over(table: Any) -> Any:
        table[0, 3] = STATUS_IDLE | 1
        table[1, 1] = 9.9e37
        table[2, 0] = 9.91e37
        return table

    data = measured(GpibLink(over))

    assert np.isnan(data["current_a"]).tolist() == [True, True, False]
    assert np.isnan(data["voltage_v"]).tolist() == [False, False, True]


def test_time_goes_on_through_the_segments_as_the_instrument_counted_it():
    data = measured(GpibLink(), points=200)

    assert data["time_s"] == pytest.approx(np.arange(1, 201) * 0.02, rel=1e-5)


def test_time_rises_although_the_counter_starts_again_at_each_segment():
    class Restarting(GpibLink):
        def read_block(self, *, timeout_s: float | None = None) -> bytes:
            self.now_s = 0.0
            return super().read_block(timeout_s=timeout_s)

    data = measured(Restarting(), points=60)

    assert np.all(np.diff(data["time_s"]) > 0)


def test_time_rises_although_the_counter_wraps_within_a_segment():
    def wrap(table: Any) -> Any:
        table[:, 2] = np.where(table[:, 2] < 0.05, 99_999.0 + table[:, 2], table[:, 2] - 0.05)
        return table

    data = measured(GpibLink(wrap), points=40)

    assert np.all(np.diff(data["time_s"]) > 0)


def test_the_deadline_of_a_segment_covers_what_the_instrument_may_need():
    deadlines_s: list[float] = []

    class Noting(MODULE.Keithley2400):  # type: ignore[misc, name-defined]
        def ask_numbers(self, *arguments: Any, **named: Any) -> AskedNumbers:
            asked: AskedNumbers = super().ask_numbers(*arguments, **named)
            deadlines_s.append(asked.timeout_s)
            return asked

    smu = Noting("GPIB0::24::INSTR")
    smu.use_link(GpibLink())

    smu.measure("iv_sweep", SWEEP | {"nplc": 10.0, "delay_s": 3.0})

    assert deadlines_s
    assert all(deadline_s > 5 + 3 + 10 * 0.02 for deadline_s in deadlines_s)


def test_output_goes_off_after_a_block_of_the_wrong_size():
    def short(table: Any) -> Any:
        return table[:-1]

    link = GpibLink(short)

    with pytest.raises(drivebay.AnswerError, match="answered 8 numbers, expected 4 x 3"):
        measured(link)

    off = len(link.sent) - 1 - link.sent[::-1].index(":OUTP OFF")
    assert off > link.sent.index(":READ?")
    assert link.sent[-1] == ":OUTP?"
