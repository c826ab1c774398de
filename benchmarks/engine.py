"""Rows of the plugin engine: discovery, look-up, loading, import, validation."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rows import Row, installed, seconds
from timing import Comparison, child, compare, per_call, per_question, whole_process
from trees import make_entry_points, make_npe2_tree, make_tree, settle

HERE = Path(__file__).parent
SCRIPT = "`benchmarks/engine.py`"


def _discover(case: str, tree: Path, home: Path, clock: str = "seconds") -> Callable[[], float]:
    """A case that discovers a tree in a fresh process and gives wall or CPU (``cpu_s``) time."""

    def run() -> float:
        result = child(
            str(HERE / "discovery_case.py"), case, str(tree), env={"DRIVEBAY_HOME": str(home)}
        )
        assert result["found"] == len(os.listdir(tree)), (case, result)
        return float(result[clock])

    return run


def _stevedore(work: Path, plugins: int, home: Path) -> dict[str, Callable[[], float]]:
    """The warm case of stevedore's cache, or none where it cannot be measured."""
    if not installed("stevedore") or sys.executable.startswith("/tmp"):
        return {}
    return {"stevedore": _discover("stevedore", make_entry_points(work / "dists", plugins), home)}


def _stevedore_said(taken: Comparison) -> str:
    if "stevedore" in taken.turns[0]:
        return (
            f"stevedore's cache of as many entry points, names only, warm, "
            f"{seconds(taken.median_s('stevedore'))} "
            f"({taken.ratio('stevedore', 'drivebay'):.2f}x Drivebay)"
        )
    if installed("stevedore"):
        return "stevedore switches its cache off when Python lies below /tmp"
    return "stevedore not installed"


def discovery(work: Path, quick: bool) -> list[Row]:
    """Warm and cold discovery of many manifests, and how it grows."""
    sizes = (20, 50, 100) if quick else (100, 1_000, 10_000)
    trees = {n: make_tree(work / f"tree_{n}", n) for n in sizes}
    npe2_tree = make_npe2_tree(work / "npe2", sizes[-1])
    settle()
    home = work / "home"
    most = sizes[-1]
    turns = 2 if quick else 5

    cold_home = work / "cold"
    forget = cold_home / "cache" / "discovery.bin"
    cold_case = _discover("drivebay", trees[most], cold_home)

    def cold() -> float:
        forget.unlink(missing_ok=True)
        return cold_case()

    slow: dict[str, Callable[[], float]] = {"cold": cold}
    slow["seed"] = _discover("seed", trees[most], home)
    if installed("npe2"):
        slow["npe2"] = _discover("npe2", npe2_tree, home)
    slowly = compare(slow, 1 if quick else 2)

    looks = ("drivebay", "scan_and_stat", "walk_and_stat")
    warm = {name: _discover(name, trees[most], home) for name in looks}
    warm |= _stevedore(work, most, home)
    quickly = compare(warm, turns)
    own = quickly.median_s("drivebay")
    # Nothing here waits for a disk, so CPU time is the whole cost, and what else the machine does
    # is not in it.
    work_s = compare({name: _discover(name, trees[most], home, "cpu_s") for name in looks}, turns)
    scan = work_s.ratio("drivebay", "scan_and_stat")
    walk = work_s.ratio("drivebay", "walk_and_stat")
    seed = slowly.median_s("seed")
    npe2 = slowly.median_s("npe2") if "npe2" in slow else None
    beside = (
        f"scandir + stat {seconds(quickly.median_s('scan_and_stat'))}, os.walk + stat "
        f"{seconds(quickly.median_s('walk_and_stat'))}, seed {seconds(seed)}, npe2 "
        + (seconds(npe2) if npe2 else "not installed")
        + f", {_stevedore_said(quickly)}"
    )
    faster = f"{seed / own:.0f}x faster than the seed" + (
        f", {npe2 / own:.0f}x than npe2" if npe2 else ""
    )
    rows = [
        Row(
            f"{most:,} manifests, warm, every file revalidated by stat",
            seconds(own),
            beside,
            f"CPU time {scan:.2f}x scandir + stat, {walk:.2f}x os.walk + stat; {faster}",
            "<= 2x walk + stat, >= 100x seed and npe2",
            scan <= 2 and seed / own >= 100 and (npe2 is None or npe2 / own >= 100),
            SCRIPT,
        )
    ]
    cold_s = slowly.median_s("cold")
    rows.append(
        Row(
            f"{most:,} manifests, cold, YAML",
            f"{seconds(cold_s)} ({seconds(cold_s / most)} each)",
            f"seed {seconds(seed)}",
            f"{slowly.ratio('seed', 'cold'):.1f}x faster than the seed",
            ">= 8x the seed (aim: 1 s)",
            slowly.ratio("seed", "cold") >= 8,
            SCRIPT,
        )
    )
    each = []
    for n in sizes:
        case = _discover("drivebay", trees[n], work / f"home_{n}")
        case()
        each.append(statistics.median(case() for _ in range(turns)) / n)
    rows.append(
        Row(
            f"growth from {sizes[0]:,} to {most:,} manifests, warm",
            ", ".join(f"{seconds(t)} each at {n:,}" for n, t in zip(sizes, each, strict=True)),
            "-",
            f"{each[-1] / each[0]:.2f}x a manifest from the smallest to the largest",
            "linear: <= 1.5x a manifest",
            each[-1] / each[0] <= 1.5,
            SCRIPT,
        )
    )
    return rows


