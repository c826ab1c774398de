"""An open session: newer code takes over on the same link, older code goes on when it cannot."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import drivebay
from drivebay import (
    Bay,
    BusyError,
    DriverCrashedError,
    DriverError,
    IdentityError,
    LimitError,
    NoDriverError,
    PluginStateError,
)
from drivebay._core.errors import AbortedError, LeaseError, LinkLostError
from drivebay._core.host import Limits as HostLimits
from drivebay.driver import open_link
from drivebay.sim import Diode, Keithley2400Server

FOREVER = (
    "while True:",
    '            yield {"edition": [1.0]}',
    "            self.sleep(0.01)",
)
SWEEP = {"start_v": 0.0, "stop_v": 0.5, "points": 21, "compliance_a": 0.01, "nplc": 0.01}

MANIFEST = """\
name: my_smu
version: 1.0.0
author: A. Tester
description: a driver under edit
driver_class: driver.MySmu
supported_methods: [voltage]
supported_models: ["2400"]
safe_state:
  interrupt: [":ABOR"]
  writes: [":OUTP OFF"]
  verify: {query: ":OUTP?", equals: "0"}
"""
DRIVER = """\
from drivebay.driver import ScpiDriver, method


class MySmu(ScpiDriver):
    def __init__(self, resource_name, config=None):
        super().__init__(resource_name, config)
        self.count = 0

    @method("voltage", columns=[("edition", "")])
    def voltage(self, p):
        self.count += 1
        yield {"edition": [1.0]}

    def export_state(self):
        return {"count": self.count}

    def resume(self, state):
        self.count = state["count"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(Diode(), time_scale=0) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "plugins" / "my_smu"
    home.mkdir(parents=True)
    (home / "plugin.yaml").write_text(MANIFEST, encoding="utf-8")
    (home / "driver.py").write_text(DRIVER, encoding="utf-8")
    return home


@pytest.fixture
def bay(folder: Path) -> Iterator[Bay]:
    with Bay(plugin_dirs=[folder.parent]) as opened:
        yield opened


def connections(server: Keithley2400Server) -> int:
    return sum(event["event"] == "connection_opened" for event in server.log.events)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "driver.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_no_plugin_code_runs_in_the_owners_process(bay, folder, server, hook):
    edit(folder, "from drivebay.driver", "import hook\nfrom drivebay.driver")

    with pytest.raises(Exception, match="No module named 'hook'"):
        bay.open(server.resource)

    assert hook.seen == []


def test_control_inline_it_does(bay, folder, server, monkeypatch):
    edit(folder, "class MySmu", "import os\nos.environ['SEEN_BY_OWNER'] = '1'\n\n\nclass MySmu")
    monkeypatch.delenv("SEEN_BY_OWNER", raising=False)

    with bay.open(server.resource):
        assert "SEEN_BY_OWNER" not in os.environ
    with bay.open(server.resource, isolation="inline"):
        assert os.environ["SEEN_BY_OWNER"] == "1"


def test_newer_code_takes_over_with_the_state_and_without_a_reconnect(bay, folder, server):
    with bay.open(server.resource) as smu:
        before, host = connections(server), smu.host_pid
        assert smu.voltage()["edition"].tolist() == [1.0]

        edit(folder, "[1.0]", "[2.0]")
        assert bay.plugins.reload_plugin("my_smu")

        assert smu.voltage()["edition"].tolist() == [2.0]
        assert smu.driver.export_state() == {"count": 2}
        assert smu.reloads == 1
        assert smu.host_pid != host
        assert (connections(server), smu.reconnects) == (before, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class MySmu", "class MySmu("),
        ("class MySmu", "import sys\nsys.exit(3)\nclass MySmu"),
        ("class MySmu", "import os\nos._exit(3)\nclass MySmu"),
        ("@method", "def get_identity(self): return {'model': '9999'}\n    @method"),
        ("self.count = state", "self.count = state['gone']\n        self.count = state"),
        ("super().__init__(resource_name, config)", "raise RuntimeError('no')"),
    ],
    ids=["syntax", "exit", "crash", "other instrument", "resume", "constructor"],
)
def test_broken_code_leaves_the_old_at_work_and_says_so(bay, folder, server, old, new):
    with bay.open(server.resource) as smu:
        smu.voltage()
        code, host = smu.code, smu.host_pid

        edit(folder, old, new)
        bay.plugins.reload_plugin("my_smu")

        info = bay.plugins.plugins["my_smu"]
        assert info.degraded
        assert info.error_message
        assert smu.voltage().state == "done"
        assert (smu.code, smu.host_pid, smu.reloads) == (code, host, 0)


@pytest.mark.parametrize("isolation", ["process", "inline"])
@pytest.mark.parametrize("body", ["return 5", "return [1, 2]", "return 'ab'", "raise KeyError(1)"])
def test_a_state_that_is_none_leaves_the_old_code_at_work(bay, folder, server, body, isolation):
    edit(folder, 'return {"count": self.count}', body)
    with bay.open(server.resource, isolation=isolation) as smu:
        smu.voltage()
        edit(folder, "[1.0]", "[2.0]")

        bay.plugins.reload_plugin("my_smu")

        assert smu.voltage()["edition"].tolist() == [1.0]
        assert smu.reloads == 0
        assert "export_state" in bay.plugins.plugins["my_smu"].error_message


def test_an_interrupted_take_over_leaves_the_instrument_free(bay, folder, server):
    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    with bay.open(server.resource) as smu:
        edit(folder, "super().__init__(resource_name, config)", "raise RuntimeError('no')")
        smu._session.on_degraded = interrupted
        with pytest.raises(KeyboardInterrupt):
            bay.plugins.reload_plugin("my_smu")

        assert smu.voltage()["edition"].tolist() == [1.0]


def test_code_that_came_while_it_was_opened_takes_over(bay, folder, server, tmp_path):
    here, go = tmp_path / "here", tmp_path / "go"
    os.mkfifo(here)
    os.mkfifo(go)
    waiting = f"open({str(here)!r}, 'w').close(); open({str(go)!r}).close()"
    edit(
        folder,
        "    @method",
        f"    def connect(self):\n        {waiting}\n"
        "        return super().connect()\n\n    @method",
    )
    opened = []
    thread = threading.Thread(target=lambda: opened.append(bay.open(server.resource)))
    thread.start()
    here.read_text()  # it is being connected

    edit(folder, "[1.0]", "[2.0]")
    edit(folder, waiting, "pass")
    assert bay.plugins.reload_plugin("my_smu")
    go.write_text("")
    thread.join(30)

    assert opened[0].voltage()["edition"].tolist() == [2.0]
    assert opened[0].reloads == 1


def test_broken_files_on_disk_keep_nobody_from_opening_what_is_in_service(bay, folder, server):
    with bay.open(server.resource):
        pass
    edit(folder, "class MySmu", "class MySmu(")
    bay.plugins.reload_plugin("my_smu")

    with bay.open(server.resource) as smu:
        assert smu.voltage()["edition"].tolist() == [1.0]


def test_during_a_measurement_newer_code_waits_its_turn(bay, folder, server, caplog):
    edit(
        folder,
        'yield {"edition": [1.0]}',
        'yield {"edition": [1.0]}\n        self.sleep(30)\n        yield {"edition": [1.0]}',
    )
    with bay.open(server.resource) as smu:
        stream = smu.stream("voltage")
        chunks = iter(stream)
        next(chunks)

        edit(folder, "self.sleep(30)", "pass")
        assert bay.plugins.reload_plugin("my_smu")
        assert "waits until the measurement has ended" in caplog.text
        assert smu.reloads == 0
        smu.abort()
        with pytest.raises(Exception, match="aborted"):
            list(chunks)

        assert smu.voltage()["edition"].tolist() == [1.0, 1.0]
        assert smu.reloads == 1


def test_a_second_measurement_is_refused_while_one_runs(bay, folder, server):
    edit(folder, "self.count += 1", "self.sleep(30)")
    with bay.open(server.resource) as smu:
        stream = smu.stream("voltage")
        iter(stream)

        with pytest.raises(BusyError):
            smu.query("*IDN?")
        smu.abort()


def test_a_killed_driver_is_an_error_and_the_next_measurement_runs(bay, server):
    with bay.open(server.resource) as smu:
        first = smu.host_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        run = smu.voltage()

        assert run.state == "done"
        assert smu.host_pid != first
        assert smu.reconnects == 0


def test_a_driver_that_crashes_three_times_is_disabled_with_the_reason(bay, folder, server):
    edit(folder, "self.count += 1", "import os; os.abort()")
    disabled = threading.Event()
    bay.plugins.subscribe(lambda event: event.kind == "disabled" and disabled.set())
    smu = bay.open(server.resource)

    for _ in range(3):
        with pytest.raises(DriverCrashedError, match="SIGABRT"):
            smu.voltage()

    assert disabled.wait(20)
    info = bay.plugins.plugins["my_smu"]
    assert info.status == "disabled"
    assert "crashed 3 times" in (info.reason or "")
    with pytest.raises(NoDriverError, match="crashed 3 times"):
        bay.open(server.resource)


def test_control_a_driver_killed_from_outside_three_times_is_not(bay, server):
    with bay.open(server.resource) as smu:
        for _ in range(3):
            os.kill(smu.host_pid, signal.SIGKILL)
            assert smu.voltage().state == "done"

    assert bay.plugins.plugins["my_smu"].status != "disabled"


def test_what_a_driver_prints_reaches_the_user(bay, folder, server, capsys):
    edit(folder, "self.count += 1", "print('hello from the host')")
    with bay.open(server.resource) as smu:
        smu.voltage()

    assert "[my_smu] hello from the host" in capsys.readouterr().err


def test_a_seed_style_driver_may_open_the_link_it_was_lent(tmp_path, server, write_plugin):
    source = (
        "from drivebay import InstrumentDriver\n"
        "from drivebay.driver import open_link\n"
        "class Driver(InstrumentDriver):\n"
        "    def __init__(self, resource_name, config=None): self.name = resource_name\n"
        "    def connect(self): self.link = open_link(self.name); return True\n"
        "    def disconnect(self): self.link.close(); return True\n"
        "    def reset(self): self.link.write('*RST')\n"
        "    def get_identity(self): return {'model': self.link.query('*IDN?').split(',')[1]}\n"
        "    def get_capabilities(self): return ['answer']\n"
        "    def configure(self, method, params): pass\n"
        "    def measure(self, method, params):\n"
        "        return {'x': [float(self.link.query(':OUTP?')), 2.0]}\n"
        "    def abort(self): pass\n"
        "    def get_status(self): return {}\n"
    )
    write_plugin(tmp_path, "old", driver_source=source, supported_models=["2400"])
    with Bay(plugin_dirs=[tmp_path]) as bay:
        for isolation in ("process", "inline"):
            with bay.open(server.resource, isolation=isolation) as smu:
                assert smu.measure("answer")["x"].tolist() == [0.0, 2.0]
                assert (b":OUTP?\n") in [data for _, way, data in smu.transcript if way == "w"]


# -- the bench -----------------------------------------------------------------------------------


def bench(tmp_path: Path, server: Keithley2400Server, **keys: object) -> Path:
    import yaml

    path = tmp_path / "bench.yaml"
    entry = {"resource": server.resource, **keys}
    path.write_text(yaml.safe_dump({"instruments": {"smu1": entry}}), encoding="utf-8")
    return path


def test_an_instrument_is_opened_by_its_name_on_the_bench(tmp_path, server):
    path = bench(tmp_path, server, plugin="keithley_2400", config={"timeout_s": 3})
    with Bay(bench=path) as bay, bay.open("smu1") as smu:
        assert (smu.alias, smu.resource) == ("smu1", server.resource)
        assert smu.iv_sweep(**SWEEP).state == "done"


def test_limits_of_the_bench_hold_for_parameters_and_for_raw_commands(tmp_path, server):
    path = bench(tmp_path, server, limits={"voltage_v": [-1, 1], "current_a": "1 mA"})
    with Bay(bench=path) as bay, bay.open("smu1") as smu:
        with pytest.raises(ValueError, match=r"bench\.yaml"):
            smu.iv_sweep(**{**SWEEP, "stop_v": 1.5, "compliance_a": 1e-3})
        with pytest.raises(LimitError, match=r"bench\.yaml"):
            smu.write(":sour:volt:lev 0.002kV")
        with pytest.raises(LimitError):
            smu.write(":OUTP ON")  # before its compliance was set
        with pytest.raises(LimitError):
            smu.write(":SYST:MAGIC 1")

        assert smu.iv_sweep(**{**SWEEP, "compliance_a": 1e-3}).state == "done"


def test_limits_of_the_bench_hold_for_a_link_without_a_driver(tmp_path, server, monkeypatch):
    path = bench(tmp_path, server, limits={"voltage_v": [-1, 1]}, policy="off")
    monkeypatch.setenv("DRIVEBAY_BENCH", str(path))

    for name in (server.resource, "smu1"):
        with open_link(name) as link:
            link.write(":SOUR:VOLT 0.5")
            with pytest.raises(LimitError, match=r"bench\.yaml"):
                link.write(":SOUR:VOLT 2")


def test_control_without_a_bench_a_link_is_under_no_limits(server):
    with open_link(server.resource) as link:
        link.write(":SOUR:VOLT 2")
        assert float(link.query(":SOUR:VOLT?")) == 2.0
        link.write("*RST")


def test_control_without_a_bench_the_instruments_own_ranges_are_the_limits(server):
    with Bay() as bay, bay.open(server.resource) as smu:
        smu.write(":sour:volt:lev 0.002kV")
        with pytest.raises(LimitError):
            smu.write(":SOUR:VOLT 400")
        smu.write("*RST")


def test_an_instrument_that_is_not_the_pinned_one_is_refused(tmp_path, server):
    path = bench(tmp_path, server, identity={"serial": "7654321"})
    with Bay(bench=path) as bay, pytest.raises(IdentityError, match="7654321"):
        bay.open("smu1")


def test_an_address_that_is_open_is_held(server):
    with (
        Bay() as one,
        Bay() as other,
        one.open(server.resource),
        pytest.raises(LeaseError, match="open in this program"),
    ):
        other.open(server.resource)


def test_a_status_that_never_comes_is_the_drivers_error(bay, folder, server):
    edit(
        folder,
        "    @method",
        "    def get_status(self):\n        import threading\n        threading.Event().wait()\n\n"
        "    @method",
    )
    with bay.open(server.resource) as smu:
        with pytest.raises(DriverError, match="get_status"):
            smu.status()
        assert smu.voltage().state == "done"


def test_ctrl_c_is_not_hidden_by_a_driver_that_cannot_abort(bay, folder, server, caplog):
    edit(folder, 'yield {"edition": [1.0]}', "\n".join(FOREVER))
    edit(folder, "    @method", "    def abort(self):\n        raise KeyError('no')\n\n    @method")
    with bay.open(server.resource, limits=HostLimits(stop_s=0.3)) as smu:
        chunks = iter(smu.stream("voltage"))
        next(chunks)
        with pytest.raises(KeyboardInterrupt):
            chunks.throw(KeyboardInterrupt)

    assert "abort by keyboard" in caplog.text


def test_one_instrument_under_two_addresses_is_said(server, caplog):
    # Two with one serial number look like two addresses of one: a second port, or another bus.
    with (
        Keithley2400Server(Diode(), time_scale=0) as other,
        Bay() as bay,
        bay.open(server.resource),
    ):
        assert "V013" not in caplog.text  # control
        with bay.open(other.resource):
            pass

    assert f"{other.resource} answers as {server.resource} does" in caplog.text


def test_another_name_of_a_host_is_no_second_instrument(server):
    with (
        Bay() as bay,
        bay.open(server.resource),
        pytest.raises(LeaseError, match="is the instrument of"),
    ):
        bay.open(server.resource.replace("127.0.0.1", "localhost"))


def test_a_plugin_without_a_safe_state_is_said_when_it_is_opened(bay, folder, server, caplog):
    text = MANIFEST.partition("safe_state:")[0]
    (folder / "plugin.yaml").write_text(text, encoding="utf-8")
    bay.plugins.discover_plugins()

    with bay.open(server.resource):
        pass

    assert "declares no safe state" in caplog.text


def test_everything_goes_off_at_once(server):
    with Keithley2400Server(Diode(), time_scale=0) as second, Bay() as bay:
        smus = [bay.open(server.resource), bay.open(second.resource)]
        for smu in smus:
            smu.write(":SENS:CURR:PROT 0.01", ":OUTP ON")

        reports = bay.make_safe()

        assert {name: report.verified for name, report in reports.items()} == {
            server.resource: True,
            second.resource: True,
        }
        assert not server.instrument.output_on
        assert not second.instrument.output_on


def test_a_measurement_during_which_everything_is_switched_off_counts_as_aborted():
    for chunks in (1, 2, 3):
        with Keithley2400Server(Diode(), time_scale=1) as server, Bay() as bay:
            smu = bay.open(server.resource)
            stream = smu.stream(
                "iv_sweep", start_v=0, stop_v=0.5, points=1000, compliance_a=0.01, nplc=0.01
            )
            given = iter(stream)
            for _ in range(chunks):
                next(given)

            reports = drivebay.all_outputs_off()

            with pytest.raises(AbortedError):
                list(given)
            assert reports[server.resource].verified is True
            assert not server.instrument.output_on
            assert stream.run.state == "aborted"
            assert len(stream.run) >= 100 * chunks
            with pytest.raises(AbortedError, match="acknowledge"):
                smu.write(":OUTP ON")


def test_an_instrument_whose_keeper_died_keeps_no_other_on(server):
    with Keithley2400Server(Diode(), time_scale=0) as second, Bay() as bay:
        lost = bay.open(server.resource)
        os.kill(lost.keeper_pid, signal.SIGKILL)
        with pytest.raises(LinkLostError):
            lost.query("*IDN?")
        smu = bay.open(second.resource)
        smu.write(":SENS:CURR:PROT 0.01", ":OUTP ON")

        reports = bay.make_safe()

        assert not second.instrument.output_on
        assert reports[second.resource].verified is True
        assert reports[server.resource].verified is False
        assert "its keeper is gone" in reports[server.resource].problems[0]


def test_a_driver_that_is_slow_to_stop_keeps_no_other_instrument_on(folder, server):
    deaf = [line.replace("self.sleep", "__import__('time').sleep") for line in FOREVER]
    edit(folder, 'yield {"edition": [1.0]}', "\n".join(deaf))
    edit(folder, "    @method", "    def abort(self):\n        pass\n\n    @method")
    builtin = Path(drivebay.__file__).parent / "drivers"
    sweep = {**SWEEP, "points": 900, "nplc": 1.0}
    with Keithley2400Server(Diode()) as second:
        bay = Bay(plugin_dirs=[folder.parent, builtin])
        first = bay.open(second.resource, plugin="keithley_2400")
        last = bay.open(server.resource, plugin="my_smu", limits=HostLimits(stop_s=4.0))
        last.write(":SENS:CURR:PROT 0.01")
        streams = [last.stream("voltage"), first.stream("iv_sweep", **sweep)]
        for stream in streams:
            next(iter(stream))
        closing = threading.Thread(target=bay.close)
        closing.start()

        second.log.wait_for("output_off")

        assert last._session.seat.exit is None  # it is closed first, and still measures
        closing.join(30)
        assert not closing.is_alive()


def test_closing_a_session_switches_off_what_was_left_on(server):
    with Bay() as bay:
        smu = bay.open(server.resource)
        smu.write(":SENS:CURR:PROT 0.01", ":OUTP ON")
        assert smu.status()["armed"]

        smu.close()

        assert not server.instrument.output_on


def test_a_plugin_that_can_only_run_inline_is_opened_so_only_when_asked(bay, folder, server):
    text = (folder / "plugin.yaml").read_text(encoding="utf-8")
    (folder / "plugin.yaml").write_text(text + "isolation: inline\n", encoding="utf-8")
    bay.plugins.discover_plugins()

    with pytest.raises(PluginStateError, match="isolation='inline'"):
        bay.open(server.resource)
    with bay.open(server.resource, isolation="inline") as smu:
        assert smu.host_pid is None


def test_after_an_abort_the_instrument_can_be_commanded_by_hand(server):
    with Bay() as bay, bay.open(server.resource) as smu:
        smu.abort()

        smu.write(":SENS:CURR:PROT 0.01", ":SOUR:VOLT 0.1")

        assert float(smu.query(":SOUR:VOLT?")) == 0.1
        smu.write("*RST")
