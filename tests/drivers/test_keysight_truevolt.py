"""The Truevolt driver on the simulator, over a real socket: what it sends, measures and leaves."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay.driver import InstrumentError, ParameterError, ScpiDriver
from drivebay.sim import Device, EventLog, OpenCircuit, Resistor, ScpiServer
from drivebay.sim.registry import Options
from drivebay.sim.truevolt import Truevolt

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keysight_truevolt"


def load_driver() -> type[ScpiDriver]:
    """The class as the loader would give it: from the file, without a package."""
    spec = importlib.util.spec_from_file_location("keysight_truevolt_driver", FOLDER / "driver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the annotations of its classes are looked up
    spec.loader.exec_module(module)
    found: type[ScpiDriver] = module.KeysightTruevolt
    return found


KeysightTruevolt = load_driver()


@dataclass(frozen=True)
class Cell(Device):
    """A voltage behind a resistance: what a meter sees of a battery."""

    volt_v: float
    ohm: float

    def current_a(self, voltage_v: float) -> float:
        return (voltage_v - self.volt_v) / self.ohm

    def voltage_v(self, current_a: float) -> float:
        return self.volt_v + current_a * self.ohm

    def conductance_s(self, voltage_v: float) -> float:
        return 1.0 / self.ohm

    def with_leads(self, lead_ohm: float) -> Device:
        return Cell(self.volt_v, self.ohm + lead_ohm)


class Desk:
    """A simulated meter, its log, and the driver on it."""

    def __init__(self, meter: Truevolt, log: EventLog, driver: ScpiDriver) -> None:
        self.meter = meter
        self.log = log
        self.driver = driver

    def measure(self, method: str, **params: Any) -> dict[str, Any]:
        return self.driver.measure(method, params)

    @property
    def sent(self) -> list[str]:
        return [event["text"] for event in self.log.named("message")]


@contextmanager
def desk(
    volts: Device | None = None,
    amps: Device | None = None,
    *,
    model: str = "34465A",
    noise: float = 0.0,
    timeout_s: float = 5.0,
) -> Iterator[Desk]:
    log = EventLog(traffic=True)
    options = Options(time_scale=0.0, noise=noise, log=log)
    meter = Truevolt(model, volts, amps, options=options)
    with (
        ScpiServer(meter) as server,
        KeysightTruevolt(server.resource, {"timeout_s": timeout_s}) as driver,
    ):
        yield Desk(meter, log, driver)


# -- what is measured -----------------------------------------------------------------------------


def test_a_voltage_is_what_ten_megohms_leave_of_it():
    with desk(Cell(1.0, 1e6)) as at:
        data = at.measure("dc_voltage", readings=3)

    assert data["voltage_v"] == pytest.approx(10 / 11, rel=1e-6)
    assert not data["overload"].any()


def test_with_high_impedance_the_input_takes_next_to_nothing():
    with desk(Cell(1.0, 1e6)) as at:
        data = at.measure("dc_voltage", readings=2, high_impedance=True)

    assert data["voltage_v"] == pytest.approx(1.0, rel=2e-4)


def test_a_current_is_positive_into_the_meter():
    # 1 V behind 1 kohm drives its current out of the device and into the meter's high terminal.
    with desk(amps=Cell(1.0, 1000.0)) as at:
        data = at.measure("dc_current", readings=2)

    assert data["current_a"] == pytest.approx(1e-3, rel=0.11)
    assert (data["current_a"] > 0).all()


@pytest.mark.parametrize("ohm", [1.0, 470.0, 33e3, 5.6e6, 4e8])
@pytest.mark.parametrize("four_wire", [False, True])
def test_a_resistance_is_found_on_its_range(ohm, four_wire):
    with desk(Resistor(ohm)) as at:
        data = at.measure("resistance", readings=2, four_wire=four_wire)

    assert data["resistance_ohm"] == pytest.approx(ohm, rel=1e-4)


def test_offset_compensation_takes_a_voltage_out_that_is_there_without_a_current():
    with desk(Cell(0.01, 100.0)) as at:
        plain = at.measure("resistance", range_ohm=1e3)
        compensated = at.measure("resistance", range_ohm=1e3, offset_compensation=True)

    assert plain["resistance_ohm"] == pytest.approx(110.0, rel=1e-4)
    assert compensated["resistance_ohm"] == pytest.approx(100.0, rel=1e-4)


def test_open_leads_are_an_overload_and_no_number():
    with desk(OpenCircuit()) as at:
        data = at.measure("resistance", readings=2)

    assert data["overload"].all()
    assert np.isinf(data["resistance_ohm"]).all()


def test_a_voltage_beyond_a_fixed_range_is_an_overload_and_not_a_huge_number():
    with desk(Cell(5.0, 1.0)) as at:
        data = at.measure("dc_voltage", range_v=1.0)
        control = at.measure("dc_voltage", range_v=10.0)

    assert data["overload"].all()
    assert np.isnan(data["voltage_v"]).all()
    assert control["voltage_v"] == pytest.approx(5.0, rel=1e-5)


def test_longer_integration_is_quieter():
    spread = {}
    for nplc in (0.02, 10.0):
        with desk(Cell(1.0, 1.0), noise=1.0) as at:
            data = at.measure("dc_voltage", readings=200, nplc=nplc, range_v=10.0)
            spread[nplc] = float(np.std(data["voltage_v"]))

    assert spread[10.0] < 0.3 * spread[0.02]


# -- how it is told -------------------------------------------------------------------------------


def test_many_readings_are_one_trigger_and_are_read_out_in_pieces():
    with desk(Cell(1.0, 1.0)) as at:
        data = at.measure("dc_voltage", readings=1234, nplc=0.02)

        assert len(data["voltage_v"]) == 1234
        assert at.sent.count(":INIT") == 1
        assert ":SAMP:COUN 1234" in at.sent
        removed = [int(text.split()[1]) for text in at.sent if text.startswith(":DATA:REM? ")]
    assert sum(removed) == 1234
    assert len(removed) > 1


def test_readings_come_as_binary_doubles():
    with desk(Cell(1.0, 1.0)) as at:
        at.measure("dc_voltage")

        assert ":FORM REAL,64" in at.sent


@pytest.mark.parametrize("model", ["34465A", "34470A"])
def test_an_interval_is_kept_by_the_sample_timer_where_there_is_one(model):
    with desk(Cell(1.0, 1.0), model=model) as at:
        data = at.measure("dc_voltage", readings=50, interval_s=0.005, nplc=0.02)

        assert ":SAMP:TIM 0.005" in at.sent
    assert data["time_s"] == pytest.approx(0.005 * np.arange(50))


def test_where_no_reading_fits_the_interval_they_come_as_quick_as_it_goes():
    with desk(Cell(1.0, 1.0)) as at:
        data = at.measure("dc_voltage", readings=5, interval_s=0.005, nplc=1.0)

        assert not [text for text in at.sent if text.startswith(":SAMP:SOUR TIM")]
        assert at.sent.count(":INIT") == 1
    assert len(data["voltage_v"]) == 5
    assert data["time_s"] != pytest.approx(0.005 * np.arange(5))
    assert (np.diff(data["time_s"]) > 0).all()


def test_readings_that_the_timer_was_too_short_for_are_an_error():
    with desk(Cell(1.0, 1.0)) as at:
        chunks = at.driver.stream("dc_voltage", {"readings": 200, "interval_s": 0.005, "nplc": 0.1})
        next(chunks)
        at.meter.status.questionable.pulse(4)  # as autoranging does

        with pytest.raises(InstrumentError, match="longer for a reading than the interval"):
            list(chunks)


@pytest.mark.parametrize("model", ["34460A", "34461A"])
def test_without_a_timer_each_reading_is_taken_when_it_is_due(model):
    with desk(Cell(1.0, 1.0), model=model) as at:
        data = at.measure("dc_voltage", readings=4, interval_s=0.002, nplc=0.02)

        assert at.sent.count(":INIT") == 4
        assert not [text for text in at.sent if ":SAMP:TIM" in text]
    assert (np.diff(data["time_s"]) > 0).all()


@pytest.mark.parametrize(
    ("model", "wanted", "told"),
    [("34465A", 0.05, "0.06"), ("34461A", 0.05, "0.2"), ("34461A", 3.0, "10.0")],
)
def test_the_integration_time_is_the_next_longer_one_of_the_model(model, wanted, told):
    with desk(Cell(1.0, 1.0), model=model) as at:
        at.measure("dc_voltage", nplc=wanted)

        assert f":VOLT:NPLC {told}" in at.sent


def test_ten_amperes_are_measured_at_their_own_terminals():
    with desk(amps=Cell(1.0, 0.2)) as at:
        data = at.measure("dc_current", range_a=10.0)

        assert ":CURR:TERM 10" in at.sent
        # The command for ranges does not know that of 10 A (SCPI Programming Reference).
        assert not [text for text in at.sent if text.startswith(":CURR:RANG")]
        assert not at.log.named("error")
    assert data["current_a"] == pytest.approx(1 / 0.21, rel=1e-4)


def test_a_burst_is_digitized_whole_and_stamped_by_the_timer():
    with desk(Cell(1.0, 1.0)) as at:
        data = at.measure("voltage_burst", readings=12_000, interval_s=1e-4)

        assert at.sent.count(":INIT") == 1
    assert data["time_s"] == pytest.approx(1e-4 * np.arange(12_000))
    assert data["voltage_v"] == pytest.approx(1.0, abs=1e-3)


# -- what is left and what is refused -------------------------------------------------------------


@pytest.mark.parametrize("method", ["resistance", "dc_current"])
def test_afterwards_it_is_a_voltmeter_again(method):
    with desk(Resistor(1000.0), Resistor(1000.0)) as at:
        at.measure(method)

        assert at.meter.settings.function == "VOLT"
        assert at.meter.test_current_a == 0.0


def test_a_test_current_above_what_the_device_may_have_is_refused():
    with desk(Resistor(1000.0)) as at:
        with pytest.raises(ParameterError, match=r"drives 0\.001 A"):
            at.measure("resistance", max_current_a=1e-4)
        data = at.measure("resistance", max_current_a=1e-4, range_ohm=1e4)

    assert data["resistance_ohm"] == pytest.approx(1000.0, rel=1e-4)


def test_a_voltage_that_open_leads_would_pass_is_refused():
    with desk(Resistor(1000.0)) as at:
        with pytest.raises(ParameterError, match="open leads"):
            at.measure("resistance", max_voltage_v=1.0)
        at.measure("resistance", max_voltage_v=20.0)


@pytest.mark.parametrize(
    ("method", "params"),
    [("resistance", {"offset_compensation": True}), ("voltage_burst", {})],
)
def test_what_only_the_digitizing_models_have_is_refused_on_the_others(method, params):
    with desk(Resistor(1000.0), model="34461A") as at:
        with pytest.raises(ParameterError):
            at.measure(method, **params)
        assert not at.log.named("error")


def test_an_interval_that_the_integration_does_not_fit_into_is_refused():
    with (
        desk(Cell(1.0, 1.0)) as at,
        pytest.raises(ParameterError, match="least with this integration"),
    ):
        at.measure("voltage_burst", interval_s=1e-3, nplc=1.0)


def test_more_readings_than_the_memory_holds_are_several_triggers():
    with desk(Cell(1.0, 1.0), model="34460A") as at:
        data = at.measure("dc_voltage", readings=2500, nplc=0.02)

        assert at.sent.count(":INIT") == 3
    assert len(data["voltage_v"]) == 2500


def test_readings_that_were_overwritten_are_an_error():
    with desk(Cell(1.0, 1.0), timeout_s=0.3) as at:
        at.meter.model = replace(at.meter.model, memory=100)
        at.meter.memory = deque(maxlen=100)

        with pytest.raises(InstrumentError, match="overwrote"):
            at.measure("dc_voltage", readings=300, interval_s=2e-5, nplc=0.001)


def test_what_somebody_set_before_does_not_matter():
    with desk(Cell(1.0, 1.0)) as at:
        at.driver.write(":CONF:CURR:DC", ":SAMP:COUN 7", ":TRIG:SOUR BUS", ":FORM ASC", ":INIT")

        data = at.measure("dc_voltage", readings=2)

    assert data["voltage_v"] == pytest.approx(1.0, rel=1e-4)
