"""The reference pages of the manifest, generated from the table of fields and the codes.

``docs/reference/manifest.md`` is the output of :func:`reference_page`, and the section of
``docs/reference/diagnostics.md`` between its two markers that of :func:`codes_section`; a test
holds them together.
"""

from __future__ import annotations

from drivebay._core.manifest.fields import FIELDS, MAX_ITEM_TEXT, MAX_ITEMS, MAX_TEXT, Field
from drivebay._core.manifest.json_schema import KEYWORDS, MAX_PATTERN, MAX_PATTERNS
from drivebay._core.manifest.shapes import COLUMN_KINDS, MAX_DEADLINE_S, QUANTITIES
from drivebay._core.manifest.text import MAX_BYTES, MAX_DEPTH, MAX_NODES

CODES = {
    "M001": ("the manifest is empty", "write at least the required keys"),
    "M002": ("the top level is no mapping", "begin with `name: ...`, not with `-` or plain text"),
    "M003": ("unknown key", "use the key it names, or begin a key of your own with `x-`"),
    "M004": ("a required key is missing or has no value", "add it"),
    "M005": ("a key stands twice in one mapping", "remove one of the two lines it names"),
    "M006": ("a value is of the wrong kind", "write it as the kind it asks for"),
    "M007": (
        "not a plugin name",
        "a letter, then letters, digits, `_` or `-`, 2 to 64 in all; no YAML word such as `on`",
    ),
    "M008": ("no version lies between the oldest and the newest", "swap or correct them"),
    "M009": ("not a version", "write it as PEP 440 has it, such as `1.2.3`"),
    "M010": ("a YAML tag", "remove it, or quote text that begins with `!`"),
    "M011": (
        "a YAML anchor or alias",
        "write the value out, or quote text that begins with `&` or `*`",
    ),
    "M012": (f"nested deeper than {MAX_DEPTH} levels", "flatten it"),
    "M013": (f"more than {MAX_BYTES:,} bytes or {MAX_NODES:,} values", "make it smaller"),
    "M014": ("a tab in an indentation", "indent with spaces"),
    "M015": (
        "a control character, or one that hides what the text says",
        "remove it; text is printable UTF-8",
    ),
    "M016": ("not UTF-8", "save the file as UTF-8"),
    "M017": ("more than one YAML document", "remove the second `---` and what follows"),
    "M018": ("not a regular file", "put a file there; directories, FIFOs and devices are not read"),
    "M019": ("a symlink leaves the plugin's folder", "copy the file into the folder"),
    "M020": ("too many files, or folders too deep, under a plugin folder", "ignore or move some"),
    "M021": ("two plugins have the same name", "rename one, or use the precedence it shows"),
    "M022": ("two plugins claim the same model", "pin one, or use `overrides`"),
    "M023": ("a dependency is missing or too old", "install what it names"),
    "M024": ("not a JSON Schema", "correct the schema at that place"),
    "M025": (
        "a schema reference that leaves the schema, leads nowhere or goes in a circle",
        "refer to `#/$defs/NAME` only",
    ),
    "M026": (
        "a pattern that is too long or needs backtracking, or too many of them",
        f"at most {MAX_PATTERNS} of {MAX_PATTERN} characters, no look-around, no back-references",
    ),
    "M027": ("written for a later manifest version", "use the drivebay that it names"),
    "M028": ("not YAML", "correct the syntax at that place"),
    "M029": ("a file with nearly the right name", "call it `plugin.yaml`"),
    "M030": ("a plugin folder does not exist", "make it, or take it off the list"),
    "M031": ("a plugin folder is a file", "name the folder it lies in"),
    "M032": ("a folder or an entry cannot be looked at", "mend its permissions"),
    "M033": ("an entry point leads to no manifest", "ship a `plugin.yaml` beside what it names"),
    "M034": ("a plugin's folder has a name that is never searched", "give the folder another name"),
    "M035": ("an item stands twice in a list (warning)", "remove one; only one is used"),
    "M036": (
        "a range or a level that makes no sense",
        "`[lowest, highest]` of a known quantity, lowest first",
    ),
    "M037": ("not an isolation", "`process` or `inline`"),
    "M038": ("a safe state or command list that cannot be run", "one command a line, as text"),
    "M039": ("a result column that makes no sense", "give each its own name and a known kind"),
    "M040": ("more problems than are listed", "correct the listed ones first"),
    "M041": ("not a finite number, or one with too many digits", "write a plain decimal number"),
    "M042": (
        "text or a list that is empty or too long",
        f"at most {MAX_TEXT:,} characters ({MAX_ITEM_TEXT} in a list), {MAX_ITEMS} items",
    ),
    "M043": ("not a requirement", "write it as PEP 508 has it, such as `pyvisa>=1.13`"),
    "M044": ("not a version specifier", "write it as PEP 440 has it, such as `>=1,<2`"),
    "M045": (
        "a JSON Schema keyword that is not known (warning)",
        "use the keyword it names, or begin it with `x-`; it is ignored",
    ),
    "M046": (
        "a technique that is not known, or of another method than `cv_measurement`",
        "`ac` for an LCR meter, `quasi_static` for a source-measure unit",
    ),
    "M047": (
        "technique `ac` on an instrument without a range `frequency_hz`",
        "`quasi_static`, or the frequencies of every model",
    ),
    "M048": (
        "a method that two instruments do not measure together",
        "`transfer_curve` or `output_curve`",
    ),
    "M049": (
        "a model lacks a method that its plugin does not claim",
        "a method of `supported_methods`, or nothing",
    ),
    "D001": (
        "`driver_class` is not a class path",
        "`module.Class`, `package.module.Class` or `module:Outer.Inner`",
    ),
}
"""Every code a manifest can get: what is wrong, and what to do about it."""

