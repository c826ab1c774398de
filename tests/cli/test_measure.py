"""``drivebay measure``: options of the method, the JSON of a run, and how it fails."""

from __future__ import annotations

import os
import pty
import re

import pytest

from drivebay import Bay
from drivebay.cli import failures
from drivebay.driver import STANDARD, fields
from drivebay.sim import Keithley2400Server, OpenCircuit

SWEEP = ["--start-v", "0", "--stop-v", "0.6", "--points", "13", "--compliance-a", "10mA"]

OWN_METHOD = """\
import msgspec

from drivebay.driver import ScpiDriver, method


class Wiggle(msgspec.Struct):
    level_v: float
    times: int = 2


class Driver(ScpiDriver):
    @method("wiggle", parameters=Wiggle, columns=[("level_v", "V"), ("ratio", "")])
    def wiggle(self, p):
        yield {"level_v": [p.level_v] * p.times, "ratio": [float("nan")] * p.times}

    @method("anything")
    def anything(self, params):
        yield {"kept": [len(params)], "words": [sum(isinstance(v, str) for v in params.values())]}

    @method("fails")
    def fails(self, params):
        yield {"points": [1.0, 2.0]}
        raise ZeroDivisionError("in the driver")
"""


@pytest.fixture
def own_method(user_plugins, write_plugin):
    """A plugin with methods of its own, for an instrument that is named to it."""
    methods = ["wiggle", "anything", "fails"]
    return write_plugin(
        user_plugins, "wiggler", driver_source=OWN_METHOD, supported_methods=methods
    )


def test_a_sweep_gives_one_object_with_the_run_and_its_columns(drivebay, bench, home):
    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP, "--json")

    run = done.json
    assert done.code == failures.OK
    assert run["plugin"]["name"] == "keithley_2400"
    assert len(run["plugin"]["sha256"]) == 64
    assert run["plugin"]["version"]
    assert run["identity"]["model"] == "MODEL 2400"
    assert run["parameters"]["compliance_a"] == 0.01
    assert run["units"] == {"voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": ""}
    assert list(run["columns"]) == list(run["units"])
    assert all(len(column) == 13 for column in run["columns"].values())
    with Bay() as bay:
        assert bay.runs.open(run["run"]).state == "done"
    assert bench.instrument.output_on is False


def test_for_a_person_it_shows_the_run_and_some_rows(drivebay, bench):
    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP)

    assert done.code == failures.OK
    assert "iv_sweep  done, 13 rows" in done.out
    assert "current_a" in done.out
    assert done.err == ""


def test_a_standard_method_has_an_option_for_each_parameter_with_its_unit(drivebay):
    shown = drivebay("measure", "iv_sweep", "--help").out

    for field in fields(STANDARD["iv_sweep"]):
        assert f"--{field.name.replace('_', '-')}" in shown
    assert "--compliance-a A" in shown
    assert "[linear|list|log]" in shown or "[linear|log|list]" in shown


def test_levels_flags_and_choices_reach_the_method(drivebay, bench):
    words = ["--spacing", "list", "--levels-v", "0.1, 200mV,0.3", "--up-and-down", "--four-wire"]

    done = drivebay(
        "measure", "iv_sweep", "--on", bench.resource, *words, "--compliance-a", "1mA", "--json"
    )

    assert done.code == failures.OK
    assert done.json["parameters"]["levels_v"] == [0.1, 0.2, 0.3]
    assert done.json["parameters"]["four_wire"] is True
    assert len(done.json["columns"]["voltage_v"]) == 5


def test_negative_levels_are_values_and_not_options(drivebay, bench):
    words = ["--start-v", "-1", "--stop-v=-100mV", "--points", "3", "--compliance-a", "1mA"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *words, "--json")

    assert done.json["parameters"]["start_v"] == -1.0
    assert done.json["parameters"]["stop_v"] == -0.1


def test_all_wrong_parameters_are_told_at_once_and_nothing_is_measured(drivebay, bench):
    words = ["--start-v", "abc", "--points", "1.5", "--compliance-a", "10mV"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *words, "--json")

    assert done.code == failures.USAGE
    places = [each["path"] for each in done.json["error"]["problems"]]
    assert places == ["/start_v", "/stop_v", "/points", "/compliance_a"]
    assert done.json["error"]["type"] == "ParameterError"
    assert "--compliance-a: '10mV'" in done.err
    assert not bench.log.named("output_on")


