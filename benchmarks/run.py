"""All benchmarks, one command: ``make bench`` writes docs/reference/performance.md.

``python benchmarks/run.py --quick`` runs every one in a tiny form and prints the table only;
``--only NAME`` runs the one whose function is called so.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
from pathlib import Path

import backend
import catalogue
import engine
import hosts
import reloading
import runs
import sessions
import smus
import sweep
from rows import Row
from timing import machine_loop_ns

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"

HEAD = """\
# Performance

Written by `make bench`; every figure is from one run on one machine, beside its limit and its
peers in the same run, so **read the ratios**. Cases run in turns, figures are medians over the
turns, discovery and import are fresh processes. What is measured and how is in the script of each
row. The instrument is simulated and has no integration time where a row says nothing else: such a
row is the cost of the software, not of a measurement.

{machine}

| quantity | Drivebay | beside it | ratio | must reach | met | script |
|---|---|---|---|---|---|---|
"""

TAIL = """
"Walk + stat" is what a plain-Python program pays to look at every manifest: listing the folder and
one `os.stat` each is the least it can do, `os.walk` with a stat of every file the usual way. The
seed row is the original platform's algorithm (`rglob`, `yaml.safe_load`, a dataclass), written down
in `benchmarks/discovery_case.py`.
"""


def machine() -> str:
    """The machine and its speed at this moment, since other work may share it."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {model}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}; a bound "
        f"`dict.get` in a loop takes {machine_loop_ns():.0f} ns here, before anything was measured."
    )


BENCHMARKS = {
    benchmark.__name__: benchmark
    for benchmark in (
        *engine.ALL,
        *reloading.ALL,
        *sweep.ALL,
        *smus.ALL,
        *sessions.ALL,
        *hosts.ALL,
        *backend.ALL,
        *runs.ALL,
        *catalogue.ALL,  # last: the disk is long busy with the removal of 100,000 files
    )
}


def measure(quick: bool, only: str | None) -> list[Row]:
    """Run the benchmarks in a folder of their own that is removed afterwards."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="drivebay-bench-") as folder:
        os.environ["DRIVEBAY_HOME"] = str(Path(folder) / "home")
        for name in [only] if only else BENCHMARKS:
            work = Path(folder) / name
            work.mkdir()
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += BENCHMARKS[name](work, quick)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny forms; the page is not written")
    parser.add_argument(
        "--only", choices=BENCHMARKS, help="one benchmark of these; the page is not written"
    )
    options = parser.parse_args()
    head = HEAD.format(machine=machine())
    rows = measure(options.quick, options.only)
    page = head + "".join(row.line() + "\n" for row in rows) + TAIL
    print(page)
    if not options.quick and not options.only:
        PAGE.write_text(page, encoding="utf-8")
        print(f"written: {PAGE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
