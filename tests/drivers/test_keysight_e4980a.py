"""The E4980A driver on the simulator, over a real socket: what it sends, measures and leaves."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay import Bay, Instrument, LimitError, PluginMetadata, limit_refusals
from drivebay.driver import ParameterError, ScpiDriver
from drivebay.sim import Device, EventLog, Resistor, ScpiServer, ShortCircuit
from drivebay.sim.circuit import Circuit
from drivebay.sim.circuit.component import Capacitor
from drivebay.sim.circuit.junctions import Varactor
from drivebay.sim.e4980a import E4980a
from drivebay.sim.registry import Options

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keysight_e4980a"
CV: dict[str, Any] = {"start_v": 0.0, "stop_v": -2.0, "points": 21, "aperture": "short"}


def load_driver() -> type[ScpiDriver]:
    """The class as the loader would give it: from the file, without a package."""
    spec = importlib.util.spec_from_file_location("keysight_e4980a_driver", FOLDER / "driver.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: type[ScpiDriver] = module.KeysightE4980A
    return found


KeysightE4980A = load_driver()


class Desk:
    """A simulated meter, its log, and the driver on it."""

    def __init__(self, meter: E4980a, log: EventLog, driver: ScpiDriver) -> None:
        self.meter = meter
        self.log = log
        self.driver = driver

    def measure(self, method: str, **params: Any) -> dict[str, Any]:
        return self.driver.measure(method, params)

    @property
    def sent(self) -> list[str]:
        return [event["text"] for event in self.log.named("message")]


@contextmanager
def desk(device: Device, *, model: str = "E4980A", noise: float = 0.0) -> Iterator[Desk]:
    log = EventLog(traffic=True)
    meter = E4980a(model, device, options=Options(time_scale=0.0, noise=noise, log=log))
    with ScpiServer(meter) as server, KeysightE4980A(server.resource) as driver:
        yield Desk(meter, log, driver)


def nanofarad() -> Device:
    return Circuit.around(Capacitor(1e-9))


# -- what is measured -----------------------------------------------------------------------------


def test_a_capacitor_is_the_same_at_every_bias_and_frequency():
    with desk(nanofarad()) as at:
        over_bias = at.measure("cv_measurement", **CV)
        over_frequency = at.measure("cf_sweep", start_hz=100, stop_hz=1e6, points=9)

    assert over_bias["capacitance_f"] == pytest.approx(1e-9, rel=1e-4)
    assert over_frequency["capacitance_f"] == pytest.approx(1e-9, rel=1e-4)
    assert over_frequency["frequency_hz"] == pytest.approx(np.geomspace(100, 1e6, 9))
    assert not over_bias["overload"].any()


def test_a_varactor_has_less_capacitance_the_more_it_is_reversed():
    with desk(Circuit.around(Varactor())) as at:
        data = at.measure("cv_measurement", **CV)

    assert data["voltage_v"] == pytest.approx(np.linspace(0, -2, 21))
    assert (np.diff(data["capacitance_f"]) < 0).all()


def test_a_resistor_is_a_conductance():
    with desk(Resistor(1000.0)) as at:
        data = at.measure("cf_sweep", start_hz=1e3, stop_hz=1e5, points=3)

    assert data["conductance_s"] == pytest.approx(1e-3, rel=1e-4)


def test_what_it_cannot_measure_is_an_overload_and_no_number():
    with desk(ShortCircuit()) as at:
        data = at.measure("cf_sweep", start_hz=1e3, stop_hz=1e4, points=2)

    assert data["overload"].all()
    assert np.isnan(data["capacitance_f"]).all()


# -- how it is told -------------------------------------------------------------------------------


def test_every_level_is_swept_once_in_lists_of_a_quarter_second():
    with desk(nanofarad()) as at:
        at.measure("cv_measurement", **CV | {"points": 101})

        lists = [
            [float(word) for word in text.split(" ")[1].split(",")]
            for text in at.sent
            if text.startswith(":LIST:BIAS:VOLT ")
        ]
    assert [level for each in lists for level in each] == pytest.approx(np.linspace(0, -2, 101))
    assert 2 < len(lists) <= 101
    assert at.log.named("trigger")[0]["points"] == len(lists[0])


def test_the_bias_comes_on_at_zero_and_goes_off_afterwards():
    with desk(nanofarad()) as at:
        at.driver.write(":BIAS:VOLT 30")
        at.measure("cv_measurement", **CV)

        events = at.log.named("output_on", "output_off")
    assert [event["event"] for event in events] == ["output_on", "output_off"]
    assert events[0]["level"] == 0.0
    assert not at.meter.bias_on


def test_at_zero_bias_a_frequency_sweep_leaves_the_bias_off():
    with desk(nanofarad()) as at:
        at.measure("cf_sweep", start_hz=1e3, stop_hz=1e4, points=2)
        assert not at.log.named("output_on")

        at.measure("cf_sweep", start_hz=1e3, stop_hz=1e4, points=2, bias_v=1.0)
        assert len(at.log.named("output_on")) == 1


def test_a_stream_that_is_left_leaves_the_bias_off():
    with desk(nanofarad()) as at:
        chunks = at.driver.stream("cv_measurement", CV | {"points": 101})
        next(chunks)
        assert at.meter.bias_on
        chunks.close()

        assert not at.meter.bias_on


def test_the_corrections_that_are_on_are_asked_for_and_never_changed():
    with desk(nanofarad()) as at:
        at.driver.write(":CORR:OPEN:STAT ON", ":CORR:LENG 1")
        at.measure("cf_sweep", start_hz=1e3, stop_hz=1e4, points=2)
        status = at.driver.get_status()

        changed = [text for text in at.sent if text.startswith(":CORR") and "?" not in text]
    assert status["corrections"] == {"open": "1", "short": "0", "load": "0", "cable": "+1"}
    assert changed == [":CORR:OPEN:STAT ON", ":CORR:LENG 1"]


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "top_hz"), [("E4980AL-032", 3e5), ("E4980AL-052", 5e5), ("E4980AL-102", 1e6)]
)
def test_a_frequency_beyond_the_options_is_refused_before_anything_is_set(model, top_hz):
    with desk(nanofarad(), model=model) as at:
        with pytest.raises(ParameterError, match="of its options"):
            at.measure("cf_sweep", start_hz=1e3, stop_hz=1.01 * top_hz, points=2)
        assert not [text for text in at.sent if "?" not in text]

        at.measure("cf_sweep", start_hz=1e3, stop_hz=top_hz, points=2)


def test_without_option_001_only_three_biases_are_taken():
    with desk(nanofarad(), model="E4980A-standard") as at:
        with pytest.raises(ParameterError, match="without option 001"):
            at.measure("cv_measurement", **CV)

        data = at.measure("cv_measurement", spacing="list", levels_v=[0.0, 1.5, 2.0])
    assert data["voltage_v"].tolist() == [0.0, 1.5, 2.0]


def test_more_averages_than_it_has_are_refused():
    with desk(nanofarad()) as at:
        with pytest.raises(ParameterError, match="256"):
            at.measure("cv_measurement", **CV | {"averages": 257})
        at.measure("cv_measurement", **CV | {"points": 2, "averages": 256})


# -- limits ---------------------------------------------------------------------------------------

MANIFEST = PluginMetadata.from_yaml(FOLDER / "plugin.yaml")
# A microwave device under test that more than 50 mV of signal would spoil.
DELICATE = """
instruments:
  lcr:
    resource: {resource}
    limits: {{voltage_v: [-5, 5], ac_level_v: [0, "50 mV"], frequency_hz: ["1 kHz", "100 kHz"]}}
