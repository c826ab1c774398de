"""The bench file, the reference page: made from the tables of keys, and the table of codes.

``docs/reference/bench.md`` is the output of :func:`reference_page`, and :data:`CODES` a section of
``docs/reference/diagnostics.md``; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping

from drivebay._core.bench.keys import BENCH, CHANNEL, IDENTITY, INSTRUMENT, RAMP
from drivebay._core.bench.model import POLICIES
from drivebay._core.bench.read import DOCUMENT
from drivebay._core.bench.values import COMMANDED, LEVELS, MAX_RAMP_S, UNITS
from drivebay._core.manifest.fields import MAX_ITEM_TEXT, MAX_ITEMS, MAX_TEXT, Field
from drivebay._core.manifest.text import MAX_BYTES, MAX_DEPTH

CODES = {
    "B001": ("the bench file is empty", "write at least `instruments:`, or delete the file"),
    "B002": ("the top level is no mapping", "begin with `bench: ...`, not with `-`"),
    "B003": ("unknown key", "use the key it names, or begin a key of your own with `x-`"),
    "B004": ("a key that is needed is missing, or a key has no value", "write it, or remove it"),
    "B005": ("a key stands twice in one mapping", "remove one of the two lines it names"),
    "B006": ("a value is of the wrong kind", "write it as the kind it asks for"),
    "B007": ("not a plugin name", "write it as `drivebay plugins list` shows it"),
    "B010": ("a YAML tag", "remove it, or quote text that begins with `!`"),
    "B011": (
        "a YAML anchor or alias",
        "write the value out, or quote text that begins with `&` or `*`",
    ),
    "B012": (f"nested deeper than {MAX_DEPTH} levels", "flatten it"),
    "B013": (
        f"more than {MAX_BYTES:,} bytes or {DOCUMENT.max_nodes:,} values",
        "make it smaller, or make it two benches",
    ),
    "B014": ("a tab in an indentation", "indent with spaces"),
    "B015": (
        "a control character, or one that hides what the text says",
        "remove it; text is printable UTF-8",
    ),
    "B016": ("not UTF-8", "save the file as UTF-8"),
    "B017": ("more than one YAML document", "remove the second `---` and what follows"),
    "B018": ("not a regular file", "put a file there"),
    "B028": ("not YAML", "correct the syntax at that place"),
    "B035": ("an item stands twice in a list (warning)", "remove one; only the first is used"),
    "B036": (
        "a limit that makes no sense",
        "`[lowest, highest]` of a known quantity, lowest first, or one number from 0",
    ),
    "B038": ("a safe state that cannot be run", "one command a line, as text"),
    "B040": ("more problems than are listed", "correct the listed ones first"),
    "B041": ("not a finite number", "write a number, with or without its unit"),
    "B042": (
        "text or a list that is empty or too long",
        f"at most {MAX_TEXT:,} characters ({MAX_ITEM_TEXT} in a list), {MAX_ITEMS} items",
    ),
    "B101": (
        "not an alias, or one that reads as an address",
        "a lower-case letter, then lower-case letters, digits or `_`",
    ),
    "B102": ("not an address", "the code in brackets says why; copy it from `drivebay find`"),
    "B103": ("two aliases for one address", "remove one: its limits would not hold for the other"),
    "B104": ("not a policy", f"one of {', '.join(f'`{name}`' for name in POLICIES)}"),
    "B105": ("`hold` without a reason", "say in `policy_reason` why the output may stay on"),
    "B106": (
        "a ramp that is missing, is used by no policy, or makes no sense",
        f"a rate above 0, `max_s` of at most {MAX_RAMP_S:g}, and `policy: ramp_off`",
    ),
    "B107": ("a limit in another unit", "the unit is the one in the name of the quantity"),
    "B108": ("a setting of a serial line that no line has", "write it as the message shows"),
    "B109": ("a setting that changes nothing on this interface (warning)", "remove it"),
    "B110": (
        "an identity that no instrument can have",
        "pin at least one part, as the instrument prints it",
    ),
    "B111": ("`safe_order` names no instrument of the bench", "use the alias it names"),
    "B112": (
        "a limit leaves out 0, where the policy takes the output",
        "widen it, or use `hold` and say why",
    ),
    "B113": ("a channel's limit is wider than its instrument's", "narrow it, or widen the other"),
    "B114": ("not the name of a channel", "letters, digits or `_`, as the dialect has it"),
    "B115": (
        "the ramp may not reach zero in `max_s` (warning)",
        "make it steeper, or accept the step at its end",
    ),
    "B116": ("text that is blank or cannot be shown", "write printable characters"),
    "B117": (
        "this machine has no such plugin (warning of `drivebay bench check`)",
        "install it, or use the name it shows",
    ),
}
"""Every code a bench file can get: what is wrong, and what to do about it."""

EXAMPLE = """\
bench: probe station 3
instruments:
  gate:
    resource: TCPIP::192.168.1.5::5025::SOCKET
    plugin: keithley_2400
    config: {timeout_s: 3}
    identity: {manufacturer: KEITHLEY, model: "2400", serial: "1234567"}
    limits:
      voltage_v: [-10, 10]
      current_a: 10 mA
    policy: ramp_off
    ramp: {rate_v_per_s: 5, max_s: 10}
  drain:
    resource: GPIB0::24::INSTR
    visa_library: "@ivi"
    limits: {voltage_v: 40, current_a: 0.1}
    channels:
      "2": {limits: {voltage_v: 5}}
    safe_state:
      writes: [":OUTP1 OFF", ":OUTP2 OFF"]
      verify: {query: ":OUTP1?", equals: "0"}
      deadline_s: 2
  heater:
    resource: ASRL/dev/ttyUSB0::INSTR
    baud_rate: 19200
    terminator: "\\r\\n"
    policy: hold
    policy_reason: the sample must stay at 4 K overnight