FEW_QUESTIONS = 20
"""As many instruments as a well-filled bench has."""


def look_ups(work: Path, quick: bool) -> list[Row]:
    """Model, *IDN? and wildcard look-up: of every plugin once around, and of a bench's few.

    Nothing that was asked is kept, so a question that is new costs the code no more than one asked
    before; what asking about each of 10,000 plugins in turn adds is memory that is far away. A bare
    dictionary of the same size, asked the same, is beside it and pays that too. Whether it is flat
    is told by the same few questions, at both sizes.
    """
    from drivebay import PluginManager

    most = 100 if quick else 10_000
    few = 20 if quick else 100
    calls = 2_000 if quick else 50_000
    managers = {}
    for n in (few, most):
        managers[n] = PluginManager([make_tree(work / f"looked_{n}", n, wildcards=True)])
        managers[n].discover_plugins()
    started = time.perf_counter()
    managers[most].find_driver_for_model("M1A")
    first_s = time.perf_counter() - started
    questions: dict[str, Callable[[int], str]] = {
        "model": lambda n: f"M{n}A",
        "`*IDN?`": lambda n: f"ACME INSTRUMENTS INC.,MODEL M{n}B,12345,1.0",
        "wildcard": lambda n: f"W{n:05d}-X",
    }
    must = {"model": 150e-9, "`*IDN?`": 2e-6, "wildcard": 2e-6}
    rows = []
    for kind, question in questions.items():
        order = list(range(most))
        random.Random(most).shuffle(order)
        every = [question(number) for number in order]
        some = [question(number) for number in range(FEW_QUESTIONS)]
        asked = managers[most].find_driver_for_model
        assert [asked(text) for text in every] == [f"vendor_{number:05d}" for number in order]
        bare = {question(number): f"vendor_{number:05d}" for number in range(most)}
        cases = {
            "every": per_question(asked, every, calls),
            "bare": per_question(bare.get, every, calls),
            "some": per_question(asked, some, calls),
            "some of few": per_question(managers[few].find_driver_for_model, some, calls),
        }
        taken = compare(cases, 5 if quick else 25)
        own = taken.median_s("every")
        flat = taken.ratio("some", "some of few")
        rows.append(
            Row(
                f"{kind} look-up at {most:,} plugins, each of {most:,} in random order",
                seconds(own),
                f"bare `dict.get` of the same {seconds(taken.median_s('bare'))}; the same "
                f"{FEW_QUESTIONS} questions again and again {seconds(taken.median_s('some'))}, at "
                f"{few} plugins {seconds(taken.median_s('some of few'))}; the first question of "
                f"all, which builds the index, {seconds(first_s)}",
                f"{flat:.2f}x from {few} to {most:,} plugins for the same {FEW_QUESTIONS} "
                f"questions; {taken.ratio('every', 'bare'):.1f}x the bare dictionary",
                f"<= {seconds(must[kind])}, flat: <= 1.2x",
                own <= must[kind] and flat <= 1.2,
                SCRIPT,
            )
        )
    return rows


