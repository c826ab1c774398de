"""Rows of open sessions: what the keeper and a process of the driver's own cost.

Pinned rows run owner, keeper, host and simulator on one core: the cost of the software, without the
scheduler's choice of cores.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Row, seconds
from sweep import simulator
from timing import compare

SCRIPT = "`benchmarks/sessions.py`"

MANIFEST = """\
name: bench_ping
version: 1.0.0
author: benchmark
description: asks an instrument many times
driver_class: driver.Ping
supported_methods: [ping]
supported_models: ["2400"]
"""
DRIVER = """\
import time
from drivebay.driver import ScpiDriver, method

class Ping(ScpiDriver):
    @method("ping", columns=[("seconds", "s")])
    def ping(self, p):
        link, taken = self.link, []
        for _ in range(int(p["calls"])):
            started = time.perf_counter()
            link.query(":OUTP?")
            taken.append(time.perf_counter() - started)
        yield {"seconds": taken}
"""


@contextlib.contextmanager
def pinned(*pids: int) -> Iterator[None]:
    """Everything named, and this process, on one core."""
    before = os.sched_getaffinity(0)
    core = {max(before)}
    try:
        for pid in (0, *pids):
            for thread in os.listdir(f"/proc/{pid or os.getpid()}/task"):
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    os.sched_setaffinity(int(thread), core)
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), before)


def _plugin(work: Path) -> Path:
    folder = work / "plugins" / "bench_ping"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    return folder.parent


def _simulators_of_this_process() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8")
    return [
        int(pid)
        for pid in children.split()
        if b"drivebay.sim" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def query(work: Path, quick: bool) -> list[Row]:
    """One question from a driver in its host, through the keeper, beside one on a plain link."""
    from drivebay import Bay
    from drivebay._core.links import open_direct

    calls = 300 if quick else 3000
    with simulator(work, "--time-scale", "0") as plain, simulator(work, "--time-scale", "0") as sim:
        pids = _simulators_of_this_process()
        with (
            Bay(home=work / "bay", plugin_dirs=[_plugin(work)]) as bay,
            bay.open(sim.resource) as smu,
            open_direct(plain.resource) as link,
        ):
            assert smu.host_pid is not None

            def kept() -> float:
                with pinned(*pids, smu.keeper_pid, smu.host_pid or 0):
                    run = smu.measure("ping", calls=calls)
                return float(statistics.median(run["seconds"]))

            def direct() -> float:
                taken = []
                with pinned(*pids):
                    for _ in range(calls):
                        started = time.perf_counter()
                        link.query(":OUTP?")
                        taken.append(time.perf_counter() - started)
                return statistics.median(taken)

            result = compare({"kept": kept, "direct": direct}, 1 if quick else 7)
    added = statistics.median(turn["kept"] - turn["direct"] for turn in result.turns)
    return [
        Row(
            "one SCPI query of an isolated driver, through the keeper, pinned to one core",
            seconds(result.median_s("kept")),
            f"the same query on a plain link {seconds(result.median_s('direct'))}",
            f"+{seconds(added)}, {result.ratio('kept', 'direct'):.1f}x",
            "<= +60 us (aim 30)",
            added <= 60e-6,
            SCRIPT,
        )
    ]


def opening(work: Path, quick: bool) -> list[Row]:
    """Opening an isolated driver, beside opening the same one in this process."""
    from drivebay import Bay

    with (
        simulator(work, "--time-scale", "0") as sim,
        simulator(work, "--time-scale", "0") as other,
        Bay(home=work / "bay") as bay,
        bay.open(other.resource),  # the keeper and the zygote are there, as with any second one
    ):

        def opened(isolation: str) -> float:
            started = time.perf_counter()
            with bay.open(sim.resource, isolation=isolation):  # type: ignore[arg-type]
                return time.perf_counter() - started

        cases = {"process": lambda: opened("process"), "inline": lambda: opened("inline")}
        result = compare(cases, 3 if quick else 15)
    added = statistics.median(turn["process"] - turn["inline"] for turn in result.turns)
    return [
        Row(
            "open an instrument with an isolated driver, from the warm zygote",
            seconds(result.median_s("process")),
            f"inline, the lease and the instrument's time: {seconds(result.median_s('inline'))}",
            f"+{seconds(added)}",
            "<= +15 ms (aim 5)",
            added <= 15e-3,
            SCRIPT,
        )
    ]


def _private_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    return 1024 * sum(int(row[1]) for row in rows)


def many(work: Path, quick: bool) -> list[Row]:
    """Many sessions open at once, a question of each in turn from as many threads."""
    from drivebay import Bay

    count = 5 if quick else 50
    asks = 20 if quick else 100
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(_simulators(work, count))
        bay = stack.enter_context(Bay(home=work / "bay"))
        opened: list[float] = []
        instruments = []
        for resource in bench:
            started = time.perf_counter()
            instruments.append(stack.enter_context(bay.open(resource)))
            opened.append(time.perf_counter() - started)
        memory = [_private_bytes(smu.host_pid or 0) for smu in instruments]
        taken: list[float] = []

        def ask(smu: object) -> None:
            own = []
            for _ in range(asks):
                started = time.perf_counter()
                smu.query(":OUTP?")  # type: ignore[attr-defined]
                own.append(time.perf_counter() - started)
                # As programs do that look at an instrument now and then.
                time.sleep(0.02)
            taken.extend(own)

        threads = [threading.Thread(target=ask, args=(smu,)) for smu in instruments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        started = time.perf_counter()
        reports = bay.make_safe()
        all_off_s = time.perf_counter() - started
        assert all(report.confirmed for report in reports.values())
    p99_s = sorted(taken)[int(len(taken) * 0.99)]
    tenth = max(1, count // 5)
    growth = statistics.median(opened[-tenth:]) / statistics.median(opened[1 : 1 + tenth])
    private_mb = statistics.median(memory) / 1e6
    return [
        Row(
            f"{count} sessions open at once on {os.cpu_count()} cores, each asked 50 times/s",
            f"p99 of a query {seconds(p99_s)}; all outputs off, verified, {seconds(all_off_s)}",
            f"opening the last ones {seconds(statistics.median(opened[-tenth:]))}, the first ones "
            f"{seconds(statistics.median(opened[1 : 1 + tenth]))}",
            f"the last sessions cost {growth:.2f}x the first",
            "p99 <= 50 ms, cost per session flat",
            p99_s <= 50e-3 and growth <= 1.5,
            SCRIPT,
        ),
        Row(
            "private memory of one more host, driver loaded and connected",
            f"{private_mb:.1f} MB",
            "a fresh Python with numpy and msgspec: about 20 MB",
            "median of the sessions above",
            "<= 10 MB (aim 5)",
            private_mb <= 10,
            SCRIPT,
        ),
    ]


@contextlib.contextmanager
def _simulators(work: Path, count: int) -> Iterator[list[str]]:
    """Simulated instruments, ten to a process of their own, so that they cost little."""
    source = (
        "import sys\n"
        "from drivebay.sim import Keithley2400Server\n"
        "servers = [Keithley2400Server(time_scale=0) for _ in range(int(sys.argv[1]))]\n"
        "for server in servers: server.start()\n"
        "print(*[server.resource for server in servers], flush=True)\n"
        "sys.stdin.read()\n"
        "for server in servers: server.stop()\n"
    )
    processes = []
    resources: list[str] = []
    try:
        for first in range(0, count, 10):
            process = subprocess.Popen(
                [sys.executable, "-c", source, str(min(10, count - first))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            assert process.stdout
            resources += process.stdout.readline().split()
        yield resources
    finally:
        for process in processes:
            process.communicate(timeout=20)


ALL = (query, opening, many)