MARKERS = ("<!-- manifest codes: generated -->", "<!-- end of manifest codes -->")

_HEAD = """# The manifest: plugin.yaml

Generated from `drivebay._core.manifest`; edit there. A folder with a `plugin.yaml` is a plugin; the
file says what the plugin is without any of its code being run. Editors can use the JSON Schema that
`drivebay plugins schema` prints.

```yaml
name: keithley_2400
version: 1.2.0
author: Lab Team <lab@example.org>
description: Keithley 2400 family source-measure units
supported_methods: [iv_sweep]
supported_models: [2400, 2401]
driver_class: driver.Keithley2400
```

## Keys
"""

_RULES = f"""## How the file is read

- UTF-8 on every machine, with or without a byte order mark, at most {MAX_BYTES:,} bytes,
  {MAX_NODES:,} values and {MAX_DEPTH} levels; one YAML document; no anchors, aliases or tags.
- Every scalar is text until its key says otherwise: `version: 1.10` stays 1.10, `no` stays `no`,
  and `supported_models: [2400]` lists the text `2400`. In the free-form parts (`config_schema`,
  `ranges`, `dialect`, `methods` and `x-` keys) unquoted JSON numbers, `true`, `false` and `null`
  are values; everything else is text.
- Where a list is wanted, one item may stand alone: `supported_methods: iv_sweep` is a list of one.
- A key whose value is empty, `null` or `~` counts as absent.
- A key that is not in the table is an error that names the nearest key. Keys that begin with `x-`
  are yours; they are kept and not looked at.
- A file with a later `manifest_version` gets one diagnostic (M027) and is not judged further.
- A `plugin.yaml` without `driver_class` is refused when plugins are discovered, since nothing could
  be loaded from it. `PluginMetadata.from_yaml` and `from_dict` take it, with an empty class.
- Everything that is wrong is reported at once, as `file:line:column: code message`; the codes are
  explained under [diagnostics](diagnostics.md). At most 100 are listed.
- Where PyYAML was built without libyaml the same rules hold; reading is about ten times slower.
"""


def reference_page() -> str:
    """The page as Markdown, ending with a line feed."""
    lines = [
        _HEAD,
        "| key | value | required | default | since | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(item) for item in FIELDS.values()]
    lines += ["", "## Examples", "", "```yaml"]
    lines += [f"{item.name}: {item.example}" for item in FIELDS.values()]
    lines += ["```", "", _ranges(), _RULES]
    return "\n".join(lines)


def _row(item: Field) -> str:
    value = {"list": "list of text", "count": "number"}.get(item.kind, item.kind)
    default = f"`{item.default}`" if item.default and isinstance(item.default, str | int) else ""
    required = "yes" if item.required else ""
    return f"| `{item.name}` | {value} | {required} | {default} | {item.since} | {item.doc} |"


def _ranges() -> str:
    quantities = ", ".join(f"`{name}`" for name in QUANTITIES)
    keywords = ", ".join(f"`{name}`" for name in sorted(KEYWORDS))
    kinds = ", ".join(f"`{name}`" for name in COLUMN_KINDS)
    return f"""## Quantities, schemas and safe states

Quantities of `ranges` and of `dialect` levels, in the unit of their suffix: {quantities}.
A region of `regions` gives the largest magnitudes of `voltage_v` and `current_a` that hold
together; the model works in any one of its regions. `resolution` gives, for a quantity, the
smallest step that the model tells apart in its best range; no parameter is held against it,
questions about who can measure something are (`drivebay who iv_sweep --current-resolution 100nA`).

A `config_schema` and the `parameters` of a method are JSON Schema 2020-12 with these keywords:
{keywords}. Any other is ignored with a warning, and one that begins with `x-` without. `$ref` takes
`#/$defs/NAME`, and references form no circle. There are at most {MAX_PATTERNS} patterns of at most
{MAX_PATTERN} characters; they run on an engine that never backtracks, so look-around and
back-references are refused. `format` is a note to the reader and is not checked. An option with
`writeOnly: true` or `format: password`, or whose name ends with a word like `password`, `token` or
`key`, is a secret: no run keeps its value, see [the run file](run-file.md). Without a
`$schema`, or with that of draft-07 or 2019-09, the schema is applied as 2020-12 all the same.

A column's `kind` is one of {kinds}. A `safe_state` has a `deadline_s` above 0 and at most
{MAX_DEADLINE_S:g}; `interrupt` is `true` where a device clear stops the instrument, or the list of
commands that do.
"""


def codes_section() -> str:
    """The table of codes as Markdown, between its two markers."""
    lines = [MARKERS[0], "", "| code | what is wrong | what to do |", "|---|---|---|"]
    lines += [f"| `{code}` | {wrong} | {remedy} |" for code, (wrong, remedy) in CODES.items()]
    return "\n".join([*lines, "", MARKERS[1]])
