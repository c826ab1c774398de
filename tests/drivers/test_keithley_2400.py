"""The 2400 driver on the simulator, over a real socket: what it sends, measures and leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivebay
from drivebay._core.links import open_direct
from drivebay._core.methods import STANDARD, validate
from drivebay.driver import (
    AbortedError,
    InstrumentError,
    LinkLostError,
    ParameterError,
    ScpiDriver,
)
from drivebay.sim import Diode, Keithley2400Server, OpenCircuit, Resistor
from guarded import load_driver

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2400"
SWEEP: dict[str, Any] = {
    "start_v": -1.0,
    "stop_v": 1.0,
    "points": 21,
    "compliance_a": 0.1,
    "nplc": 0.01,
}


Keithley2400 = load_driver("keithley_2400", "Keithley2400")


def simulated(device: Any = None, **more: Any) -> Keithley2400Server:
    settings_ = {"time_scale": 0.0, "log_traffic": True} | more
    return Keithley2400Server(device=device or Resistor(1000.0), **settings_)


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[Keithley2400Server, ScpiDriver]]:
    """One simulated instrument without waiting times, noise or settling, and a driver on it."""
    with simulated(noise=0.0, settling_time_s=0.0) as server, Keithley2400(server.resource) as smu:
        yield server, smu


def messages(server: Keithley2400Server, since: int = 0) -> list[str]:
    return [event["text"] for event in server.log.events[since:] if event["event"] == "message"]


def levels_sent(sent: list[str]) -> list[float]:
    """Every level of every list that was run, in the order in which they were sourced."""
    pending: list[float] = []
    sourced: list[float] = []
    for text in sent:
        head, _, words = text.partition(" ")
        if head == ":SOUR:LIST:VOLT":
            pending = [float(word) for word in words.split(",")]
        elif head == ":SOUR:LIST:VOLT:APP":
            pending += [float(word) for word in words.split(",")]
        elif head == ":READ?":
            sourced += pending
    return sourced


# -- what is sourced ------------------------------------------------------------------------------

VOLTS = st.floats(-200, 200, allow_nan=False).map(lambda volts: round(volts, 6))


@st.composite
def sweeps(draw: st.DrawFn) -> dict[str, Any]:
    params: dict[str, Any] = {"compliance_a": draw(st.sampled_from([1e-6, 1e-3, 0.1]))}
    params["nplc"] = draw(st.sampled_from([0.01, 1.0, 10.0]))
    params["up_and_down"] = draw(st.booleans())
    params["four_wire"] = draw(st.booleans())
    spacing = draw(st.sampled_from(["linear", "log", "list"]))
    if spacing == "list":
        levels = draw(st.lists(VOLTS, min_size=2, max_size=130))
        return params | {"spacing": spacing, "levels_v": levels}
    start_v, stop_v = draw(VOLTS), draw(VOLTS)
    if spacing == "log":
        start_v, stop_v = abs(start_v) + 1e-3, abs(stop_v) + 2e-3
    if start_v == stop_v:
        stop_v += 1.0
    points = draw(st.integers(2, 250))
    return params | {"spacing": spacing, "start_v": start_v, "stop_v": stop_v, "points": points}


@settings(max_examples=30)
@given(sweeps())
def test_each_level_is_sourced_once_in_order_within_limits_and_the_output_is_off_afterwards(
    bench, params
):
    server, smu = bench
    since = len(server.log.events)
    wanted = validate(STANDARD["iv_sweep"], params).levels

    chunks = list(smu.stream("iv_sweep", params))

    events = server.log.events[since:]
    outputs = [event["event"] for event in events if event["event"].startswith("output_")]
    sourced = levels_sent(messages(server, since))
    ends = params.get("levels_v") or [params["start_v"], params["stop_v"]]
    assert sourced == wanted.tolist()
    assert outputs == ["output_on", "output_off"]
    assert min(ends) <= min(sourced)
    assert max(sourced) <= max(ends)
    measured = np.concatenate([chunk["voltage_v"] for chunk in chunks])
    limited = np.concatenate([chunk["in_compliance"] for chunk in chunks])
    # The simulated 200 V range resolves 1 mV.
    assert measured[~limited] == pytest.approx(wanted[~limited], rel=1e-6, abs=1.1e-3)
    assert not [event for event in events if event["event"] in {"error", "internal_error"}]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"start_v": 0, "stop_v": 2, "points": 3}, [0, 1, 2]),
        ({"start_v": 2, "stop_v": 0, "points": 3, "up_and_down": True}, [2, 1, 0, 1, 2]),
        ({"start_v": 0.1, "stop_v": 10, "points": 3, "spacing": "log"}, [0.1, 1, 10]),
        ({"spacing": "list", "levels_v": [3, -7, 2]}, [3, -7, 2]),
    ],
)
def test_linear_log_list_and_up_and_down_source_what_they_say(bench, params, expected):
    server, smu = bench
    since = len(server.log.events)

    smu.measure("iv_sweep", {"compliance_a": 0.01, "nplc": 0.01, **params})

    assert levels_sent(messages(server, since)) == pytest.approx(expected)


def test_the_output_stays_on_from_the_first_segment_to_the_last(bench):
    server, smu = bench
    since = len(server.log.events)

    smu.measure("iv_sweep", SWEEP | {"points": 1050})

    names = [event["event"] for event in server.log.events[since:]]
    assert names.count("sweep_begin") == 6  # 208 levels each by their time
    assert names.count("output_on") == names.count("output_off") == 1
    last_sweep = len(names) - 1 - names[::-1].index("sweep_end")
    assert names.index("output_on") < names.index("sweep_begin")
    assert last_sweep < names.index("output_off")


def test_compliance_and_range_are_set_and_read_back_before_the_output_goes_on(bench):
    server, smu = bench
    since = len(server.log.events)

    smu.measure("iv_sweep", SWEEP | {"compliance_a": 2.5e-3})

    sent = messages(server, since)
    before = sent[: sent.index(":OUTP ON")]
    assert ":SENS:CURR:PROT 0.0025" in before
    assert ":SENS:CURR:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?" in before
    assert before.index(":SENS:CURR:PROT 0.0025") < before.index(
        ":SENS:CURR:PROT?;:OUTP:ENAB?;:OUTP:ENAB:TRIP?"
    )
    assert ":SOUR:VOLT:RANG 1.0" in before
    assert ":SYST:ERR?" in before


def test_a_level_left_from_before_never_reaches_the_device(bench):
    server, smu = bench
    smu.write(":SOUR:VOLT:MODE FIX", ":SOUR:VOLT:RANG 20", ":SOUR:VOLT 15")
    since = len(server.log.events)

    smu.measure("iv_sweep", SWEEP)

    on = next(event for event in server.log.events[since:] if event["event"] == "output_on")
    assert on["level"] == 0


def test_a_thousand_points_take_at_most_a_tenth_of_a_round_trip_each(bench):
    server, smu = bench
    for nplc in (0.01, 1.0):
        before = server.instrument.counters["answers"]

        smu.measure("iv_sweep", SWEEP | {"points": 1001, "nplc": nplc})

        assert server.instrument.counters["answers"] - before <= 100


# -- what is measured -----------------------------------------------------------------------------


def test_voltage_current_time_and_status_come_from_one_trigger_each(bench):
    _, smu = bench

    data = smu.measure("iv_sweep", SWEEP | {"points": 301})

    assert data["current_a"] == pytest.approx(data["voltage_v"] / 1000, abs=2e-6)
    assert np.all(np.diff(data["time_s"]) > 0)
    assert not data["in_compliance"].any()


def test_compliance_is_told_and_the_voltage_is_then_what_the_device_left():
    diode = Diode()
    with simulated(diode) as server, Keithley2400(server.resource) as smu:
        data = smu.measure(
            "iv_sweep", SWEEP | {"start_v": 0.0, "stop_v": 2.0, "compliance_a": 1e-3}
        )

    limited = data["in_compliance"]
    assert not limited[0]
    assert limited[-1]
    assert data["current_a"][limited] == pytest.approx(1e-3, rel=1e-2)
    assert data["voltage_v"][-1] < 1.5


def test_a_current_range_below_the_compliance_limits_too_and_is_told():
    with simulated(Resistor(10.0)) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP | {"sense_range_a": 1e-3})

    assert data["in_compliance"][0]
    assert np.abs(data["current_a"]).max() < 1.2e-3


def test_four_wire_leaves_the_leads_out():
    leads = simulated(Resistor(10.0), lead_resistance_ohm=5.0)
    with leads as server, Keithley2400(server.resource) as smu:
        two = smu.measure("iv_sweep", SWEEP | {"compliance_a": 1.0})
        four = smu.measure("iv_sweep", SWEEP | {"compliance_a": 1.0, "four_wire": True})

    assert abs(four["voltage_v"][-1] / four["current_a"][-1]) == pytest.approx(10, rel=1e-2)
    assert abs(two["voltage_v"][-1] / two["current_a"][-1]) > 11


def test_an_open_circuit_is_a_result():
    with simulated(OpenCircuit()) as server, Keithley2400(server.resource) as smu:
        data = smu.measure("iv_sweep", SWEEP)

    assert data["current_a"] == pytest.approx(0, abs=1e-6)


def manifest() -> Any:
    return drivebay.PluginMetadata.from_yaml(FOLDER / "plugin.yaml")


def corners() -> Iterator[Any]:
    """Every corner of every model's power envelope."""
    for model, ranges in manifest().ranges.items():
        for region in ranges["regions"]:
            corner = region["voltage_v"], region["current_a"]
            yield pytest.param(model, *corner, id=f"{model}-{corner[0]:g}V")