"""


@contextmanager
def delicate(tmp_path: Path) -> Iterator[tuple[Instrument, E4980a]]:
    """The meter on a bench whose limits the keeper holds."""
    log = EventLog(traffic=True)
    meter = E4980a("E4980A", nanofarad(), options=Options(time_scale=0.0, log=log))
    with ScpiServer(meter) as server:
        path = tmp_path / "bench.yaml"
        path.write_text(DELICATE.format(resource=server.resource), encoding="utf-8")
        with Bay(bench=path) as bay, bay.open("lcr") as lcr:
            yield lcr, meter


BEYOND = [
    (":VOLT 0.0501", "ac_level_v"),
    (":VOLTAGE:LEVEL 1", "ac_level_v"),
    ("volt 51mV", "ac_level_v"),
    (":VOLT 5.1E-2V", "ac_level_v"),
    (":VOLT -0.01", "ac_level_v"),
    (":VOLT:LEV 0.01;LEV 2", "ac_level_v"),
    (":BIAS:VOLT 1;:VOLT 0.06", "ac_level_v"),
    (":LIST:VOLT 0.01,0.02,0.06", "ac_level_v"),
    (":list:voltage 10mV,60mV", "ac_level_v"),
    (":VOLT MAX", "ac_level_v"),
    (":FREQ 999", "frequency_hz"),
    (":FREQ:CW 1MHZ", "frequency_hz"),
    ("frequency 0.2MAHZ", "frequency_hz"),
    (":LIST:FREQ 1E3,2E5", "frequency_hz"),
]
WITHIN = (
    *(":VOLT 0.05", ":VOLTAGE:LEVEL 50mV", "volt 5E-2", ":LIST:VOLT 0.01,0.05", ":FREQ 1KHZ"),
    *(":FREQ:CW 100KHZ", ":LIST:FREQ 1E3,1E5", ":VOLT?", ":FREQ? MAX"),
)


def test_the_keeper_sends_no_signal_level_or_frequency_beyond_the_bench_in_any_spelling(tmp_path):
    with delicate(tmp_path) as (lcr, meter):
        lcr.write(":VOLT 0.03")
        for command, quantity in BEYOND:
            with pytest.raises(LimitError) as refused:
                lcr.write(command)
            assert (refused.value.quantity, refused.value.code[:2]) == (quantity, "L0"), command

        sent = [event["text"] for event in meter.log.named("message")]
    assert meter.settings.level_v == 0.03
    assert not {command for command, _ in BEYOND} & set(sent)


def test_control_the_keeper_sends_levels_and_frequencies_within_the_bench(tmp_path):
    with delicate(tmp_path) as (lcr, meter):
        for command in WITHIN:
            assert lcr.query(command) if "?" in command else lcr.write(command) is None

        run = lcr.measure("cv_measurement", **CV, ac_level_v=0.05)
        with pytest.raises(ParameterError, match="ac_level_v"):
            lcr.measure("cv_measurement", **CV, ac_level_v=0.06)
    assert run.state == "done"
    assert meter.settings.level_v == 0.05


@pytest.mark.parametrize(
    "command",
    [
        ":BIAS:VOLT 40.1",
        "bias:voltage:level -41",
        ":BIAS:VOLT 4.1E1",
        ":BIAS:VOLT 41V",
        ":BIAS:VOLT 0.05KV",
        ":LIST:BIAS:VOLT 0,1,50",
        ":FREQ 1000;:BIAS:VOLT 99",
        ":VOLT 20.1",
        ":VOLTAGE:LEVEL 0.03KV",
        ":LIST:VOLT 1,21",
        ":FREQ 2.1MAHZ",
        ":LIST:FREQ 10,1000",
        ":BIAS:STAT ON",  # the level it comes on at was not set
        ":CURR 0.01",  # drives more volts than anybody set
        "*RCL 1",
    ],
)
def test_on_a_bench_with_limits_it_is_refused_however_it_is_spelled(command):
    assert limit_refusals(MANIFEST, "E4980A", [command.encode()])


@pytest.mark.parametrize(
    "commands",
    [
        (":BIAS:VOLT 39.9",),
        (":LIST:BIAS:VOLT -40,0,40",),
        (":VOLT 0.03",),
        (":BIAS:VOLT 0", ":BIAS:STAT ON", ":LIST:BIAS:VOLT 1,2", ":TRIG", ":BIAS:STAT OFF"),
    ],
)
def test_control_what_is_within_the_limits_goes_through(commands):
    assert limit_refusals(MANIFEST, "E4980A", [each.encode() for each in commands]) == []
