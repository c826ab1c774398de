"""Replaying runs of the store: measured with a bay; whose code may run; what is not whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from drivebay import (
    AbortedError,
    Bay,
    ForeignCodeError,
    LimitError,
    Run,
    RunError,
    RunStore,
    StoreError,
)
from drivebay._core.replay import recording_of
from drivebay._core.runs import plain
from drivebay._core.runs.transcript import blocks
from drivebay._core.runs.writer import Beside, Event
from drivebay.sim import Diode, Keithley2400Server

SWEEP = {"start_v": -0.5, "stop_v": 0.8, "points": 250, "compliance_a": 0.01, "nplc": 0.01}


@pytest.fixture(scope="module")
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(Diode(), time_scale=0) as running:
        yield running


@pytest.fixture
def run(server: Keithley2400Server) -> Run:
    with Bay() as bay, bay.open(server.resource) as smu:
        return smu.measure("iv_sweep", **SWEEP)


def test_a_run_is_replayed_identical_with_its_own_code(run: Run) -> None:
    found = run.replay()

    assert found.verdict == "identical", (found.traffic, found.points, found.error)
    assert found.rows == 250
    assert found.run == run.id
    assert found.plugin["sha256"] == run.plugin["sha256"]


def test_the_second_run_of_an_open_instrument_is_replayed_too(server: Keithley2400Server) -> None:
    with Bay() as bay:
        smu = bay.open(server.resource)
        smu.measure("iv_sweep", **SWEEP)
        second = smu.measure("iv_sweep", **{**SWEEP, "points": 20})
        found = bay.runs.replay(second)

    assert found.identical


def test_a_driver_s_options_are_those_of_the_run(server: Keithley2400Server) -> None:
    with Bay() as bay, bay.open(server.resource, config={"terminals": "REAR"}) as smu:
        run = smu.measure("iv_sweep", **{**SWEEP, "points": 5})

    found = run.replay()

    assert found.identical
    assert b":ROUT:TERM REAR\n" in [each.data for each in found.replayed]


def test_a_run_that_was_aborted_is_replayed_up_to_that() -> None:
    with Keithley2400Server(Diode()) as slow, Bay() as bay, bay.open(slow.resource) as smu:
        stream = smu.stream("iv_sweep", **{**SWEEP, "points": 2000, "nplc": 1.0})
        next(iter(stream))
        stream.abort()
        with pytest.raises(AbortedError):
            for _ in stream:
                pass
        run = stream.run

    found = run.replay()

    assert run.state == "aborted"
    assert found.identical, (found.traffic, found.points, found.error)


def test_where_a_run_was_stopped_from_outside_is_found_in_its_record(home: Path) -> None:
    said = [b"*RST", b":OUTP OFF", b":OUTP ON", b":READ?", b":OUTP OFF", b":OUTP?"]
    seconds = [0.0, 0.1, 0.2, 9.0, 9.1, 9.2]
    traffic = [(int(at * 1e9), "w", data) for at, data in zip(seconds, said, strict=True)]
    report = plain.to_text({"sent": [":ABOR", ":OUTP OFF"], "verified": True}, "report")
    events = [Event(int(9.3e9), "safe_state", report)]
    with RunStore(home / "runs").create(method="iv_sweep", plugin={"name": "mine"}) as writer:
        writer.keep([], Beside(blocks("measure", traffic), events))
        writer.finish("aborted", "an emergency stop")

    stopped_ns = recording_of(writer.run).stopped_ns

    # Not where the driver itself had switched off, long before.
    assert stopped_ns == int(9.1e9)


def test_code_that_no_plugin_here_has_runs_only_when_it_is_trusted(
    server: Keithley2400Server, user_driver: Path
) -> None:
    with Bay() as bay, bay.open(server.resource, plugin="my_smu") as smu:
        run = smu.measure("volts")
    known = run.replay()
    (user_driver / "driver.py").write_text("# edited since\n")

    with pytest.raises(ForeignCodeError, match="no plugin here has") as caught:
        run.replay()

    assert caught.value.plugin == "my_smu"
    assert known.identical
    assert run.replay(trust=True).identical


DRIVER = """\
from drivebay.driver import ScpiDriver, method


