"""Defects 5e of the original platform, rows 72, 73, 78, 79, 82, 83: sessions, results, dev kit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivebay
from drivebay import (
    AbortedError,
    Bay,
    DriverCrashedError,
    DriverError,
    LeaseError,
    LinkOpenError,
    NoDriverError,
    ParameterError,
    PluginManager,
    PluginStatus,
    Run,
)
from drivebay.driver import LinkTimeoutError, open_link
from drivebay.sim import Diode, Keithley2400Server, Resistor
from drivebay.testing import check_driver

Found = Callable[..., PluginManager]
SOURCE = str(Path(drivebay.__file__).parents[1])
SWEEP: dict[str, Any] = {"start_v": 0, "stop_v": 0.5, "points": 11, "compliance_a": 0.01}

MANIFEST: dict[str, Any] = {
    "supported_methods": ["voltage"],
    "supported_models": ["2400"],
    "safe_state": {"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
}
COUNTING = """\
from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    count = 0

    @method("voltage", columns=[("edition", ""), ("count", "")])
    def voltage(self, p):
        self.count += 1
        yield {"edition": [1.0], "count": [float(self.count)]}

    def export_state(self):
        return {"count": self.count}

    def resume(self, state):
        self.count = state["count"]
"""


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(Diode(), time_scale=0) as running:
        yield running


@pytest.fixture
def counting(tmp_path: Path, write_plugin: Any) -> Path:
    """The folder of a plugin that counts its measurements."""
    folder: Path = write_plugin(tmp_path, "counting", driver_source=COUNTING, **MANIFEST)
    return folder


def program(code: str, *arguments: str) -> str:
    """What another program prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


# -- 72: the manager tracks no instances ---------------------------------------------------------


@pytest.mark.parametrize("end", ["unload_plugin", "disable_plugin", "shutdown"])
def test_every_instance_is_known_and_closed_when_its_plugin_goes_out_of_use(
    tmp_path: Path, write_plugin: Any, found: Found, end: str
) -> None:
    write_plugin(tmp_path, "acme")
    manager = found(tmp_path)
    manager.load_plugin("acme")
    drivers: list[Any] = [manager.get_driver("acme", f"SIM::{number}") for number in range(3)]
    for driver in drivers:
        driver.connect()

    getattr(manager, end)(*([] if end == "shutdown" else ["acme"]))

    assert [driver.connected for driver in drivers] == [False, False, False]
    assert manager.plugins["acme"].status is not PluginStatus.ACTIVE


def test_an_open_session_gets_the_new_code_and_an_instance_keeps_its_own(
    counting: Path, server: Keithley2400Server
) -> None:
    path = counting / "driver.py"
    with Bay(plugin_dirs=[counting.parent]) as bay, bay.open(server.resource) as smu:
        made = bay.plugins.get_driver("counting", "SIM::1")
        assert smu.measure("voltage")["edition"].tolist() == [1.0]

        path.write_text(COUNTING.replace("[1.0]", "[2.0]"), encoding="utf-8")
        assert bay.plugins.reload_plugin("counting")

        assert smu.measure("voltage")["edition"].tolist() == [2.0]
        assert smu.reconnects == 0
        assert made.measure("voltage", {})["edition"].tolist() == [1.0]


@pytest.mark.parametrize("how", ["leave", "disable"])
def test_open_instruments_are_closed_with_the_bay_or_with_their_plugin(
    counting: Path, server: Keithley2400Server, how: str
) -> None:
    with Bay(plugin_dirs=[counting.parent]) as bay:
        smu = bay.open(server.resource)
        assert bay.plugins.plugins["counting"].status is PluginStatus.ACTIVE
        smu.write(":OUTP ON")

        if how == "disable":
            bay.plugins.disable_plugin("counting")
        else:
            bay.close()

        assert smu.closed
    with open_link(server.resource) as link:  # nobody holds it any more, and it is off
        assert link.query(":OUTP?") == "0"


# -- 73: two owners of one resource --------------------------------------------------------------

OPEN = """\
import sys
from drivebay import LeaseError
from drivebay.driver import open_link
try:
    with open_link(sys.argv[1]) as link:
        print("opened", link.query(":OUTP?"))
except LeaseError as exc:
    print("held by", exc.holder["pid"])
"""


