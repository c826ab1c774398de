"""Writes the reference pages that are made from the code: ``make docs-reference``.

Nothing in these pages is typed by hand, so a name, an option or an error is documented where it is
defined. ``tests/docs`` fails while a page in the tree is not what this program would write.
"""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import click

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the code. Edit the code, then `make docs-reference`. -->"

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Note|Notes|Example|Examples):")
ENTRY = re.compile(r"(\*{0,2}[\w.,* /]+?)(?: \([^)]*\))?: (.*)")
ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")

# Codes of stages that keep no table of their own; a test finds any that is missing here.
DRIVER_CODES = {
    "M101": ("the class has a method the manifest does not list", "list it; look-ups use the list"),
    "M102": (
        "the class, or its `@driver_plugin`, and `plugin.yaml` disagree",
        "keep what is said once; a class that can be paced has `paired_methods`",
    ),
    "M103": ("no `safe_state`", "declare what switches the output off"),
    "M104": ("no `manufacturer`, so any maker's instrument of that model fits", "name it"),
    "M105": (
        "`cv_measurement` without a `technique`",
        "say it under `methods`: `ac` or `quasi_static`",
    ),
    "D006": ("a Python file that looks like a driver does not parse", "correct it at that line"),
    "D013": ("a chunk has a column the method does not declare", "declare it, or rename it"),
    "D017": (
        "an argument of `@driver_plugin` cannot be read without running the file",
        "write a literal, or use a `plugin.yaml`",
    ),
}
ADDRESS_CODES = {
    "V001": ("not a VISA address", "write it in the form that is shown"),
    "V002": ("a port that does not exist", "1 to 65535"),
    "V003": ("nothing listens at the address", "switch it on, or free it from who holds it"),
    "V004": ("a character that an address cannot have", "remove it"),
    "V005": ("an address that is too long", "write the address only"),
    "V006": ("a host that is ambiguous or not allowed", "write four decimal numbers, or a name"),
    "V008": ("a serial port given as a URL", "name the device"),
    "V009": ("not the name of a serial port", "`/dev/tty...`, `COM1` or a number"),
    "V010": ("the library for GPIB is missing", "install the adapter's driver"),
    "V011": ("a GPIB address outside 0 to 30", "look at the instrument's menu"),
    "V012": ("an IPv6 host where only raw sockets take one", "use `::SOCKET`, or IPv4"),
    "V014": ("a USB address with an impossible field", "copy it from `drivebay find`"),
    "V015": ("a LAN device name that is not one", "`inst0` or `hislip0`"),
}