def test_a_level_beyond_the_model_is_refused_with_the_limit(drivebay, bench):
    words = ["--start-v", "0", "--stop-v", "900", "--points", "3", "--compliance-a", "1mA"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *words)

    assert done.code == failures.USAGE
    assert "--stop-v: 900 V is outside -210 to 210 V" in done.err


def test_where_nobody_listens_it_exits_with_3(drivebay):
    done = drivebay("measure", "iv_sweep", "--on", "TCPIP::127.0.0.1::1::SOCKET", *SWEEP, "--json")

    assert done.code == failures.NOT_FOUND
    assert done.json["error"]["type"] == "LinkOpenError"


def test_an_address_that_is_none_is_a_usage_error(drivebay):
    done = drivebay("measure", "iv_sweep", "--on", "TCPIP:host", *SWEEP)

    assert done.code == failures.USAGE


def test_a_method_nobody_has_names_the_nearest(drivebay, bench):
    done = drivebay("measure", "iv_swep", "--on", bench.resource)

    assert done.code == failures.NOT_FOUND
    assert "did you mean 'iv_sweep'?" in done.err


def test_an_instrument_nobody_serves_exits_with_3(drivebay, user_plugins):
    drivebay("plugins", "disable", "keithley_2400", "--reason", "being repaired")
    with Keithley2400Server(device=OpenCircuit(), time_scale=0) as server:
        done = drivebay("measure", "iv_sweep", "--on", server.resource, *SWEEP, "--plugin", "none")
        refused = drivebay("measure", "iv_sweep", "--on", server.resource, *SWEEP)

    assert done.code == failures.NOT_FOUND
    assert "none" in done.err
    assert refused.code == failures.NOT_FOUND


def test_a_plugin_s_own_method_takes_typed_parameters_by_name(drivebay, bench, own_method):
    words = ["--plugin", "wiggler", "--set", "level-v=200mV", "--set", "times=3"]

    done = drivebay("measure", "wiggle", "--on", bench.resource, *words, "--json")

    assert done.code == failures.OK
    assert done.json["parameters"] == {"level_v": 0.2, "times": 3}
    assert done.json["units"] == {"level_v": "V", "ratio": ""}


def test_not_a_number_is_null(drivebay, bench, own_method):
    words = ["--plugin", "wiggler", "--set", "level_v=1"]

    done = drivebay("measure", "wiggle", "--on", bench.resource, *words, "--json")

    assert done.json["columns"] == {"level_v": [1.0, 1.0], "ratio": [None, None]}


def test_values_of_a_free_method_are_json_where_they_can_be(drivebay, bench, own_method):
    words = ["--plugin", "wiggler", "--set", "a=1", "--set", "b=[1, 2]", "--set", "c=two words"]

    done = drivebay("measure", "anything", "--on", bench.resource, *words, "--json")

    assert done.json["parameters"] == {"a": 1, "b": [1, 2], "c": "two words"}
    assert done.json["columns"] == {"kept": [3], "words": [1]}


def test_a_parameter_without_a_value_is_a_usage_error(drivebay, bench, own_method):
    done = drivebay("measure", "anything", "--on", bench.resource, "--set", "a")

    assert done.code == failures.USAGE
    assert "NAME=VALUE" in done.err


def test_a_driver_that_raises_fails_the_run_and_keeps_its_points(drivebay, bench, own_method):
    done = drivebay("measure", "fails", "--on", bench.resource, "--plugin", "wiggler", "--json")

    error = done.json["error"]
    assert done.code == failures.FAILED
    assert error["type"] == "DriverError"
    assert "ZeroDivisionError: in the driver" in error["message"]
    assert "Traceback" not in done.err
    with Bay() as bay:
        run = bay.runs.open(error["run"])
        assert run.state == "failed"
        assert list(run["points"]) == [1.0, 2.0]


def test_a_config_that_does_not_fit_is_a_usage_error(drivebay, bench):
    words = ["--config", "terminals=SIDE"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP, *words)

    assert done.code == failures.USAGE
    assert "terminals" in done.err


def test_a_plot_is_drawn_on_request(drivebay, bench, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "iv.png"

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *SWEEP, "--plot", str(picture))

    assert done.code == failures.OK
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_instrument_is_called_by_its_name_on_the_bench(drivebay, bench, bench_file):
    bench_file()

    done = drivebay("measure", "iv_sweep", "--on", "smu1", *SWEEP, "--json")

    assert done.code == failures.OK
    assert done.json["resource"] == bench.resource