def test_an_instrument_has_one_owner_and_the_second_is_told_who_it_is(
    server: Keithley2400Server,
) -> None:
    with Bay() as bay:
        bay.open(server.resource)

        assert program(OPEN, server.resource) == f"held by {os.getpid()}"
        with pytest.raises(LeaseError):
            open_link(server.resource)


def test_control_an_instrument_that_was_given_back_is_the_next_ones(
    server: Keithley2400Server,
) -> None:
    with Bay() as bay:
        bay.open(server.resource).close()

        assert program(OPEN, server.resource) == "opened 0"


# -- 78: identify, state, progress, cancel, deadlines, units, typed results ----------------------


def test_an_instrument_is_identified_before_anything_is_opened_and_the_choice_is_explained(
    server: Keithley2400Server,
) -> None:
    with Bay() as bay:
        (looked_at,) = bay.find([server.resource])

    assert looked_at.identity["model"] == "MODEL 2400"
    assert looked_at.plugin == "keithley_2400"
    assert [each.plugin for each in looked_at.candidates] == ["keithley_2400"]
    assert looked_at.candidates[0].why


def test_the_state_of_a_driver_outlives_its_code(
    counting: Path, server: Keithley2400Server
) -> None:
    with Bay(plugin_dirs=[counting.parent]) as bay, bay.open(server.resource) as smu:
        smu.measure("voltage")
        smu.measure("voltage")

        (counting / "driver.py").write_text(COUNTING + "# newer\n", encoding="utf-8")
        assert bay.plugins.reload_plugin("counting")

        assert smu.measure("voltage")["count"].tolist() == [3.0]
        assert smu.reloads == 1


def test_points_are_progress_and_another_thread_may_stop_it() -> None:
    with (
        Keithley2400Server(Resistor(1e3), time_scale=1) as slow,
        Bay() as bay,
        bay.open(slow.resource) as smu,
    ):
        stream = smu.stream("iv_sweep", **(SWEEP | {"points": 900, "nplc": 1}))
        chunks = iter(stream)
        first = next(chunks)

        stopper = threading.Thread(target=stream.abort, args=("a colleague",))
        stopper.start()
        with pytest.raises(AbortedError) as caught:
            list(chunks)
        stopper.join()

        assert 0 < len(first["voltage_v"]) < 900
        assert caught.value.by == "a colleague"
        assert stream.run.state == "aborted"
        assert smu.query(":OUTP?") == "0"


def test_every_wait_for_an_instrument_has_a_deadline(server: Keithley2400Server) -> None:
    with open_link(server.resource, timeout_s=0.2) as link, pytest.raises(LinkTimeoutError):
        link.query(":SOUR:VOLT 0")  # no question, so no answer ever comes

    with pytest.raises(LinkOpenError):
        open_link("TCPIP::127.0.0.1::1::SOCKET", timeout_s=0.2)


def test_a_result_is_typed_has_units_and_knows_where_it_came_from(
    server: Keithley2400Server,
) -> None:
    with Bay() as bay, bay.open(server.resource) as smu:
        run = smu.measure("iv_sweep", **SWEEP)

    assert isinstance(run, Run)
    assert run.units == {"voltage_v": "V", "current_a": "A", "time_s": "s", "in_compliance": ""}
    assert run["voltage_v"].dtype == np.float64
    assert run["in_compliance"].dtype == np.bool_
    assert run.parameters["nplc"] == 1.0
    assert run.provenance["idn"].startswith("KEITHLEY")
    assert run.state == "done"


# -- 79: configure and measure share an untyped params -------------------------------------------

DECLARED: dict[str, Any] = {
    "answer": {
        "title": "An answer",
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "required": ["question"],
            "properties": {
                "question": {"type": "string"},
                "times": {"type": "integer", "minimum": 1, "default": 2},
            },
        },
        "columns": [{"name": "answer", "unit": "V"}],
    }
}


