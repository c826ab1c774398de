"""A recording stands in for the instrument: the same bytes, or an error that names the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivebay import Bay, InstrumentDriver, LinkError
from drivebay.driver import IVSweep, ScpiDriver, method
from drivebay.sim import Diode, Keithley2400Server
from drivebay.testing import recorded, replayed

SWEEP: dict[str, Any] = {"start_v": 0, "stop_v": 0.5, "points": 6, "compliance_a": 0.01}


class Smu(ScpiDriver):
    """The driver under test; ``extra`` is what a later edit adds."""

    extra = ""
    binary_has_length = False

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep) -> Iterator[dict[str, Any]]:
        self.write("*CLS", "*RST", f":SENS:CURR:PROT {p.compliance_a:g}")
        self.write(":FORM:ELEM VOLT,CURR,TIME", *filter(None, [self.extra]))
        with self.output(on=":OUTP ON", off=":OUTP OFF", query=":OUTP?"):
            for level_v in p.levels:
                self.write(f":SOUR:VOLT {level_v:g}")
                volt, amp, seconds = self.query_numbers(":READ?", columns=3, rows=1)
                yield {
                    "voltage_v": volt,
                    "current_a": amp,
                    "time_s": seconds,
                    "in_compliance": amp > p.compliance_a,
                }


@pytest.fixture
def recording(tmp_path: Path, write_plugin: Any) -> Path:
    """What :class:`Smu` and a simulated instrument said to each other."""
    source = Path(__file__).read_text("utf-8")
    start, end = source.index("class Smu"), source.index("@pytest.fixture")
    head = "from collections.abc import Iterator\nfrom typing import Any\n"
    head += "from drivebay.driver import IVSweep, ScpiDriver, method\n"
    write_plugin(
        tmp_path / "plugins",
        "smu",
        driver_source=head + source[start:end].replace("class Smu", "class Driver"),
        supported_methods=["iv_sweep"],
        supported_models=["2400"],
    )
    path = tmp_path / "iv.jsonl"
    with (
        Keithley2400Server(Diode(), time_scale=0) as server,
        Bay(plugin_dirs=[tmp_path / "plugins"]) as bay,
        bay.open(server.resource) as smu,
        recorded(path, smu),
    ):
        smu.measure("iv_sweep", **SWEEP)
    return path


def test_a_driver_gives_without_the_instrument_what_it_gave_with_it(recording: Path) -> None:
    with replayed(recording, Smu) as driver:
        result = driver.measure("iv_sweep", SWEEP)

    assert result["voltage_v"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-3)
    assert (result["current_a"][1:] > result["current_a"][:-1]).all()


def test_an_edit_that_changes_what_is_sent_is_named_with_the_byte(recording: Path) -> None:
    class Edited(Smu):
        extra = ":SYST:BEEP"

    with pytest.raises(LinkError, match="SYST:BEEP"), replayed(recording, Edited) as driver:
        driver.measure("iv_sweep", SWEEP)


def test_what_was_recorded_and_not_used_is_an_error(recording: Path) -> None:
    with (
        pytest.raises(LinkError, match="recorded messages were not played"),
        replayed(recording, Smu),
    ):
        pass


def test_an_error_of_the_test_is_not_hidden_by_what_was_not_used(recording: Path) -> None:
    with pytest.raises(ZeroDivisionError), replayed(recording, Smu):
        _ = 1 / 0


def test_a_recording_is_lines_that_can_be_read_and_edited(recording: Path) -> None:
    head, *messages = [json.loads(line) for line in recording.read_text("utf-8").splitlines()]

    assert head["resource"].startswith("TCPIP::127.0.0.1")
    assert messages[0] == [0.0, "w", "*CLS\n"]
    assert {way for _, way, _ in messages} == {"w", "r"}


def test_ranges_hold_as_on_the_instrument(recording: Path) -> None:
    with (
        pytest.raises(ValueError, match="outside"),
        replayed(recording, Smu, ranges={"voltage_v": [0, 0.1]}) as driver,
    ):
        driver.measure("iv_sweep", SWEEP)


def test_a_driver_that_opens_its_own_connection_is_refused(recording: Path) -> None:
    for wrong in (InstrumentDriver, dict):
        with (
            pytest.raises(TypeError, match="expected a subclass of ScpiDriver"),
            replayed(recording, wrong),  # type: ignore[type-var]
        ):
            raise AssertionError("never comes here")


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello", encoding="utf-8")

    with pytest.raises(ValueError, match=r"notes.txt:1"), replayed(path, Smu):
        pass


def test_after_an_error_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "iv.jsonl"
    with (
        Keithley2400Server(Diode(), time_scale=0) as server,
        Bay() as bay,
        bay.open(server.resource) as smu,
        pytest.raises(ZeroDivisionError),
        recorded(path, smu),
    ):
        _ = 1 / 0

    assert not path.exists()


def test_messages_that_the_transcript_cuts_are_not_recorded_as_whole(tmp_path: Path) -> None:
    path = tmp_path / "iv.jsonl"
    with (
        Keithley2400Server(Diode(), time_scale=0) as server,
        Bay() as bay,
        bay.open(server.resource) as smu,
        pytest.raises(ValueError, match="longer than 4096 bytes"),
        recorded(path, smu),
    ):
        smu.measure("iv_sweep", **(SWEEP | {"points": 100, "nplc": 0.01}))

    assert not path.exists()