class MySmu(ScpiDriver):
    @method("volts", columns=[("level_v", "V")])
    def volts(self, p):
        self.write(":SOUR:VOLT 0.5")
        yield {"level_v": [float(self.query(":SOUR:VOLT?"))]}
"""
MANIFEST = """\
name: my_smu
version: 1.0.0
author: A. Tester
description: a driver under edit
driver_class: driver.MySmu
supported_methods: [volts]
supported_models: ["2400"]
safe_state: {writes: [":OUTP OFF"], verify: {query: ":OUTP?", equals: "0"}}
"""


@pytest.fixture
def user_driver(home: Path) -> Path:
    """A plugin in the user's folder."""
    folder = home / "plugins" / "my_smu"
    folder.mkdir(parents=True)
    (folder / "driver.py").write_text(DRIVER)
    (folder / "plugin.yaml").write_text(MANIFEST)
    return folder


def test_an_edit_is_seen_without_the_instrument(
    server: Keithley2400Server, user_driver: Path
) -> None:
    with Bay() as bay, bay.open(server.resource, plugin="my_smu") as smu:
        run = smu.measure("volts")
    (user_driver / "driver.py").write_text(DRIVER.replace("VOLT 0.5", "VOLT 0.7"))

    found = run.replay("my_smu")

    assert found.verdict == "differs"
    assert found.traffic is not None
    assert (found.traffic.expected, found.traffic.got) == (
        b":SOUR:VOLT 0.5\n",
        b":SOUR:VOLT 0.7\n",
    )
    assert found.traffic.where == ("driver.py:7 in volts",)


DIALECT = """\
dialect:
  levels: {":SOURce:VOLTage[:LEVel]": {quantity: voltage_v}}
  harmless: ["*IDN"]
"""
BENCH = """\
instruments:
  smu1: {{resource: "{resource}", plugin: my_smu, limits: {{voltage_v: [-0.6, 0.6]}}}}
"""


@pytest.fixture
def limited(server: Keithley2400Server, user_driver: Path, home: Path) -> Path:
    """The driver's file, its instrument on a bench that allows 0.6 V."""
    (user_driver / "plugin.yaml").write_text(MANIFEST + DIALECT)
    (home / "bench.yaml").write_text(BENCH.format(resource=server.resource))
    return user_driver / "driver.py"


def test_code_that_exceeds_the_limits_of_the_run_is_told_and_refused(limited: Path) -> None:
    with Bay() as bay, bay.open("smu1") as smu:
        run = smu.measure("volts")
    limited.write_text(DRIVER.replace("VOLT 0.5", "VOLT 0.7"))

    found = run.replay("my_smu")

    (refusal,) = found.refusals
    assert (refusal.code, refusal.quantity, refusal.value) == ("L001", "voltage_v", 0.7)
    assert refusal.limit == (-0.6, 0.6)
    assert refusal.where == ("driver.py:7 in volts",)
    assert "bench.yaml" in str(refusal)
    assert isinstance(found.error, LimitError)
    assert (found.verdict, found.same_refusals) == ("failed", False)
    assert b":SOUR:VOLT 0.7\n" not in [each.data for each in found.replayed]
    assert found.to_dict()["refusals"][0]["value"] == 0.7


def test_code_within_the_limits_of_the_run_is_played(limited: Path) -> None:
    with Bay() as bay, bay.open("smu1") as smu:
        run = smu.measure("volts")
    limited.write_text(DRIVER.replace("VOLT 0.5", "VOLT 0.6"))

    found = run.replay("my_smu")

    assert (found.refusals, found.error, found.verdict) == ((), None, "differs")
    assert run.replay(trust=True).identical


CAREFUL = """\
        try:
            self.write(":SOUR:VOLT 5")
        except ValueError:
            self.write(":SOUR:VOLT 0.5")
"""


@pytest.mark.parametrize(
    ("body", "state"),
    [(CAREFUL, "done"), ('        self.write(":SOUR:VOLT 5")\n', "failed")],
)
def test_what_was_refused_in_the_run_is_refused_again_and_no_difference(
    limited: Path, body: str, state: str
) -> None:
    limited.write_text(DRIVER.replace('        self.write(":SOUR:VOLT 0.5")\n', body))
    with Bay() as bay, bay.open("smu1") as smu:
        with suppress(LimitError):
            smu.measure("volts")
        run = bay.runs.open("last")

    found = run.replay()

    assert run.state == state
    assert (len(found.refusals), found.same_refusals) == (1, True)
    assert found.identical, (found.traffic, found.error)