def original(write_plugin: Any, folder: Path, returns: str, **manifest: Any) -> None:
    """A plugin in the style of the original, which knows the instrument by no link."""
    from textwrap import dedent

    source = dedent(
        f"""\
        from drivebay import InstrumentDriver

        class Driver(InstrumentDriver):
            def __init__(self, resource_name, config=None): pass
            def connect(self): return True
            def disconnect(self): return True
            def reset(self): pass
            def get_identity(self): return {{"model": "2400"}}
            def get_capabilities(self): return ["answer"]
            def configure(self, method, params): pass
            def measure(self, method, params): return {returns}
            def abort(self): pass
            def get_status(self): return {{}}
        """
    )
    keys = MANIFEST | {"supported_methods": ["answer"]} | manifest
    write_plugin(folder, "oracle", driver_source=source, **keys)


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_a_method_of_the_original_contract_has_the_schema_its_manifest_gives(
    tmp_path: Path, write_plugin: Any, server: Keithley2400Server, isolation: Any
) -> None:
    original(write_plugin, tmp_path, "{'answer': [42.0] * params['times']}", methods=DECLARED)
    with (
        Bay(plugin_dirs=[tmp_path]) as bay,
        bay.open(server.resource, isolation=isolation) as smu,
    ):
        with pytest.raises(ParameterError) as caught:
            smu.measure("answer", times=0, qestion="?")
        run = smu.measure("answer", question="6 x 9")

    problems = {problem.path: problem.message for problem in caught.value.problems}
    assert set(problems) == {"/question", "/qestion", "/times"}
    assert "did you mean 'question'" in problems["/qestion"]
    assert run.parameters == {"question": "6 x 9", "times": 2}
    assert run["answer"].tolist() == [42.0, 42.0]
    assert run.units == {"answer": "V"}


def test_columns_that_are_not_as_the_manifest_declares_them_are_the_drivers_error(
    tmp_path: Path, write_plugin: Any, server: Keithley2400Server
) -> None:
    original(write_plugin, tmp_path, "{'reply': [1.0, 2.0]}", methods=DECLARED)

    with (
        Bay(plugin_dirs=[tmp_path]) as bay,
        bay.open(server.resource) as smu,
        pytest.raises(DriverError, match="undeclared column 'reply'"),
    ):
        smu.measure("answer", question="?")


def test_control_a_method_without_a_schema_takes_any_parameters(
    tmp_path: Path, write_plugin: Any, server: Keithley2400Server
) -> None:
    original(write_plugin, tmp_path, "{'reply': [1.0, 2.0]}")

    with Bay(plugin_dirs=[tmp_path]) as bay, bay.open(server.resource) as smu:
        run = smu.measure("answer", anything=[1, {"at": "all"}])

    assert run.parameters == {"anything": [1, {"at": "all"}]}
    assert run["reply"].tolist() == [1.0, 2.0]


def test_a_standard_method_refuses_what_does_not_fit_before_anything_is_sent(
    server: Keithley2400Server,
) -> None:
    with Bay() as bay, bay.open(server.resource) as smu:
        before = len(smu.transcript)
        with pytest.raises(ParameterError) as caught:
            smu.measure("iv_sweep", **(SWEEP | {"stop_v": 9000, "complience_a": 1}))

        assert len(smu.transcript) == before
    assert {problem.code for problem in caught.value.problems} >= {"P004", "P007"}


# -- 82: enablement, pins and failures are kept --------------------------------------------------

STATE = """\
import sys
from pathlib import Path
from drivebay import PluginManager
manager = PluginManager([Path(sys.argv[1])])
manager.discover_plugins()
print({name: (str(info.status), info.reason) for name, info in manager.plugins.items()})
print(manager.find_driver_for_model("Model 1"))
"""


def test_what_was_disabled_and_pinned_is_so_in_the_next_program(
    tmp_path: Path, write_plugin: Any, found: Found
) -> None:
    for name in ("one", "two", "three"):
        write_plugin(tmp_path, name)
    manager = found(tmp_path)
    manager.disable_plugin("one", "out for repair")
    manager.pin("Model 1", "three")

    states, chosen = program(STATE, str(tmp_path)).splitlines()

    assert "'one': ('disabled', 'out for repair')" in states
    assert "'two': ('discovered', None)" in states
    assert chosen == "three"


def test_code_that_kept_crashing_stays_out_of_use_in_the_next_program_with_the_reason(
    counting: Path, server: Keithley2400Server
) -> None:
    path = counting / "driver.py"
    path.write_text(COUNTING.replace("self.count += 1", "import os; os.abort()"), encoding="utf-8")
    disabled = threading.Event()
    with Bay(plugin_dirs=[counting.parent]) as bay:
        bay.plugins.subscribe(lambda event: event.kind == "disabled" and disabled.set())
        smu = bay.open(server.resource)
        for _ in range(3):
            with pytest.raises(DriverCrashedError):
                smu.measure("voltage")
        assert disabled.wait(60)

    states = program(STATE, str(counting.parent))
    with (
        Bay(plugin_dirs=[counting.parent]) as again,
        pytest.raises(NoDriverError, match="crashed 3 times"),
    ):
        again.open(server.resource)

    assert "'counting': ('disabled', 'crashed 3 times within 5 minutes" in states
    assert "SIGABRT" in states


