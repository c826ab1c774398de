"""The page of instruments: made from the manifests and from what the tests run.

Promises: says of a driver only what its manifest declares and what a test proves: a level where
``tests/drivers/test_levels.py`` tries it, a cross-test where ``tests/system/cross`` runs one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import drivebay
from drivebay import PluginMetadata

ROOT = Path(__file__).parents[1]
DRIVERS = Path(drivebay.__file__).parent / "drivers"
CASES = ROOT / "tests" / "system" / "cross" / "cases.yaml"
OTHERS = ("simulators", "exchanges", "records", "servers")
SIMULATED = ROOT / "tests" / "drivers" / "simulated"
INTRODUCTION = (
    "Every built-in driver. **None has run a real instrument yet**: levels and cross-tests are on "
    "simulators, and `drivebay report RESOURCE` makes a read-only report on a real one that can be "
    "sent back. A level is what `drivebay check` says on the simulator; a cross-test is software "
    "that others wrote, and stands here only while its test passes. What is measured in pairs "
    "takes two instruments whose plugins both say so, one at the gate and one at the drain."
)


def parts() -> Iterator[str]:
    """The page, paragraph by paragraph."""
    found = {
        path.parent.name: PluginMetadata.from_yaml(path)
        for path in sorted(DRIVERS.glob("*/plugin.yaml"))
    }
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    yield "# Instruments"
    yield INTRODUCTION
    yield _overview(found, cases)
    for name, manifest in found.items():
        yield from _driver(name, manifest, cases)


def _overview(found: Mapping[str, PluginMetadata], cases: Mapping[str, Any]) -> str:
    rows = [
        "| plugin | models | methods | in pairs | level | cross-tests |",
        "|---|---|---|---|---|---|",
    ]
    for name, manifest in found.items():
        count = len(list(_cases_of(name, cases)))
        models = ", ".join(manifest.supported_models) or "any, by name only"
        methods = ", ".join(f"`{method}`" for method in manifest.supported_methods)
        pairs = ", ".join(f"`{method}`" for method in manifest.paired_methods) or "-"
        cells = (f"[`{name}`](#{name})", models, methods, pairs, level(name), str(count))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def level(name: str) -> str:
    """What the tests hold a driver to: gold where it has a simulator to be held on."""
    return "gold" if (SIMULATED / f"{name}.py").exists() else "none"


def _cases_of(name: str, cases: Mapping[str, Any]) -> Iterator[str]:
    for case in (*cases["clients"], *cases["elsewhere"]):
        if case["driver"] == name:
            yield f"on our simulator: {case['proves']}"
    for case in (each for key in OTHERS for each in cases[key]):
        if case["driver"] == name:
            yield f"on a simulator of others: {case['proves']}"


def _driver(name: str, manifest: PluginMetadata, cases: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{name}`"
    yield f"{manifest.description}. Version {manifest.version}."
    yield "\n".join(
        [
            f"- Interfaces: {INTERFACES}",
            f"- Safe state: {_safe_state(manifest)}",
            f"- Limits: {_limits(manifest)}",
            *([f"- With a second instrument: {_paired(manifest)}"] * bool(manifest.paired_methods)),
            *(f"- Cross-test {text}" for text in _cases_of(name, cases)),
        ]
    )
    if manifest.ranges:
        yield _ranges(manifest)
        lacking = {m: each["lacks"] for m, each in manifest.ranges.items() if each.get("lacks")}
        if lacking:
            names = dict.fromkeys(name for each in lacking.values() for name in each)
            methods = ", ".join(f"`{name}`" for name in names)
            yield f"Without {methods}: {', '.join(lacking)}."


INTERFACES = "raw socket, VXI-11, HiSLIP, USB, GPIB, RS-232, as far as the instrument has them"


def _safe_state(manifest: PluginMetadata) -> str:
    said = manifest.safe_state
    if not said:
        return "none; opening it warns"
    interrupt = said.get("interrupt")
    words = ["device clear"] if interrupt is True else [f"`{each}`" for each in interrupt or ()]
    words += [f"`{each}`" for each in said.get("writes") or ()]
    verify = said.get("verify") or {}
    asked = f"; then `{verify['query']}` is `{verify['equals']}`" if verify else ""
    return ", ".join(words) + asked


def _paired(manifest: PluginMetadata) -> str:
    return ", ".join(f"`{method}`" for method in manifest.paired_methods) + " (`bay.pair`)"


def _limits(manifest: PluginMetadata) -> str:
    dialect = manifest.dialect or {}
    if not dialect:
        return "no dialect; on a bench with limits every setting is refused"
    counts = {key: len(dialect.get(key) or ()) for key in ("energise", "levels", "clamps")}
    told = ", ".join(f"{count} {key}" for key, count in counts.items())
    return f"commands by its dialect ({told})"


def _ranges(manifest: PluginMetadata) -> str:
    ranges: Mapping[str, Mapping[str, Any]] = manifest.ranges or {}
    names = list(
        dict.fromkeys(
            name
            for model in ranges.values()
            for name in model
            if name not in {"regions", "resolution", "lacks"}
        )
    )
    lines = ["| model | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for model, spans in ranges.items():
        cells = [_span(spans.get(name)) for name in names]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _span(span: Any) -> str:
    if isinstance(span, list | tuple) and len(span) == 2:
        return f"{span[0]:g} to {span[1]:g}"
    return "" if span is None else str(span)