safe_order: [drain, gate]
"""

_RULES = f"""## Limits

- A limit is of one quantity, in the unit of its name: {", ".join(f"`{name}`" for name in UNITS)}.
- `voltage_v: [-10, 10]` gives both ends; `voltage_v: 10` holds in both directions, so it is the
  same. A number may carry its unit and a prefix: `10 mA`, `0.2 kV`.
- Limits of {", ".join(f"`{name}`" for name in COMMANDED)} hold for every command, whoever sends
  it, as far as the manifest's dialect says which commands set them; those of the others for the
  parameters of measurements.
- The limits of an instrument hold for each of its channels. A channel may narrow them, not widen
  them (B113), and has the others as they are.
- A limit without a value is an error (B041) and so is any other key without one (B004): a limit
  that was meant and left blank must not become no limit.
- {", ".join(f"`{name}`" for name in LEVELS)} are zero when an output is off. So with `off` and
  `ramp_off` their limits have to admit 0 (B112); with `hold` they need not.

## Policies

| policy | what becomes of the output when a measurement is over or its program has died |
|---|---|
{chr(10).join(f"| `{name}` | {text} |" for name, text in POLICIES.items())}

Who writes `hold` leaves an output on with nobody there, so it needs a `policy_reason`, which is
shown with the instrument. Where a ramp cannot be followed, because the program or the link is gone,
the output is switched off at once. All of this is software: where a voltage can hurt, use the
instrument's interlock.

A channel has the policy, the reason and the ramp of its instrument where it has none of its own.

## Identities

Pin what must not be swapped. Case and blanks do not matter; `model` agrees with and without the
word MODEL, `manufacturer` with a maker's short and former names, `firmware` with the first words of
what the instrument prints. `serial` is compared whole. Parts that are not pinned may be anything.

## How the file is read

- As the [manifest](manifest.md) is: UTF-8, at most {MAX_BYTES:,} bytes, {DOCUMENT.max_nodes:,}
  values and {MAX_DEPTH} levels; no anchors, aliases or tags; every scalar is text until its key
  says otherwise, so `policy: off` is the policy and not false, and `serial: 0012` keeps its zeros.
  In `config` unquoted numbers, `true`, `false` and `null` are values.
- Nothing is looked up: no plugin is imported, no instrument is spoken to.
- Everything that is wrong is reported at once, as `file:line:column: code message`; the codes are
  explained under [diagnostics](diagnostics.md). With an error in it nothing of the file is used.
- Keys that begin with `x-` are yours and are not looked at.
"""


def reference_page() -> str:
    """The page as Markdown, ending with a line feed."""
    return f"""# The bench file: bench.yaml

Generated from `drivebay._core.bench`; edit there. A bench file names the instruments of a bench and
says what nobody may exceed, which instrument must be at an address, and what becomes of an output
when nobody looks after it.

```yaml
{EXAMPLE}```

The file in force is the one that `DRIVEBAY_BENCH` names, else `bench.yaml` in the current folder,
else `bench.yaml` in the [home folder](settings.md). `drivebay bench check` says what is wrong with
it, `drivebay bench show` what it says; `drivebay bench schema` prints a JSON Schema for editors. In
a program, `drivebay.load_bench` gives it as a [`Bench`](api.md).

## Keys

{_table(BENCH)}

## Keys of an instrument

{_table(INSTRUMENT)}

Keys of a channel: {", ".join(f"`{name}`" for name in CHANNEL)}.

## Keys of identity

{_table(IDENTITY)}

## Keys of ramp

A ramp has at least one rate.

{_table(RAMP)}

{_RULES}"""


def _table(table: Mapping[str, Field]) -> str:
    lines = ["| key | required | default | meaning | example |", "|---|---|---|---|---|"]
    lines += [_row(item) for item in table.values()]
    return "\n".join(lines)


def _row(item: Field) -> str:
    required = "yes" if item.required else ""
    default = f"`{item.default}`" if item.default else ""
    return f"| `{item.name}` | {required} | {default} | {item.doc} | `{item.example}` |"