@pytest.mark.parametrize(("model", "top_v", "top_a"), list(corners()))
def test_every_model_of_the_family_sweeps_to_the_corners_of_its_envelope(model, top_v, top_a):
    corner = SWEEP | {"start_v": -top_v, "stop_v": top_v, "compliance_a": top_a}
    instrument = simulated(Resistor(1e6), model=model)
    with instrument as server, Keithley2400(server.resource) as smu:
        smu.ranges = manifest().ranges[model]

        assert len(smu.measure("iv_sweep", corner)["current_a"]) == 21
        with pytest.raises(ParameterError, match="P004"):
            smu.measure("iv_sweep", corner | {"compliance_a": top_a * 1.01})
        with pytest.raises(ParameterError, match="P004"):
            smu.measure("iv_sweep", corner | {"stop_v": top_v * 1.01})


# -- when things go wrong -------------------------------------------------------------------------


def test_an_abort_in_a_long_sweep_switches_off_at_once_on_the_only_connection():
    lonely = simulated(time_scale=1.0, single_connection=True)
    with lonely as server, Keithley2400(server.resource) as smu:
        stream = smu.stream("iv_sweep", SWEEP | {"points": 1001, "nplc": 1.0})
        first = next(stream)
        began_s = server.log.wait_for("sweep_begin")["t"]
        ended_s = server.log.wait_for("sweep_end")["t"]

        def stop() -> None:
            server.log.wait_for("sweep_begin", 2)
            smu.abort()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(AbortedError):
            list(stream)
        stopper.join()
        after = smu.get_status()

    aborts = [e for e in server.log.events if e["event"] == "message" and e["text"] == ":ABOR"]
    off_s = server.log.wait_for("output_off")["t"]
    taken = sum(event["taken"] for event in server.log.named("sweep_end"))
    assert 1 <= len(first["voltage_v"]) < 50
    assert ended_s - began_s < 1.0
    assert off_s - aborts[0]["t"] < 0.5
    assert taken < 100
    assert after["output"] is False