def markdown(docstring: str | None) -> str:
    """Turn a Google docstring into Markdown: sections become lists, doctests become code."""
    text = ROLE.sub(r"`\1`", inspect.cleandoc(docstring or "")).replace("``", "`")
    return "\n\n".join(part for block in _blocks(text) for part in _block(block) if part)


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; indented ones that follow each other stay together."""
    held = ""
    for block in re.split(r"\n\s*\n", text):
        if block.startswith("    ") and held.startswith("    "):
            held += "\n\n" + block
            continue
        if held:
            yield held
        held = block
    if held:
        yield held


def _block(block: str) -> Iterator[str]:
    lines = block.split("\n")
    if lines[0].lstrip().startswith(">>>"):
        yield "```pycon\n" + inspect.cleandoc(block) + "\n```"
        return
    heading = SECTION.fullmatch(lines[0].strip())
    if heading is None:
        literal = lines[0].startswith("    ")
        yield f"```text\n{textwrap.dedent(block)}\n```" if literal else block
        return
    yield f"**{heading[1]}**"
    yield "\n".join(_entries(lines[1:]))


def _entries(lines: list[str]) -> list[str]:
    """Join continuation lines, and set the name of each entry as code."""
    if not lines:
        return []
    indent = len(lines[0]) - len(lines[0].lstrip())
    entries: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) > indent and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    named = (ENTRY.fullmatch(entry) for entry in entries)
    return [
        f"- `{match[1]}`: {match[2]}" if match else f"- {entry}"
        for match, entry in zip(named, entries, strict=True)
    ]


class _Bare:
    """An annotation as it was written, without the quotes of a string."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(value: Any) -> str:
    """What a caller may pass; empty for what has no signature."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [
        parameter.replace(annotation=_bare(parameter.annotation))
        for parameter in found.parameters.values()
    ]
    result = inspect.Signature.empty if isinstance(value, type) else _bare(found.return_annotation)
    text = str(found.replace(parameters=bare, return_annotation=result))
    return re.sub(r"<factory>|<[^<>]* at 0x[0-9a-f]+>", "...", text)


def _bare(annotation: Any) -> Any:
    if isinstance(annotation, str):
        return _Bare(annotation)
    # What a parameter's unit, bounds and sentence are stands on the page of its method.
    return _Bare(_type_text(annotation)) if "msgspec.Meta(" in repr(annotation) else annotation


def _type_text(annotation: Any) -> str:
    """A type without what is annotated to it.

    >>> _type_text(Annotated[Annotated[float, "above 0"] | None, "a range"])
    'float | None'
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_text(annotation.__origin__)
    if origin in {Union, UnionType}:
        return " | ".join(map(_type_text, get_args(annotation)))
    if annotation is type(None):
        return "None"
    return (
        annotation.__name__ if isinstance(annotation, type) and origin is None else str(annotation)
    )


def own_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties a class and its private bases define, in their order."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if base is not cls and not base.__module__.startswith("drivebay"):
            continue
        for name, value in vars(base).items():
            documented = callable(value) or isinstance(value, property | classmethod | staticmethod)
            if name.startswith("_") or name in seen or not documented or isinstance(value, type):
                continue
            seen.add(name)
            yield name, value


def public_name(name: str, value: Any) -> Iterator[str]:
    """Render one exported name with what it offers."""
    yield f"## `{name}`"
    if isinstance(value, type):
        if not issubclass(value, Exception):
            yield f"```python\nclass {name}{signature(value)}\n```"
        yield markdown(value.__doc__)
        if not issubclass(value, Exception):
            for member, raw in own_members(value):
                yield from _member(member, raw)
    elif callable(value):
        yield f"```python\n{name}{signature(value)}\n```"
        yield markdown(value.__doc__)
    else:
        yield f"`{value!r}`"


def _member(name: str, raw: Any) -> Iterator[str]:
    if isinstance(raw, property):
        yield f"### `{name}`"
        yield markdown(raw.__doc__)
        return
    function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
    yield f"### `{name}{signature(function)}`"
    yield markdown(function.__doc__)


def module_page(title: str, module_name: str) -> str:
    module = importlib.import_module(module_name)
    parts = [f"# {title}", markdown(module.__doc__)]
    for name in sorted(module.__all__, key=str.lower):
        parts += public_name(name, getattr(module, name))
    return page(parts)


def errors_page() -> str:
    """Every class of the tree, with its built-in relatives and what its docstring says."""
    module = importlib.import_module("drivebay._core.errors")
    parts = ["# Errors", markdown(module.__doc__)]
    for name, cls in error_classes().items():
        bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
        parts += [f"## `{name}`", f"Is a {bases}.", markdown(cls.__doc__)]
    return page(parts)


