"""The reference page of the standard methods, generated from their definitions.

``docs/reference/methods.md`` is this function's output; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivebay._core.methods.spec import Field, MethodSpec, fields, signature_text

CODES = {
    "P001": "not a finite number",
    "P002": "not a whole number in range",
    "P003": "the sweep goes nowhere, or a log sweep goes through zero",
    "P004": "outside what the instrument can do",
    "P005": "outside what the bench file allows",
    "P006": "compliance missing or not above zero",
    "P007": "unknown parameter",
    "P008": "wrong unit",
    "P009": "control characters in a value",
    "P011": "would take longer than is allowed",
    "P012": "missing",
    "P013": "not one of the choices, or of the wrong type",
    "P014": "out of bounds, or at odds with another parameter",
}
"""Every diagnostic code a parameter can get, and what it means."""

_HEAD = """# Standard methods

Generated from `drivebay._core.methods`; edit there. A method name means the same on every
instrument: the same parameters in SI units, the same columns. Numbers may be plain numbers, numpy
scalars, or text with a unit (`"10 mA"`); prefixes f p n u m k M G T, and the micro sign. A model's
ranges (its `plugin.yaml`) come on top of the bounds below.

| method | for |
|---|---|
"""

_RULES = """## What every driver keeps to

- The limit of the other quantity is set before the output goes on, and read back where it can be.
- The output comes on at 0, stays on until the method ends, and is off afterwards, whatever
  happened.
- A source's current is positive out of its high terminal; a meter's (`dc_current`) is positive into
  it, as on any multimeter. A drain current is positive into the drain.
- A reading that is none (over range, not a number) is not a number or infinite, and `overload` or
  `in_compliance` says so; it is never a number that looks like one.
- A capacitance is that in parallel with the conductance beside it. In series it is
  `C (1 + D**2)` with `D = G / (2 pi f C)`. `cv_measurement` is done by `ac` or by a ramp
  (`quasi_static`), as the manifest says under `methods`; the two agree only on a device that leaks
  nothing and follows slowly, so a program that needs one of them asks for it (`technique`).
- `time_s` rises within a run, and begins near 0.
- Which channel is meant on an instrument with several is an option of its driver (`config`), not a
  parameter: a bench gives each channel a name. Two instruments may do `transfer_curve` and
  `output_curve` together, see [how to](../how-to/measure-a-transistor.md).
"""


def reference_page(specs: Iterable[MethodSpec]) -> str:
    """The page as Markdown, ending with a line feed."""
    known = tuple(specs)
    rows = "".join(f"| [`{s.name}`](#{_anchor(s)}) | {s.help} |\n" for s in known)
    return "\n".join([_HEAD + rows, _RULES, *(_section(spec) for spec in known), _codes()])


def _anchor(spec: MethodSpec) -> str:
    """Where a section is, as both MkDocs and GitHub make it of the heading."""
    return "".join(
        char
        for char in f"{spec.name}: {spec.title}".lower().replace(" ", "-")
        if char.isalnum() or char in "-_"
    )


def _section(spec: MethodSpec) -> str:
    lines = [f"## `{spec.name}`: {spec.title}", "", spec.help, ""]
    lines += ["```python", signature_text(spec), "```", ""]
    lines += [
        "| parameter | type | unit | default | bounds | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(field) for field in fields(spec)]
    lines += ["", "| column | unit | type | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.unit} | {c.kind} | {c.help} |" for c in spec.columns or ()]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    kind = " or ".join(f"`{word}`" for word in field.choices) or field.kind
    default = "required" if field.required else f"`{field.default}`"
    words = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = ", ".join(f"{words[key]} {value:g}" for key, value in field.bounds.items())
    return f"| `{field.name}` | {kind} | {field.unit} | {default} | {bounds} | {field.help} |"


def _codes() -> str:
    lines = ["## What can be wrong with a parameter", "", "| code | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| {code} | {text} |" for code, text in CODES.items())]) + "\n"