def test_after_an_abort_the_same_driver_measures_again_and_answers_are_not_mixed_up():
    with simulated(time_scale=1.0) as server, Keithley2400(server.resource) as smu:
        stream = smu.stream("iv_sweep", SWEEP | {"points": 500, "nplc": 1.0})
        next(stream)
        smu.abort()
        with pytest.raises(AbortedError):
            next(stream)

        data = smu.measure("iv_sweep", SWEEP)

        assert smu.get_identity()["model"] == "MODEL 2400"
    assert data["current_a"] == pytest.approx(data["voltage_v"] / 1000, abs=2e-5)


def test_a_stream_that_is_closed_in_the_middle_leaves_the_output_off(bench):
    server, smu = bench
    stream = smu.stream("iv_sweep", SWEEP | {"points": 1001})
    next(stream)

    stream.close()

    assert not server.instrument.output_on


def test_what_the_instrument_refuses_is_told_before_the_output_goes_on(bench):
    server, smu = bench
    since = len(server.log.events)

    with pytest.raises(InstrumentError, match="refused one of") as caught:
        smu.measure("iv_sweep", SWEEP | {"stop_v": 500.0})

    assert caught.value.entries
    assert "output_on" not in [event["event"] for event in server.log.events[since:]]


def test_a_compliance_the_instrument_did_not_take_keeps_the_output_off():
    class Deaf(Keithley2400):  # type: ignore[misc, valid-type]
        def write(self, *commands: str) -> None:
            super().write(*(c for c in commands if not c.startswith(":SENS:CURR:PROT ")))

    with simulated() as server, Deaf(server.resource) as smu:
        with pytest.raises(InstrumentError, match=r"has compliance 0\.000105 A after 0\.1 A"):
            smu.measure("iv_sweep", SWEEP)

        assert not server.log.named("output_on")