def loading(work: Path, quick: bool) -> list[Row]:
    """Loading one driver beside read + compile + exec of the same file."""
    from drivebay import PluginManager
    from drivebay._core.manager.sources import BUILTIN_DRIVERS

    folder = BUILTIN_DRIVERS / "keithley_2400"
    source = folder / "driver.py"
    manager = PluginManager([BUILTIN_DRIVERS])
    manager.discover_plugins()

    def limit() -> float:
        started = time.perf_counter()
        code = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
        exec(code, {"__name__": "driver", "__file__": str(source)})
        return time.perf_counter() - started

    def load() -> float:
        manager.unload_plugin("keithley_2400")
        started = time.perf_counter()
        assert manager.load_plugin("keithley_2400")
        return time.perf_counter() - started

    taken = compare({"load": load, "limit": limit}, 5 if quick else 60)
    ratio = taken.ratio("load", "limit")
    return [
        Row(
            "load the Keithley 2400 driver",
            seconds(taken.median_s("load")),
            f"read + compile + exec {seconds(taken.median_s('limit'))}",
            f"{ratio:.2f}x",
            "<= 2x",
            ratio <= 2,
            SCRIPT,
        )
    ]


def importing(work: Path, quick: bool) -> list[Row]:
    """Whole processes: bare Python, ``import drivebay``, and what a program then needs."""
    taken = compare(
        {
            "bare": whole_process("pass"),
            "drivebay": whole_process("import drivebay"),
            "manager": whole_process("from drivebay import PluginManager"),
        },
        3 if quick else 15,
    )
    ratio = taken.ratio("drivebay", "bare")
    return [
        Row(
            "`import drivebay`, whole process",
            seconds(taken.median_s("drivebay")),
            f"bare Python {seconds(taken.median_s('bare'))}; with `PluginManager` "
            f"{seconds(taken.median_s('manager'))} ({taken.ratio('manager', 'bare'):.1f}x)",
            f"{ratio:.2f}x",
            "<= 6x (aim 3x)",
            ratio <= 6,
            SCRIPT,
        )
    ]


def validation(work: Path, quick: bool) -> list[Row]:
    """Checking the parameters of an I-V sweep against the model's ranges."""
    import msgspec

    from drivebay._core.methods import STANDARD, IVSweep, validate

    spec = STANDARD["iv_sweep"]
    params = {"start_v": -1.0, "stop_v": 1.0, "points": 101, "compliance_a": 0.01, "nplc": 1.0}
    ranges = {
        "voltage_v": [-210, 210],
        "current_a": [-1.05, 1.05],
        "nplc": [0.01, 10],
        "regions": [{"voltage_v": 21, "current_a": 1.05}, {"voltage_v": 210, "current_a": 0.105}],
    }
    calls = 1_000 if quick else 20_000
    cases = {
        "own": per_call(lambda: validate(spec, params, ranges), calls),
        "msgspec": per_call(lambda: msgspec.convert(params, IVSweep), calls),
    }
    if installed("jsonschema"):
        import jsonschema

        from drivebay._core.methods import parameter_schema

        kept = jsonschema.Draft202012Validator(parameter_schema(spec))
        cases["jsonschema"] = per_call(lambda: list(kept.iter_errors(params)), calls // 20)
    taken = compare(cases, 3 if quick else 15)
    own = taken.median_s("own")
    peer = (
        f"jsonschema {seconds(taken.median_s('jsonschema'))}"
        if "jsonschema" in cases
        else "jsonschema not installed"
    )
    return [
        Row(
            "validate the parameters of `iv_sweep`, ranges and power envelope included",
            seconds(own),
            f"msgspec alone, types only, {seconds(taken.median_s('msgspec'))}; {peer}",
            f"{taken.ratio('own', 'msgspec'):.1f}x msgspec alone",
            "<= 5 us (aim 2 us)",
            own <= 5e-6,
            SCRIPT,
        )
    ]


ALL = (discovery, look_ups, loading, importing, validation)