def test_a_level_beyond_the_bench_is_refused_with_the_file_that_says_so(
    drivebay, bench, bench_file
):
    bench_file(limits={"voltage_v": [-0.7, 0.7]})

    within = drivebay("measure", "iv_sweep", "--on", "smu1", *SWEEP)
    beyond = drivebay("measure", "iv_sweep", "--on", "smu1", *SWEEP, "--stop-v", "0.8")

    assert within.code == failures.OK, within.err
    assert beyond.code == failures.USAGE
    assert "--stop-v: 0.8 V is outside -0.7 to 0.7 V" in beyond.err
    assert "bench.yaml" in beyond.err


def test_another_instrument_than_the_bench_pins_is_refused(process, bench, bench_file):
    bench_file(identity={"model": "MODEL 2400", "serial": "7654321"})

    done = process("measure", "iv_sweep", "--on", "smu1", *SWEEP, "--json")

    assert done.code == failures.FAILED
    assert done.json["error"]["type"] == "IdentityError"
    assert "7654321" in done.err
    assert "put the right instrument back" in done.err
    assert not bench.log.named("output_on")


@pytest.mark.slow
def test_an_instrument_somebody_holds_is_refused_until_it_is_taken_over(process, bench, holder):
    words = ["measure", "iv_sweep", "--on", bench.resource, *SWEEP, "--json"]

    refused = process(*words)
    taken = process(*words, "--force")

    assert refused.code == failures.FAILED
    assert refused.json["error"]["type"] == "LeaseError"
    assert refused.json["error"]["holder"]["pid"] == holder
    assert "--force" in refused.err
    assert taken.code == failures.OK, taken.err
    # Made safe before it changed hands, and on again for the sweep.
    outputs = [each["event"] for each in bench.log.named("output_on", "output_off")]
    assert outputs[:3] == ["output_on", "output_off", "output_on"]


NOISY = """\
import os
import signal
import sys
import time

from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    @method("talks")
    def talks(self, params):
        print("a word of the driver's")
        yield {"pid": [os.getpid()]}

    @method("dies")
    def dies(self, params):
        yield {"points": [1.0, 2.0]}
        os.kill(os.getpid(), signal.SIGSEGV)

    @method("hangs")
    def hangs(self, params):
        yield {"points": [1.0]}
        while True:
            pass

    @method("beyond")
    def beyond(self, params):
        self.write(":SOUR:VOLT 5")
        yield {"points": [1.0]}
"""


