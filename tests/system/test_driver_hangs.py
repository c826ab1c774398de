"""Eight ways to hang, and each ends the driver, names it, and switches its output off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivebay import Bay, DriverCrashedError, DriverHungError, LoadError
from drivebay._core.host import Limits
from lab import SOAK, Process, Reading, Simulator, off_after
from phases import SHORT
from plugins import NAME, VERSION, write_driver

pytestmark = pytest.mark.slow

HANG_S = 0.5
MOST_BEYOND_S = 3.0
"""With the default limit of 5 s: eight seconds in all."""

HANGS = {
    "an answer that never comes": "ends = socket.socketpair(); ends[0].recv(1)",
    "a busy loop": "while True: pass",
    "a C call that holds the interpreter": "import re; re.match('(a|a)*$', 'a' * 60 + 'b')",
    "a stopped process": "os.kill(os.getpid(), signal.SIGSTOP)",
    "one that ignores SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)",
    "a long sleep": "time.sleep(3600)",
    "a deadlock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
}
NEVER_ENDING_IMPORT = "an import that never ends"


def measure_until_it_hangs(folder: Path, simulator: Any) -> tuple[DriverHungError, float]:
    """The error, and how long the output was on after the driver's last command."""
    log = simulator.log
    with Bay(plugin_dirs=[folder]) as bay:
        smu = bay.open(simulator.resource, limits=Limits(hang_s=HANG_S))
        mark = len(log)
        with pytest.raises(DriverHungError) as caught:
            smu.measure("iv_sweep", **SHORT)
        run = bay.runs.open(caught.value.run_id or "")
        assert (run.state, len(run)) == ("failed", 2)
        log.wait("output_off", since=mark)
        last = [e["t"] for e in log.named("answer", since=mark) if e["bytes"] > 10][-1]
        waited = off_after(log.since(mark), last)
        assert waited is not None

        # The same driver with its fault taken out, on the same link.
        write_driver(folder)
        assert bay.plugins.reload_plugin(NAME), bay.plugins.plugins[NAME].error_message
        assert smu.measure("iv_sweep", **SHORT).state == "done"
        assert smu.reconnects == 0
    return caught.value, waited


@pytest.mark.parametrize("kind", HANGS)
def test_a_driver_that_hangs_is_ended_named_and_its_output_is_off(
    kind, tmp_path, simulator, figures
):
    for _ in range(SOAK):
        write_driver(tmp_path, third_point=HANGS[kind])

        error, waited = measure_until_it_hangs(tmp_path, simulator)

        assert (error.plugin, error.version, error.method) == (NAME, VERSION, "iv_sweep")
        assert error.waited_s >= HANG_S
        if kind not in {"a stopped process", "a C call that holds the interpreter"}:
            assert "in third_point" in error.traceback
        assert waited <= HANG_S + MOST_BEYOND_S
    figures[f"hang: {kind}"] = f"{waited - HANG_S:.2f}"


def test_code_that_never_ends_importing_is_an_error_of_loading(tmp_path, simulator, figures):
    endless = tmp_path / "endless"
    write_driver(tmp_path, before=f"import os\nwhile os.path.exists({str(endless)!r}): pass")
    with Bay(plugin_dirs=[tmp_path]) as bay:
        assert bay.plugins.load_plugin(NAME)
        endless.touch()

        with pytest.raises(LoadError, match="not imported within") as caught:
            bay.open(simulator.resource, limits=Limits(load_s=HANG_S))

        assert caught.value.plugin == NAME
        assert not simulator.log.named("output_on")
        endless.unlink()
        smu = bay.open(simulator.resource)
        assert smu.measure("iv_sweep", **SHORT).state == "done"
    figures[f"hang: {NEVER_ENDING_IMPORT}"] = "no output was on"


def test_control_a_driver_that_is_slow_and_says_so_is_not_ended(tmp_path, simulator):
    """The guard lets through what it should: four limits long, in a wait that was announced."""
    write_driver(tmp_path, third_point=f"self.sleep({4 * HANG_S})")
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource, limits=Limits(hang_s=HANG_S))

        assert smu.measure("iv_sweep", **SHORT).state == "done"


def test_control_without_a_limit_of_silence_the_same_hang_keeps_the_output_on(tmp_path, simulator):
    """Two that hang alike: the one with the limit is ended, and by then the other's is still on."""
    write_driver(tmp_path, third_point="time.sleep(3600)")
    with Simulator() as other, Bay(plugin_dirs=[tmp_path]) as bay:
        unlimited = bay.open(simulator.resource, limits=Limits(hang_s=3600))
        limited = bay.open(other.resource, limits=Limits(hang_s=HANG_S))
        reading = Reading(unlimited.stream("iv_sweep", **SHORT))
        reading.wait_chunks(2)

        with pytest.raises(DriverHungError):
            limited.measure("iv_sweep", **SHORT)

        other.log.wait("output_off")
        assert simulator.output_on
        with Process(unlimited.host_pid) as host:
            host.kill()
        assert isinstance(reading.end(), DriverCrashedError)
