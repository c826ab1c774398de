"""Bay on the simulated bench, over real sockets: find, open, measure, record, abort, close."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivebay import (
    AbortedError,
    Bay,
    BusyError,
    DriverError,
    LinkOpenError,
    MethodError,
    NoDriverError,
    ParameterError,
    PluginStateError,
    ResourceError,
    StoreError,
)
from drivebay._core.bay import handover
from drivebay._core.links import list_resources
from drivebay.sim import Diode, Keithley2400Server, Resistor

SWEEP: dict[str, Any] = {"start_v": 0, "stop_v": 0.7, "points": 41, "compliance_a": 0.01}
SLOW: dict[str, Any] = {"start_v": 0, "stop_v": 1, "points": 900, "compliance_a": 0.1, "nplc": 1}

POINTWISE = """
from drivebay.driver import IVSweep, ScpiDriver, method

class Driver(ScpiDriver):
    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep):
        self.write(":FORM:ELEM VOLT,CURR,TIME,STAT", ":SOUR:VOLT:MODE FIX", ":TRIG:COUN 1")
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            for number, level in enumerate(p.levels):
                BODY
                self.write(f":SOUR:VOLT {level:.7g}")
                v, i, t, status = self.query_numbers(":READ?", columns=4, rows=1)
                yield {"voltage_v": v, "current_a": i, "time_s": t + number,
                       "in_compliance": status < 0}