@pytest.fixture
def noisy(user_plugins, write_plugin):
    """A plugin that misbehaves, for an instrument that is named to it."""
    manifest = {
        "supported_methods": ["talks", "dies", "hangs", "beyond"],
        "safe_state": {"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
        "dialect": {
            "energise": [":OUTPut[:STATe] ON"],
            "off": [":OUTPut[:STATe] OFF"],
            "levels": {":SOURce:VOLTage[:LEVel]": {"quantity": "voltage_v", "unit": "V"}},
        },
        "ranges": {"Model 2400": {"voltage_v": [-1, 1]}},
    }
    return write_plugin(user_plugins, "noisy", driver_source=NOISY, **manifest)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--inline"]])
def test_what_a_driver_prints_goes_to_standard_error(process, bench, noisy, words):
    words = ["--on", bench.resource, "--plugin", "noisy", "--json", *words]

    done = process("measure", "talks", *words)

    assert done.code == failures.OK
    assert done.json["state"] == "done"
    assert "a word of the driver's" in done.err


@pytest.mark.slow
def test_a_driver_that_crashes_is_a_few_lines_and_the_points_are_kept(process, bench, noisy):
    words = ["--on", bench.resource, "--plugin", "noisy", "--json"]

    done = process("measure", "dies", *words)
    loud = process("-v", "measure", "dies", *words)

    error = done.json["error"]
    assert done.code == failures.FAILED
    assert (error["type"], error["signal"]) == ("DriverCrashedError", "SIGSEGV")
    assert "only the driver's process is gone" in done.err
    assert "Traceback" not in done.err
    assert "in dies" in loud.err
    with Bay() as bay:
        run = bay.runs.open(error["run"])
        assert (run.state, list(run["points"])) == ("failed", [1.0, 2.0])


@pytest.mark.slow
def test_a_driver_that_hangs_is_ended_and_told(process, bench, noisy):
    words = ["--on", bench.resource, "--plugin", "noisy", "--json"]

    done = process("-v", "measure", "hangs", *words)

    error = done.json["error"]
    assert done.code == failures.FAILED
    assert error["type"] == "DriverHungError"
    assert error["waited_s"] > 0
    assert "its process was ended" in done.err
    assert "in hangs" in done.err  # where it stood


@pytest.mark.slow
def test_an_instrument_that_could_not_be_made_safe_is_refused_until_it_is_acknowledged(
    process, bench, user_plugins, write_plugin
):
    liar = {"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "7"}}
    keys = {"supported_methods": ["dies", "talks"], "safe_state": liar}
    write_plugin(user_plugins, "liar", driver_source=NOISY, **keys)
    words = ["--on", bench.resource, "--plugin", "liar", "--json"]

    process("measure", "dies", *words)
    refused = process("measure", "talks", *words)
    allowed = process("measure", "talks", *words, "--acknowledge")

    assert refused.code == failures.FAILED
    assert refused.json["error"]["type"] == "UnsafeError"
    assert "--acknowledge" in refused.err
    assert refused.json["error"]["problems"]
    assert allowed.code == failures.OK, allowed.err


@pytest.mark.slow
def test_a_command_beyond_the_limits_is_refused_with_its_source(process, bench, noisy):
    done = process("measure", "beyond", "--on", bench.resource, "--plugin", "noisy", "--json")

    assert done.code == failures.FAILED
    assert done.json["error"]["type"] == "LimitError"
    assert "drivebay bench show" in done.err
    assert not bench.log.named("level")


@pytest.mark.slow
def test_on_a_terminal_the_curve_grows_and_standard_output_stays_clean(start, bench):
    terminal, theirs = pty.openpty()
    words = ["--start-v", "0", "--stop-v", "0.6", "--points", "301", "--compliance-a", "10mA"]
    settings = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}

    running = start(
        "measure", "iv_sweep", "--on", bench.resource, *words, stderr=theirs, add=settings
    )
    os.close(theirs)
    drawn = read_terminal(terminal)
    out = running.stdout.read()

    assert running.wait(timeout=60) == failures.OK
    assert "301/301" in drawn
    assert "0 V" in drawn
    assert re.search("[\u2801-\u28ff]", drawn), "no curve"
    assert "iv_sweep  done, 301 rows" in out
    assert "301/301" not in out


def read_terminal(terminal: int) -> str:
    """Everything a process writes to a terminal, until nobody has it open any more."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says EIO at the end of a terminal
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode("utf-8")
        parts.append(part)


CURVE = [
    *("--gate-start-v", "0", "--gate-stop-v", "1", "--points", "3", "--drain-v", "100mV,1"),
    *("--drain-compliance-a", "10mA", "--gate-compliance-a", "100uA"),
]


def test_a_transfer_curve_is_measured_with_one_instrument_at_the_gate_and_one_at_the_drain(
    drivebay, bench, home
):
    with Keithley2400Server(time_scale=0.0, serial_number="2") as other:
        done = drivebay(
            *("measure", "transfer_curve", "--gate", other.resource, "--drain", bench.resource),
            *(*CURVE, "--json"),
        )

    run = done.json
    assert done.code == failures.OK
    assert len(run["columns"]["drain_current_a"]) == 6
    assert run["provenance"]["instruments"]["gate"]["resource"] == other.resource


@pytest.mark.parametrize("places", [[], ["--gate", "a"], ["--on", "a", "--gate", "b"]])
def test_curves_need_one_instrument_or_two(drivebay, home, places):
    done = drivebay("measure", "transfer_curve", *places, *CURVE)

    assert done.code == failures.USAGE
    assert "--gate INSTRUMENT and --drain INSTRUMENT" in done.err


def test_one_instrument_is_not_at_both_places(drivebay, home):
    done = drivebay("measure", "transfer_curve", "--gate", "a", "--drain", "a", *CURVE)

    assert done.code == failures.USAGE
    assert "--gate and --drain are both 'a'" in done.err


def test_a_name_where_no_bench_file_names_any_is_told_so(process):
    done = process("measure", "iv_sweep", "--on", "smu1", *SWEEP)

    assert done.code == failures.USAGE
    assert "there is no bench file here that names instruments" in done.err