def test_control_one_crash_is_forgotten_with_the_program(
    counting: Path, server: Keithley2400Server
) -> None:
    path = counting / "driver.py"
    path.write_text(COUNTING.replace("self.count += 1", "import os; os.abort()"), encoding="utf-8")
    with Bay(plugin_dirs=[counting.parent]) as bay:
        smu = bay.open(server.resource)
        with pytest.raises(DriverCrashedError):
            smu.measure("voltage")

    assert "'counting': ('discovered', None)" in program(STATE, str(counting.parent))


# -- 83: no conformance test, command line, scaffold or docs -------------------------------------


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drivebay", *words],
        env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_new_driver_is_written_checked_and_run_from_the_command_line_alone(
    tmp_path: Path, server: Keithley2400Server
) -> None:
    folder = tmp_path / "my_smu"

    assert cli("new", "my_smu", "--dir", str(tmp_path)).returncode == 0
    assert cli("plugins", "check", str(folder)).returncode == 0
    checked = cli("check", str(folder), "--on", server.resource, "--level", "gold")

    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.splitlines()[-1].endswith(": gold")
    assert {"README.md", "driver.py", "plugin.yaml", "test_driver.py"} == {
        each.name for each in folder.iterdir()
    }


def test_a_driver_that_does_not_keep_the_contract_is_told_what_and_why(
    tmp_path: Path, write_plugin: Any, server: Keithley2400Server
) -> None:
    original(write_plugin, tmp_path, "{'answer': [1.0, float('nan')]}")

    report = check_driver(tmp_path / "oracle", server.resource)

    assert report.level is None
    assert "answer takes any parameters" in report["parameters"].why
    assert "answer not finite" in report["methods"].why


@pytest.mark.parametrize(
    "page",
    [
        "tutorials/your-first-driver.md",
        "how-to/test-a-driver.md",
        "reference/driver-api.md",
        "reference/testing.md",
        "reference/manifest.md",
        "reference/cli.md",
    ],
)
def test_what_a_driver_author_needs_is_written_down(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")

    assert len(text.splitlines()) > 50


ROWS: dict[int, list[Callable[..., Any]]] = {
    72: [
        test_every_instance_is_known_and_closed_when_its_plugin_goes_out_of_use,
        test_an_open_session_gets_the_new_code_and_an_instance_keeps_its_own,
        test_open_instruments_are_closed_with_the_bay_or_with_their_plugin,
    ],
    73: [
        test_an_instrument_has_one_owner_and_the_second_is_told_who_it_is,
        test_control_an_instrument_that_was_given_back_is_the_next_ones,
    ],
    78: [
        test_an_instrument_is_identified_before_anything_is_opened_and_the_choice_is_explained,
        test_the_state_of_a_driver_outlives_its_code,
        test_points_are_progress_and_another_thread_may_stop_it,
        test_every_wait_for_an_instrument_has_a_deadline,
        test_a_result_is_typed_has_units_and_knows_where_it_came_from,
    ],
    79: [
        test_a_method_of_the_original_contract_has_the_schema_its_manifest_gives,
        test_columns_that_are_not_as_the_manifest_declares_them_are_the_drivers_error,
        test_control_a_method_without_a_schema_takes_any_parameters,
        test_a_standard_method_refuses_what_does_not_fit_before_anything_is_sent,
    ],
    82: [
        test_what_was_disabled_and_pinned_is_so_in_the_next_program,
        test_code_that_kept_crashing_stays_out_of_use_in_the_next_program_with_the_reason,
        test_control_one_crash_is_forgotten_with_the_program,
    ],
    83: [
        test_a_new_driver_is_written_checked_and_run_from_the_command_line_alone,
        test_a_driver_that_does_not_keep_the_contract_is_told_what_and_why,
        test_what_a_driver_author_needs_is_written_down,
    ],
}