def test_the_refusal_that_ended_a_run_is_known_though_its_event_came_too_late(home: Path) -> None:
    with RunStore(home / "runs").create(method="volts", plugin={"name": "mine"}) as writer:
        writer.keep([], Beside(blocks("measure", [(1, "w", b"*CLS\n")]), []))
        writer.finish("failed", "LimitError: r: 5 V is beyond -0.6 to 0.6 V")

    assert recording_of(writer.run).refused == ["r: 5 V is beyond -0.6 to 0.6 V"]


PROTECTED = """\
dialect:
  energise: [":OUTPut[:STATe] ON"]
  "off": [":OUTPut[:STATe] OFF"]
  levels: {":SOURce:VOLTage[:LEVel]": {quantity: voltage_v}}
  clamps: {":SENSe:CURRent:PROTection[:LEVel]": {quantity: current_a, first: true}}
  harmless: ["*IDN"]
"""
SWITCHES_ON = """\
        self.write(":SENS:CURR:PROT 0.01", ":SOUR:VOLT 0.5", ":OUTP ON", ":OUTP OFF")
"""


def test_what_the_keeper_asked_by_itself_is_no_difference(limited: Path, home: Path) -> None:
    (limited.parent / "plugin.yaml").write_text(MANIFEST + PROTECTED)
    bench = (home / "bench.yaml").read_text()
    (home / "bench.yaml").write_text(bench.replace("limits: {", "limits: {current_a: 0.02, "))
    limited.write_text(DRIVER.replace('        self.write(":SOUR:VOLT 0.5")\n', SWITCHES_ON))
    with Bay() as bay, bay.open("smu1") as smu:
        run = smu.measure("volts")

    found = run.replay()

    asked = [each.data for each in run.transcript if each.data.startswith(b":SENS:CURR:PROT")]
    assert b":SENS:CURR:PROT?\n" in asked  # which the driver did not ask
    assert found.identical, (found.traffic, found.error, found.refusals)
    assert b":SENS:CURR:PROT?\n" in [each.data for each in found.replayed]


def test_code_that_refuses_itself_what_the_limits_refused_differs(limited: Path) -> None:
    limited.write_text(DRIVER.replace('        self.write(":SOUR:VOLT 0.5")\n', CAREFUL))
    with Bay() as bay, bay.open("smu1") as smu:
        run = smu.measure("volts")
    limited.write_text(DRIVER)

    found = run.replay("my_smu")

    assert (found.traffic, found.refusals) == (None, ())
    assert (found.same_refusals, found.verdict) == (False, "differs")


def test_a_damaged_transcript_is_said_and_not_replayed(run: Run) -> None:
    with sqlite3.connect(run.path) as database:
        database.execute("UPDATE transcript SET data = zeroblob(length(data)) WHERE number = 1")

    with pytest.raises(StoreError, match="transcript block 1"):
        Run(run.path).replay()


@pytest.mark.parametrize(
    "odd", [{"identity": "nobody"}, {"bench": {"limits": {"voltage_v": "high"}}}]
)
def test_a_run_file_that_was_made_up_is_an_error_of_the_store(
    run: Run, odd: dict[str, object]
) -> None:
    made_up = Run(run.path)
    vars(made_up).update(odd)

    with pytest.raises(StoreError, match="no run of Drivebay"):
        made_up.replay()


def test_a_run_without_a_transcript_says_so(home: Path) -> None:
    writer = RunStore(home / "runs").create(method="iv_sweep", plugin={"name": "keithley_2400"})
    writer.finish("done")

    with pytest.raises(RunError, match="no transcript"):
        RunStore(home / "runs").open().replay()


def test_a_run_that_still_runs_is_not_replayed(home: Path) -> None:
    store = RunStore(home / "runs")
    running = store.create(method="iv_sweep", plugin={"name": "keithley_2400"})

    with running, pytest.raises(RunError, match="still running"):
        store.open().replay()
