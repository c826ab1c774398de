"""Run the crash laboratory and write ``docs/reference/reliability.md`` from what it measured.

``make reliability`` runs all of ``tests/system`` and writes the page if every test passed; with
``DRIVEBAY_SOAK=10`` each count is ten times as high. The figures are those of one run on one
machine; what is promised stands beside them, and the tests hold the code to it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference/reliability.md"
MS = "ms, median / 95th percentile / maximum"


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        key: of the figure, as the laboratory notes it.
        text: what it is.
        promise: what the tests hold it to; empty for a control.
    """

    key: str
    text: str
    promise: str = ""


TABLES: dict[str, tuple[Row, ...]] = {
    "The driver's process is killed": (
        Row(
            "driver killed: kills", "kills, in all five phases of a sweep", "40, 60 % after a chunk"
        ),
        Row("driver killed: output off", f"from the kill to output off, {MS}", "within 1 s"),
        Row("driver killed: points lost", "stored points that are not there afterwards", "none"),
        Row("driver killed: reconnects", "connections made new", "none"),
    ),
    "The owner's process is killed": (
        Row("owner killed: kills", "kills, in all five phases", "20"),
        Row("owner killed: output off", f"from the kill to output off, {MS}", "within 2 s"),
        Row("owner killed: points lost", "points it was given that are not stored", "none"),
    ),
    "The keeper's process is killed": (
        Row("keeper killed: kills", "kills, in all five phases", "10"),
        Row("keeper killed: output off", f"from the kill to output off, {MS}", "within 2 s"),
    ),
    "Owner and keeper are killed at once": (
        Row("both killed: kills", "kills, in all five phases", "5"),
        Row("both killed: output off", f"from the kill to output off, {MS}", "within 2 s"),
    ),
    "The driver hangs": tuple(
        Row(
            f"hang: {kind}",
            f"{kind}: output on beyond the limit of silence, s",
            "3 s, so 8 s in all",
        )
        for kind in (
            "an answer that never comes",
            "a busy loop",
            "a C call that holds the interpreter",
            "a stopped process",
            "one that ignores SIGTERM",
            "a long sleep",
            "a deadlock",
            "an import that never ends",
        )
    ),
    "A driver is edited under an open instrument": (
        Row("reload: edits", "edits, each with a measurement after it", "50, 20 of them broken"),
        Row("reload: reconnects", "connections made new", "none"),
        Row(
            "reload: from the edit to the answer",
            f"until the newer code serves or is refused, {MS}",
        ),
    ),
    "Answers come late": (
        Row("late answers: questions", "questions through a kept link", "1,000, 5 % of them late"),
        Row("late answers: given to another question", "answers given to another question", "none"),
        Row("late answers: the stock way", "control: a socket with a timeout, 200 questions"),
    ),
    "A measurement is aborted": (
        Row("abort: aborts", "aborts at chance moments", "100"),
        Row(
            "abort: told to the instrument",
            f"from `abort()` to the instrument's being told, {MS}",
            "250 ms for 95 %",
        ),
        Row("abort: output off", f"from `abort()` to output off, {MS}", "within 1 s"),
    ),
    "Half a command was sent": (
        Row("half a command: keithley_2400, Wire", "on a socket, half commands obeyed", "none"),
        Row(
            "half a command: keithley_2400, LineWire",
            "on a line that remembers what was sent, half commands obeyed",
            "none",
        ),
    ),
    "Control: a script of the usual kind is killed": (
        Row("a stock script killed: output", "its output is"),
        Row("a stock script killed: points lost", "points it had shown that are on no disk"),
    ),
}

HEAD = """\
# Reliability: what was killed, and what came of it

Made by `make reliability` from the crash laboratory, `tests/system`, which `make test` runs as
well; do not edit. {machine}.

Everything is killed with SIGKILL. The oracle is the simulator's own event log: a time is the
difference of two numbers of the machine's monotonic clock, the kill's and that of `output_off` in
that log. The moments are events, chosen by chance with a fixed seed: a message held on its way,
whole or in part, or the beginning of a sweep. Every row has a control in `tests/system`: the same
oracle fails where the guard is replaced by a faulty one.
"""

TAIL = """
## What the tests show besides

- A run ends exactly once, as done, aborted or failed, with a reason; if its writer died it is
  `interrupted`. What was handed out can be read, in every case.
- Code that crashes three times within five minutes on an instrument is disabled, with the reason
  in `disabled`. Being killed from outside does not count, and a run that ends well makes earlier
  crashes forgotten.
- A driver that is killed while it waits for work is replaced before the next measurement,
  unnoticed.
- An abort is never lost, also before the driver has begun, and stops its own measurement only.

## What is not promised

- **Owner, keeper and watchman all killed, and nobody starts again: the output stays on** until the
  next program that uses Drivebay on this machine starts; that one makes safe what
  was armed before anything else. A test shows it
  (`test_control_with_the_watchman_dead_too_the_output_is_on_until_the_next_start`). The same is so
  when the machine loses its power or its operating system while the instrument keeps its own.
- **A cable that is pulled.** Nothing reaches the instrument any more. The keeper tries three
  times, then says `unsafe`, lets nothing be energised, and keeps saying so until somebody has
  looked.
- **An instrument that does not obey**, or whose manifest declares no safe state, or a wrong one.
  The verify query finds out the second kind; the first control of `test_controls.py` shows that
  nothing finds out the third.
- **People.** Switching an output off by software is no safety function, and the instruments' own
  manuals say so. What protects people is an interlock; what protects a device while nobody is at
  the machine is an instrument's hardware watchdog or its own compliance. Use them.
- Figures of a real instrument: all of these are of the simulator on the same machine.
"""


def machine() -> str:
    """The machine, in a few words."""
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores of"
        f" {platform.machine()}, {platform.system()} {platform.release()}, Python"
        f" {platform.python_version()}"
    )


def page(figures: dict[str, str]) -> str:
    """Return the page.

    Raises:
        KeyError: the laboratory did not note a figure.
    """
    text = HEAD.format(machine=machine())
    if figures.get("soak", "1") != "1":
        text += f"\nThe long form: every count {figures['soak']} times as high.\n"
    for title, rows in TABLES.items():
        text += f"\n## {title}\n\n| | measured | promised |\n|---|---|---|\n"
        for row in rows:
            text += f"| {row.text} | {figures[row.key]} | {row.promise or '-'} |\n"
    return text + TAIL


def measure() -> dict[str, str]:
    """Run the laboratory; what it noted. Exits if one of its tests fails."""
    with tempfile.TemporaryDirectory(prefix="drivebay-lab-") as folder:
        target = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/system"],
            cwd=ROOT,
            env=os.environ | {"DRIVEBAY_FIGURES": str(target)},
            check=False,
        )
        if done.returncode:
            sys.exit(done.returncode)
        figures: dict[str, str] = json.loads(target.read_text(encoding="utf-8"))
        return figures


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(measure()), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