"""


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0, log_traffic=True) as server:
        yield server


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def messages(server: Keithley2400Server) -> list[str]:
    return [event["text"] for event in server.log.named("message")]


def outputs(server: Keithley2400Server) -> list[Any]:
    return server.log.named("output_on", "output_off")


def write_driver(write_plugin: Any, root: Path, body: str, **manifest: Any) -> Path:
    """A plugin for the simulated model whose sweep runs ``body`` before each point."""
    keys = {
        "supported_methods": ["iv_sweep"],
        "supported_models": ["2400"],
        "safe_state": {"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
    }
    source = POINTWISE.replace("BODY", body)
    return write_plugin(root, "pointwise", driver_source=source, **keys | manifest)


def test_an_instrument_is_found_identified_and_given_its_plugin(bay, server):
    (found,) = bay.find([server.resource])

    assert found.identity["model"] == "MODEL 2400"
    assert found.plugin == "keithley_2400"
    assert found.candidates[0].usable
    assert found.error is None


def test_find_reports_an_address_where_nothing_listens_and_goes_on(bay, server):
    with Keithley2400Server() as gone:
        dead = gone.resource

    wrong, silent, good = bay.find(["not an address", dead, server.resource])

    assert "V0" in (wrong.error or "")
    assert "LinkOpenError" in (silent.error or "")
    assert good.plugin == "keithley_2400"


class Crowd:
    """Many instruments that answer only when so many of them have been asked."""

    def __init__(self, count: int, together: int) -> None:
        self.most_at_once = 0
        self._asked = 0
        self._gate = threading.Barrier(together)
        self._lock = threading.Lock()
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.resources = [
            f"TCPIP::127.0.0.1::{each.getsockname()[1]}::SOCKET" for each in self._listeners
        ]
        for number, listener in enumerate(self._listeners):
            threading.Thread(target=self._serve, args=(number, listener), daemon=True).start()

    def _serve(self, number: int, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            line, _ = listener.accept()
            with line:
                line.recv(100)
                with self._lock:
                    self._asked += 1
                    self.most_at_once = max(self.most_at_once, self._asked)
                self._gate.wait(10.0)
                with self._lock:
                    self._asked -= 1
                line.sendall(b"ACME,Model 1,%d,1\n" % number)
                line.recv(100)


def test_find_asks_all_at_once_and_tells_them_in_the_order_given(bay):
    crowd = Crowd(count=12, together=12)  # one after the other, none of them would answer

    found = bay.find([*crowd.resources, crowd.resources[0].lower()])

    assert [each.identity.get("serial") for each in found] == [*map(str, range(12)), "0"]


def test_find_asks_no_more_than_16_at_a_time(bay):
    crowd = Crowd(count=32, together=16)

    found = bay.find(crowd.resources)

    assert all(each.idn for each in found)
    assert crowd.most_at_once == 16


def test_find_takes_two_addresses_of_one_instrument_for_no_rivals(bay, server):
    other = server.resource.replace("127.0.0.1", "localhost")

    first, second = bay.find([server.resource, other])

    assert first.idn == second.idn
    assert first.idn


def test_named_addresses_are_looked_at(server, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_RESOURCES", f" {server.resource} ,")
    with Bay() as bay:
        assert server.resource in bay.addresses()


def test_a_search_sends_nothing_to_serial_ports_or_the_network_unless_it_is_asked_to(bay):
    own = set(list_resources(network=False))
    serial = {text for text in own if text.startswith("ASRL")}

    assert set(bay.addresses()) == own - serial
    assert set(bay.addresses(serial=True)) == own


def test_a_sweep_becomes_a_run_that_can_be_read_again(bay, server, home):
    smu = bay.open(server.resource)

    run = smu.measure("iv_sweep", **SWEEP)

    assert run.state == "done"
    assert len(run) == 41
    np.testing.assert_allclose(run["current_a"], run["voltage_v"] / 1000.0, atol=2e-6)
    with Bay() as later:
        again = later.runs.open(run.id)
        np.testing.assert_array_equal(again["voltage_v"], run["voltage_v"])
        assert again.plugin["sha256"] == smu.plugin.sha256
        assert again.parameters["compliance_a"] == 0.01
        assert again.identity["serial"]


def test_a_method_can_be_called_by_its_name_and_takes_text_with_units(bay, server):
    smu = bay.open(server.resource)

    run = smu.iv_sweep(start_v="0 V", stop_v="700 mV", points=3, compliance_a="10 mA")

    np.testing.assert_allclose(run["voltage_v"], [0, 0.35, 0.7], atol=1e-6)
    assert "iv_sweep" in dir(smu)
    with pytest.raises(AttributeError):
        smu.cv_measurement(start_v=0)


def test_points_are_on_disk_before_they_are_handed_out(bay, server):
    smu = bay.open(server.resource)
    stream = smu.stream("iv_sweep", **SWEEP | {"points": 301})

    seen = 0
    for chunk in stream:
        seen += len(chunk["voltage_v"])
        assert len(bay.runs.open(stream.run.id)) >= seen
    assert seen == 301


def test_a_reader_that_is_slower_than_the_measurement_gets_every_point_in_order(
    tmp_path, write_plugin, server, monkeypatch
):
    monkeypatch.setattr(handover, "MOST_CHUNKS", 4)
    write_driver(write_plugin, tmp_path, "pass")
    with Bay(plugin_dirs=[tmp_path]) as bay:
        stream = bay.open(server.resource).stream("iv_sweep", **SWEEP | {"points": 20})
        iterator = iter(stream)
        chunks = [next(iterator)]
        server.log.wait_for("output_off")  # all are taken: more than are kept in memory

        chunks += iterator

        assert len(chunks) == 20
        read = np.concatenate([chunk["voltage_v"] for chunk in chunks])
        np.testing.assert_array_equal(read, stream.run["voltage_v"])


def test_a_run_that_cannot_be_kept_is_not_begun_and_nothing_is_sent(bay, server):
    smu = bay.open(server.resource)
    before = len(messages(server))
    bay.runs.folder.parent.mkdir(parents=True, exist_ok=True)
    bay.runs.folder.write_text("a file where the folder should be")

    with pytest.raises(StoreError, match="cannot create a run in"):
        smu.measure("iv_sweep", **SWEEP)

    assert len(messages(server)) == before
    bay.runs.folder.unlink()
    assert smu.measure("iv_sweep", **SWEEP).state == "done"


def test_a_store_that_fails_stops_the_measurement_with_the_output_off(bay):
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        smu = bay.open(server.resource)
        stream = smu.stream("iv_sweep", **SLOW)
        iterator = iter(stream)
        next(iterator)
        with contextlib.closing(sqlite3.connect(stream.run.path)) as database:
            database.execute("DROP TABLE chunks")

        with pytest.raises(StoreError, match="no such table") as caught:
            list(iterator)

        assert caught.value.run_id == stream.run.id
        assert stream.run.state == "failed"
        assert "StoreError" in (stream.run.reason or "")
        assert outputs(server)[-1]["event"] == "output_off"
        assert smu.measure("iv_sweep", **SWEEP | {"nplc": 0.01}).state == "done"


def test_bad_parameters_are_all_told_and_nothing_is_sent(bay, server):
    smu = bay.open(server.resource)
    before = len(messages(server))

    with pytest.raises(ParameterError) as caught:
        smu.measure("iv_sweep", start_v=0, stop_v=500, points=1, complience_a=1)

    assert len(caught.value.problems) == 4
    assert "compliance_a" in str(caught.value)
    assert len(messages(server)) == before
    assert bay.runs.list() == []


def test_an_unknown_method_names_those_that_exist(bay, server):
    smu = bay.open(server.resource)

    with pytest.raises(MethodError, match="has: iv_sweep"):
        smu.measure("iv_swep", **SWEEP)


def test_an_instrument_nobody_serves_is_refused_with_what_is_known(bay):
    with Bay(plugin_dirs=[]) as empty, Keithley2400Server() as server:
        with pytest.raises(NoDriverError, match="MODEL 2400"):
            empty.open(server.resource)

        assert not server.log.named("output_on")


def test_an_address_is_checked_and_must_answer(bay):
    with Keithley2400Server() as gone:
        dead = gone.resource
    with pytest.raises(ResourceError):
        bay.open("TCPIP::host::99999999::SOCKET")
    with pytest.raises(LinkOpenError):
        bay.open(dead)


def test_one_bay_opens_an_address_once(bay, server):
    smu = bay.open(server.resource)
    with pytest.raises(PluginStateError, match="open already"):
        bay.open(server.resource.lower())
    smu.close()
    bay.open(server.resource).close()


def test_an_abort_from_another_thread_ends_the_run_and_the_output_is_off(bay):
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        smu = bay.open(server.resource)
        stream = smu.stream("iv_sweep", **SLOW)

        iterator = iter(stream)
        next(iterator)
        threading.Thread(target=stream.abort).start()
        with pytest.raises(AbortedError) as caught:
            list(iterator)

        run = bay.runs.open(caught.value.run_id or "")
        assert run.state == "aborted"
        assert run.reason == "user"
        assert 0 < len(run) < 900
        assert outputs(server)[-1]["event"] == "output_off"


def test_a_reader_that_stops_reading_stops_the_measurement(bay):
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        smu = bay.open(server.resource)
        stream = smu.stream("iv_sweep", **SLOW)
        iterator = iter(stream)
        next(iterator)

        iterator.close()  # what a `break` out of the loop leads to

        assert stream.run.state == "aborted"
        assert outputs(server)[-1]["event"] == "output_off"


def test_a_reader_that_hangs_on_to_the_stream_does_not_keep_the_output_on(bay, server):
    smu = bay.open(server.resource)
    stream = smu.stream("iv_sweep", **SWEEP | {"points": 201})

    iterator = iter(stream)
    next(iterator)  # and no more for now

    server.log.wait_for("output_off")
    assert not server.instrument.output_on
    assert sum(len(chunk["time_s"]) for chunk in iterator) > 0


def test_ctrl_c_in_the_reader_aborts_and_keeps_the_points(bay):
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        smu = bay.open(server.resource)
        stream = smu.stream("iv_sweep", **SLOW)
        iterator = iter(stream)
        next(iterator)

        with pytest.raises(KeyboardInterrupt):
            iterator.throw(KeyboardInterrupt())

        assert (stream.run.state, stream.run.reason) == ("aborted", "keyboard")
        assert len(stream.run) > 0
        assert outputs(server)[-1]["event"] == "output_off"


def test_a_second_measurement_on_a_busy_instrument_is_refused_without_a_trace(bay):
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        smu = bay.open(server.resource)
        first = smu.stream("iv_sweep", **SLOW)
        iterator = iter(first)
        next(iterator)

        with pytest.raises(BusyError):
            smu.measure("iv_sweep", **SWEEP)
        with pytest.raises(BusyError):
            smu.write("*RST")

        iterator.close()
        assert len(bay.runs.list()) == 1
        assert smu.measure("iv_sweep", **SWEEP | {"nplc": 0.01}).state == "done"


def test_a_driver_that_raises_leaves_the_points_and_the_output_off(server, write_plugin, tmp_path):
    write_driver(write_plugin, tmp_path, "assert number < 5, 'sixth point'")
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(server.resource)

        with pytest.raises(
            DriverError, match=r"AssertionError: sixth point \(driver.py:\d+ in iv_sweep\)"
        ) as c:
            smu.measure("iv_sweep", **SWEEP)

        assert "driver.py" in c.value.traceback
        run = bay.runs.open(c.value.run_id or "")
        assert (run.state, len(run)) == ("failed", 5)
        assert "sixth point" in (run.reason or "")
    assert not server.instrument.output_on


def test_a_driver_without_the_output_guard_is_made_safe_by_its_manifest(
    server, write_plugin, tmp_path
):
    body = "number == 3 and 1 / 0"
    folder = write_driver(write_plugin, tmp_path, body)
    unguarded = (
        (folder / "driver.py")
        .read_text()
        .replace(
            'with self.output(on=":OUTP ON", off=":OUTP OFF"):',
            'self.write(":OUTP ON")\n        if True:',
        )
    )
    (folder / "driver.py").write_text(unguarded)
    with Bay(plugin_dirs=[tmp_path]) as bay:
        with pytest.raises(DriverError):
            bay.open(server.resource).measure("iv_sweep", **SWEEP)

        assert not server.instrument.output_on


def test_control_without_a_safe_state_such_a_driver_leaves_the_output_on(
    server, write_plugin, tmp_path
):
    folder = write_driver(write_plugin, tmp_path, "number == 3 and 1 / 0", safe_state=None)
    unguarded = (
        (folder / "driver.py")
        .read_text()
        .replace(
            'with self.output(on=":OUTP ON", off=":OUTP OFF"):',
            'self.write(":OUTP ON")\n        if True:',
        )
    )
    # reset() is what is left to try when nothing is declared; this one does not reach the output.
    unguarded += "\n    def reset(self):\n        pass\n"
    (folder / "driver.py").write_text(unguarded)
    with Bay(plugin_dirs=[tmp_path]) as bay:
        with pytest.raises(DriverError):
            bay.open(server.resource).measure("iv_sweep", **SWEEP)

        assert server.instrument.output_on


def test_a_driver_of_the_original_contract_measures_and_is_recorded(server, write_plugin, tmp_path):
    source = (
        "from drivebay import InstrumentDriver\n"
        "class Driver(InstrumentDriver):\n"
        "    def __init__(self, resource_name, config=None): self.resource = resource_name\n"
        "    def connect(self): return True\n"
        "    def disconnect(self): return True\n"
        "    def reset(self): pass\n"
        "    def get_identity(self): return {'manufacturer': 'K', 'model': '2400'}\n"
        "    def get_capabilities(self): return ['answer']\n"
        "    def configure(self, method, params): self.params = params\n"
        "    def measure(self, method, params):\n"
        "        return {'x': [1, 2, 3], 'y': [1.5, 2.5, 3.5], 'note': 'fine', 'n': params['n']}\n"
        "    def abort(self): pass\n"
        "    def get_status(self): return {}\n"
    )
    write_plugin(tmp_path, "old", driver_source=source, supported_models=["2400"])
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(server.resource)
        run = smu.measure("answer", n=7)

        assert run["y"].tolist() == [1.5, 2.5, 3.5]
        assert run["x"].tolist() == [1, 2, 3]
        assert run.values == {"note": "fine", "n": 7}
        # The keeper holds its link as well, so raw commands reach the instrument all the same.
        assert "MODEL 2400" in smu.query("*IDN?")


def test_leaving_the_block_stops_what_runs_and_closes_the_connection():
    with Keithley2400Server(device=Resistor(1000.0)) as server:
        with Bay() as bay:
            stream = bay.open(server.resource).stream("iv_sweep", **SLOW)
            next(iter(stream))

        server.log.wait_for("connection_closed")
        assert outputs(server)[-1]["event"] == "output_off"
        assert bay.runs.open(stream.run.id).state == "aborted"


def test_raw_commands_reach_the_instrument_and_the_transcript(bay, server):
    smu = bay.open(server.resource)

    smu.write(":SOUR:VOLT 0.125")

    assert float(smu.query(":SOUR:VOLT?")) == 0.125
    assert b":SOUR:VOLT 0.125" in b"".join(data for _, way, data in smu.transcript if way == "w")


def test_make_safe_turns_every_output_off_and_says_so(bay, server):
    smu = bay.open(server.resource)
    smu.write(":OUTP ON")
    server.log.wait_for("output_on")

    report = bay.make_safe()[smu.resource]

    assert report.verified is True
    assert not server.instrument.output_on


def test_a_closed_instrument_says_that_it_is_closed(bay, server):
    smu = bay.open(server.resource)
    smu.close()
    smu.close()

    for action in (lambda: smu.write("*CLS"), lambda: smu.measure("iv_sweep", **SWEEP)):
        with pytest.raises(PluginStateError, match="closed"):
            action()


def test_a_run_knows_where_it_came_from(bay, server):
    run = bay.open(server.resource).measure("iv_sweep", **SWEEP)

    assert run.provenance["idn"].startswith("KEITHLEY")
    assert run.provenance["plugin_path"].endswith("plugin.yaml")
    json.dumps(run.to_dict())


def test_nothing_in_the_record_of_a_diode_is_made_up(bay):
    """The points are the device's own: the simulated diode's equation gives them back."""
    diode = Diode(saturation_current_a=1e-12, ideality=1.6, series_resistance_ohm=2.0)
    with Keithley2400Server(device=diode, time_scale=0.0, noise=False) as server:
        run = bay.open(server.resource).measure("iv_sweep", **SWEEP | {"nplc": 10})

    thermal_v = 8.617333262e-5 * diode.temperature_k * 1.6
    junction_v = run["voltage_v"] - 2.0 * run["current_a"]
    expected = 1e-12 * np.expm1(junction_v / thermal_v)
    free = ~run["in_compliance"] & (run["current_a"] > 1e-6)
    np.testing.assert_allclose(run["current_a"][free], expected[free], rtol=2e-3)


def test_the_code_in_service_can_be_started_again_whatever_became_of_its_files(
    server, write_plugin, tmp_path
):
    folder = write_driver(write_plugin, tmp_path, "pass")
    with Bay(plugin_dirs=[tmp_path]) as bay:
        first = bay.open(server.resource)
        sha256 = first.code["sha256"]
        first.close()
        (folder / "driver.py").write_text("def broken(:\n", encoding="utf-8")
        assert not bay.plugins.reload_plugin(first.plugin_name)

        again = bay.open(server.resource)

        assert again.code["sha256"] == sha256
        assert again.plugin.degraded
        assert again.measure("iv_sweep", **SWEEP).state == "done"
