"""Fifty edits of a driver under an open instrument, twenty of them broken."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from drivebay import Bay, DrivebayError
from lab import SOAK, Process, milliseconds
from phases import SHORT
from plugins import NAME, write_driver

pytestmark = pytest.mark.slow

# What is wrong, and a word of the reason that is given for it.
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a syntax error": ({"before": "def broken(:"}, "SyntaxError"),
    "a module that is not there": ({"before": "import not_there_at_all"}, "not_there_at_all"),
    "an exit on import": ({"before": "import sys; sys.exit(3)"}, "sys.exit"),
    "a crash on import": ({"before": "import os; os.abort()"}, "SIGABRT"),
    "a method that is missing": (
        {"source": "from drivebay.driver import ScpiDriver\nclass Driver(ScpiDriver):\n    pass\n"},
        "iv_sweep",
    ),
    "a class that is missing": ({"source": "class Other: pass\n"}, "Driver"),
    "another identity": (
        {
            "extra": """
                def get_identity(self):
                    return {**super().get_identity(), "serial": "7654321"}
                """
        },
        "7654321",
    ),
    "a constructor that raises": (
        {"extra": 'def __init__(self, *_):\n    raise RuntimeError("no such thing")\n'},
        "no such thing",
    ),
    "a connection that fails": ({"extra": "def connect(self):\n    return False\n"}, "connect()"),
    "a resume that raises": (
        {"extra": 'def resume(self, state):\n    raise KeyError("missing")\n'},
        "missing",
    ),
}


def children(pid: int) -> set[int]:
    """Every living descendant of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_fifty_edits_of_which_twenty_are_broken_never_touch_the_connection(
    tmp_path, simulator, figures
):
    write_driver(tmp_path)
    good, bad = 30 * SOAK, 20 * SOAK
    kinds = list(BROKEN)
    took_s: list[float] = []
    edition = counted = 0
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource)
        assert smu.measure("iv_sweep", **SHORT).state == "done"
        before: tuple[int, int] | None = None
        for number in range(good + bad):
            is_bad = number % 5 in {1, 3}
            kind = kinds[counted % len(kinds)]
            write_driver(tmp_path, edition=number, **(BROKEN[kind][0] if is_bad else {}))
            began = time.monotonic()
            bay.plugins.reload_plugin(NAME)
            took_s.append(time.monotonic() - began)

            info = bay.plugins.plugins[NAME]
            if is_bad:
                counted += 1
                assert info.degraded, kind
                assert BROKEN[kind][1] in (info.error_message or ""), kind
            else:
                edition = number
                assert not info.degraded, info.error_message
            assert smu.driver.edition() == edition
            assert smu.measure("iv_sweep", **SHORT).state == "done"
            bay.runs.settle()
            if number == 9:  # every kind of thing has happened by then
                before = descriptors(), len(children(os.getpid()))

        assert (counted, edition) == (bad, number)
        # What one generation counted was handed to the next, fifty times over.
        assert smu.driver.served() == good + bad + 1
        assert before == (descriptors(), len(children(os.getpid())))
        assert smu.reloads == good
        assert smu.reconnects == 0
        assert simulator.connections == 1
    figures["reload: edits"] = f"{good + bad}, {bad} of them broken"
    figures["reload: reconnects"] = "0"
    figures["reload: from the edit to the answer"] = milliseconds(took_s)


def test_control_a_broken_edit_is_broken_for_whoever_opens_with_it(tmp_path, simulator):
    # Two are harmless without an older generation: the test above hears their reasons.
    alone = BROKEN.keys() - {"another identity", "a resume that raises"}
    for kind in sorted(alone):
        write_driver(tmp_path, **BROKEN[kind][0])
        with Bay(plugin_dirs=[tmp_path]) as bay, pytest.raises(DrivebayError) as caught:
            bay.open(simulator.resource)

        assert BROKEN[kind][1] in str(caught.value), kind


def test_the_older_code_still_serves_when_its_process_is_killed_after_a_broken_edit(
    tmp_path, simulator
):
    write_driver(tmp_path, edition=1)
    with Bay(plugin_dirs=[tmp_path]) as bay:
        smu = bay.open(simulator.resource)
        write_driver(tmp_path, edition=2, before="def broken(:")
        bay.plugins.reload_plugin(NAME)
        with Process(smu.host_pid) as host:
            host.kill()

        assert smu.measure("iv_sweep", **SHORT).state == "done"
        assert smu.driver.edition() == 1