def test_an_error_in_the_middle_is_told_at_the_end_with_the_output_off():
    with simulated() as server, Keithley2400(server.resource) as smu:
        stream = smu.stream("iv_sweep", SWEEP | {"points": 301})
        next(stream)
        with open_direct(server.resource) as somebody:
            somebody.write(":NO:SUCH:COMMAND")
            server.log.wait_for("error")

        with pytest.raises(InstrumentError) as caught:
            list(stream)

        assert not server.instrument.output_on
    assert [code for code, _ in caught.value.entries] == [-113]


def test_errors_that_were_there_before_do_not_fail_the_sweep(bench):
    _, smu = bench
    smu.write(":NO:SUCH:COMMAND")

    assert len(smu.measure("iv_sweep", SWEEP)["voltage_v"]) == 21


def test_a_cut_connection_ends_the_sweep_and_a_new_one_switches_off():
    with simulated(time_scale=1.0) as server, Keithley2400(server.resource) as smu:
        stream = smu.stream("iv_sweep", SWEEP | {"points": 1001, "nplc": 1.0})
        next(stream)

        server.drop_connections()
        with pytest.raises(LinkLostError):
            list(stream)

        assert not server.instrument.output_on


def test_control_without_the_guard_the_output_stays_on_when_the_driver_fails():
    class Careless(Keithley2400):  # type: ignore[misc, valid-type]
        def output(self, *, on: str, off: str) -> Any:
            self.write(on)
            return self

    with simulated() as server, Careless(server.resource) as smu:
        Careless.__enter__ = lambda self: self  # type: ignore[method-assign]
        Careless.__exit__ = lambda self, *error: None  # type: ignore[method-assign]
        stream = smu.stream("iv_sweep", SWEEP | {"points": 1001})
        next(stream)
        stream.close()

        assert server.instrument.output_on
        smu.disconnect()


# -- the manifest ---------------------------------------------------------------------------------


def test_the_manifest_and_the_class_agree():
    metadata = manifest()

    assert metadata.supported_methods == list(Keithley2400.supported_methods())
    assert metadata.driver_class == "driver.Keithley2400"
    assert set(metadata.ranges) == set(metadata.supported_models)
    assert metadata.safe_state["writes"] == [":OUTP OFF"]
    assert metadata.safe_state["verify"] == {"query": Keithley2400.output_query, "equals": "0"}


def test_a_choice_of_terminals_is_sent():
    with simulated() as server, Keithley2400(server.resource, {"terminals": "REAR"}) as smu:
        smu.measure("iv_sweep", SWEEP)

        assert server.instrument.settings.rear_terminals


@pytest.mark.parametrize("mode", ["HIMP", "NORM"])
def test_what_off_is_at_the_terminals_is_sent_where_it_is_chosen(bench, mode):
    server, _ = bench
    with Keithley2400(server.resource, {"output_off": mode}) as smu:
        smu.measure("iv_sweep", SWEEP)

        assert smu.query(":OUTP:SMOD?") == mode


@pytest.mark.parametrize(
    ("enabled", "closed", "refused"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_an_open_test_fixture_is_told_before_the_output_goes_on(enabled, closed, refused):
    with simulated(interlock_closed=closed) as server, Keithley2400(server.resource) as smu:
        smu.write(f":OUTP:ENAB {int(enabled)}")
        if refused:
            with pytest.raises(InstrumentError, match="output enable line"):
                smu.measure("iv_sweep", SWEEP)
            assert not server.log.named("output_on", "error")
        else:
            assert len(smu.measure("iv_sweep", SWEEP)["time_s"]) == SWEEP["points"]