def error_classes() -> dict[str, type[Exception]]:
    module = importlib.import_module("drivebay._core.errors")
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.startswith("drivebay")
    }


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command of the command line with its full name, groups before their members."""
    root = importlib.import_module("drivebay.cli").command_tree()
    yield from _walk("drivebay", root, None)


def _walk(
    name: str, command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    short = name.rsplit(" ", 1)[-1]
    context = click.Context(command, parent, info_name=short, **command.context_settings)
    yield name, command, context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            member = command.get_command(context, child)
            if member is not None and not member.hidden:
                yield from _walk(f"{name} {child}", member, context)


# What each exit code of drivebay.cli.failures tells a script.
EXIT_CODES = {
    "OK": "done",
    "FAILED": "it was tried and did not work: a link, an instrument or a driver failed",
    "USAGE": "the command, a parameter, an address or a config is wrong; nothing was sent",
    "NOT_FOUND": "nothing is there: no instrument answers, no such plugin, driver or run",
    "ABORTED": "somebody stopped it; the output was made safe and the points so far are kept",
    "PLUGIN": "a plugin cannot be used; `drivebay plugins check NAME` says why",
    "INTERNAL": "a bug of Drivebay; its traceback is in the file that is named",
}


def cli_page() -> str:
    """Every command with its options, and what the exit codes mean."""
    failures = importlib.import_module("drivebay.cli.failures")
    codes = [f"| {getattr(failures, name)} | {text} |" for name, text in EXIT_CODES.items()]
    parts = [
        "# Command line",
        "Every command takes `--help`.",
        "## Exit codes",
        "\n".join(["| code | means |", "|---|---|", *codes]),
    ]
    for name, command, context in commands():
        usage = command.get_usage(context).removeprefix("Usage: ")
        parts += [f"## `{name}`", markdown(command.help), f"```text\n{usage}\n```"]
        rows = [param.get_help_record(context) for param in command.get_params(context)]
        options = [f"- `{row[0]}`: {row[1]}" for row in rows if row is not None]
        parts.append("\n".join(options))
    return page(parts)


def methods_page() -> str:
    spec = importlib.import_module("drivebay._core.methods")
    page = importlib.import_module("drivebay._core.methods.page")
    return str(page.reference_page(spec.STANDARD.values()))


def manifest_page() -> str:
    return str(importlib.import_module("drivebay._core.manifest.page").reference_page())


def bench_page() -> str:
    return str(importlib.import_module("drivebay._core.bench.page").reference_page())


def instruments_page() -> str:
    """Every built-in driver: what it serves, what it measures, and what it was tried with."""
    made = runpy.run_path(str(Path(__file__).with_name("instruments.py")))
    return page([*made["parts"]()])


def diagnostics_page() -> str:
    """Every code, from the tables of the stages that give them."""
    parameters = importlib.import_module("drivebay._core.methods.page").CODES
    return page(
        [
            "# Diagnostics",
            "A diagnostic is one problem: a short code that does not change, so that programs may "
            "rely on it, a place, and what was expected.",
            "## Manifests and discovery",
            importlib.import_module("drivebay._core.manifest.page").codes_section(),
            "## Bench files",
            _code_table(importlib.import_module("drivebay._core.bench.page").CODES),
            "## Drivers",
            _code_table(DRIVER_CODES),
            "## Parameters of a measurement",
            _code_table({code: (text, "") for code, text in parameters.items()}),
            "## Resource addresses",
            _code_table(ADDRESS_CODES),
            "## Refused commands",
            "These come with a `LimitError`, see [limits](limits.md).",
            _code_table(importlib.import_module("drivebay._core.limits").CODES),
        ]
    )


def _code_table(table: Mapping[str, tuple[str, str]]) -> str:
    lines = ["| code | what is wrong | what to do |", "|---|---|---|"]
    lines += [f"| `{code}` | {wrong} | {remedy} |" for code, (wrong, remedy) in table.items()]
    return "\n".join(lines)


def page(parts: list[str]) -> str:
    return NOTE + "\n\n" + "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "api.md": lambda: module_page("The Python API", "drivebay"),
    "driver-api.md": lambda: module_page("The API for driver authors", "drivebay.driver"),
    "testing.md": lambda: module_page("The API for tests of drivers", "drivebay.testing"),
    "errors.md": errors_page,
    "cli.md": cli_page,
    "methods.md": methods_page,
    "manifest.md": manifest_page,
    "bench.md": bench_page,
    "instruments.md": instruments_page,
    "diagnostics.md": diagnostics_page,
}


def main() -> None:
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
