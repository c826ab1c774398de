"""Stage 1, the reader: bytes of a manifest -> plain values, with the place each of them stands at.

Rules: never builds a Python object from a tag, never follows an alias, never recurses deeper than
the manifest may nest, and never raises on content: what is wrong is a :class:`Problem`. Every
scalar is text until a field says otherwise, so ``1.10`` stays ``1.10`` and ``no`` stays ``no``.

libyaml composes by C recursion and takes the process with it when the nesting is deep (50,000 '['
do it). So a cheap look at the bytes first proves that nesting is shallow and that there can be no
anchor, alias, tag or directive; a manifest that cannot be cleared that way is walked event by
event, which does not recurse, before it is composed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from drivebay._core.errors import Diagnostic, ManifestError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
MAX_NODES = 2_000

_control = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# C1 controls (but NEL, which YAML takes for a line break), byte order marks inside the text, and
# the bidirectional overrides that make a line read differently from what it says.
_hidden = re.compile("[\x80-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# '&', '*' and '!' mean something only where a token starts. After one of these characters they
# cannot; after any other the manifest takes the slower road.
_node_property = re.compile(rb"[&*!](?<![A-Za-z0-9_.()/+=][&*!])")
_directive_or_deep = re.compile(rb"^(%|[ \t?:-]{49})", re.MULTILINE)
_most_brackets = 64
_number = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_long_number = re.compile(r"-?[0-9]{19,}(\.[0-9]+)?|-?[0-9]+\.[0-9]{31,}")
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "null": None,
    "": None,
    "~": None,
}

Where = tuple[str | int, ...]
WILD = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a manifest, before it is known where it stands in the file.

    Attributes:
        code: as in :class:`~drivebay._core.errors.Diagnostic`.
        message: subject, value, expectation.
        where: keys and indexes from the top of the manifest.
        on_key: the key itself is at fault, not its value.
        mark: 0-based line and column, when the place is known but is no value.
        severity: ``error`` or ``warning``.
    """

    code: str
    message: str
    where: Where = ()
    on_key: bool = False
    mark: tuple[int, int] | None = None
    severity: str = "error"


class _TextResolver:
    """Resolves no tags: every scalar is text here, and that is half the time of composing."""

    def resolve(self, kind: object, value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, parent: object, index: object) -> None: ...

    def ascend_resolver(self) -> None: ...


def _composer() -> Callable[[bytes], Any]:
    """The class that scans and composes: libyaml's, or PyYAML's own where that is missing."""
    if yaml.__with_libyaml__:
        return type("LibyamlComposer", (_TextResolver, yaml.CBaseLoader), {})
    return yaml.BaseLoader


_Composer = _composer()


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a manifest file, one more than allowed at the most.

    Never blocks: a FIFO or a device is refused by what it is, before it is read.

    Raises:
        ManifestError: M018, the path is not a regular file.
        OSError: there is no such file, or it may not be read.
    """
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ManifestError([Diagnostic("M018", "is not a regular file", str(path))])
        parts = []
        left = MAX_BYTES + 1
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def compose(data: bytes) -> tuple[yaml.MappingNode | None, list[Problem]]:
    """The manifest's node tree, or what keeps it from being one.

    The tree holds no aliases and no tags; its depth and the number of its nodes are bounded for
    certain only after :func:`plain` has walked it.
    """
    problem = _bytes_problem(data) or (None if _is_tame(data) else _events_problem(data))
    if problem is not None:
        return None, [problem]
    loader = None
    try:
        loader = _Composer(data)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        return None, [_yaml_problem(error, data)]
    finally:
        if loader is not None:
            loader.dispose()
    if root is None:
        return None, [Problem("M001", "the manifest is empty; it needs at least name and version")]
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else f"the text {root.value[:40]!r}"
        if isinstance(root, yaml.ScalarNode) and not root.style and root.value in NULLS:
            return None, [
                Problem("M001", "the manifest is empty; it needs at least name and version")
            ]
        message = f"a manifest must be a mapping at its top level, found {found}"
        return None, [Problem("M002", message, mark=_mark(root.start_mark))]
    return root, []


def plain(node: yaml.Node, typed: bool, problems: list[Problem], depth: int = 1) -> Any:
    """The plain value of a node.

    Args:
        node: from :func:`compose`.
        typed: whether unquoted numbers, ``true``, ``false`` and ``null`` become values; else every
            scalar is text, and only an unquoted null becomes None.
        problems: filled with duplicate keys, keys that are no text, deep nesting, wild numbers.
        depth: how many collections enclose the node.
    """
    value = node.value
    if isinstance(node, yaml.ScalarNode):
        if node.style:
            return value
        if typed:
            return _typed_scalar(node, problems)
        return None if value in NULLS else value
    if depth >= MAX_DEPTH:
        message = f"nested deeper than {MAX_DEPTH} levels"
        problems.append(Problem("M012", message, mark=_mark(node.start_mark)))
        return None
    depth += 1
    if isinstance(node, yaml.SequenceNode):
        return [plain(item, typed, problems, depth) for item in value]
    result: dict[str, Any] = {}
    for key_node, value_node in value:
        key = key_text(key_node, problems)
        if key is None:
            continue
        if key in result:
            problems.append(duplicate(value, key_node))
            continue
        result[key] = plain(value_node, typed, problems, depth)
    return result


def key_text(node: yaml.Node, problems: list[Problem]) -> str | None:
    """The text of a mapping's key; a key that is a list or a mapping is a problem."""
    if isinstance(node, yaml.ScalarNode):
        text: str = node.value
        return text
    message = "a key must be text, found " + (
        "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    )
    problems.append(Problem("M006", message, mark=_mark(node.start_mark)))
    return None


def duplicate(pairs: list[tuple[yaml.Node, yaml.Node]], again: yaml.Node) -> Problem:
    """The problem of a key that stands twice in a mapping, naming both lines."""
    first = next(key for key, _ in pairs if key.value == again.value)
    lines = f"lines {first.start_mark.line + 1} and {again.start_mark.line + 1}"
    message = f"key {again.value[:60]!r} appears twice ({lines})"
    return Problem("M005", message, mark=_mark(again.start_mark))


def has_too_many(root: yaml.Node, size: int) -> bool:
    """Whether a tree has more nodes than allowed; counted without recursion.

    Args:
        root: of a composed tree.
        size: of the manifest in bytes. No node takes less than one, so a small manifest needs no
            counting.
    """
    if size < MAX_NODES:
        return False
    count, stack = 0, [root]
    while stack and count <= MAX_NODES:
        node = stack.pop()
        count += 1
        if isinstance(node, yaml.MappingNode):
            for pair in node.value:
                stack.extend(pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
    return count > MAX_NODES


def locate(root: yaml.MappingNode | None, problem: Problem) -> tuple[int, int]:
    """The 1-based line and column of a problem, (0, 0) when it has no place in a file."""
    if problem.mark is not None:
        return problem.mark[0] + 1, problem.mark[1] + 1
    if root is None or not problem.where:
        return 0, 0
    node: yaml.Node = root
    mark = root.start_mark
    for step in problem.where:
        found = _child(node, step)
        if found is None:
            break
        key_node, node = found
        mark = key_node.start_mark if problem.on_key else node.start_mark
    return mark.line + 1, mark.column + 1


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _typed_scalar(node: yaml.ScalarNode, problems: list[Problem]) -> Any:
    value = typed_text(node.value)
    if value is WILD:
        message = f"number {node.value[:40]!r} is not finite or has more digits than it can need"
        problems.append(Problem("M041", message, mark=_mark(node.start_mark)))
    return value


def typed_text(text: str) -> Any:
    """An unquoted scalar as JSON would have it: number, true, false, null, or else text.

    WILD stands for a number that is not finite or has more digits than any measurement can need.
    """
    if text in _WORDS:
        return _WORDS[text]
    match = _number.fullmatch(text)
    if match is None:
        return WILD if _long_number.fullmatch(text) else text
    if match[2] is None and match[3] is None:
        return int(text)
    number = float(text)
    return number if isfinite(number) else WILD


def has_control(data: bytes) -> bool:
    """Whether there is a control character in the bytes, other than tab and line break."""
    return _control.search(data) is not None


def _bytes_problem(data: bytes) -> Problem | None:
    """What is wrong with the bytes themselves: too many, not UTF-8, or not printable."""
    if len(data) > MAX_BYTES:
        at_least = (
            "more than " if len(data) == MAX_BYTES + 1 else f"{len(data):,} bytes, more than "
        )
        return Problem("M013", f"the manifest is {at_least}the {MAX_BYTES:,} bytes allowed")
    if control := _control.search(data):
        at = control.start()
        message = f"character U+{data[at]:04X} at byte {at} is not allowed; use UTF-8 text"
        return Problem("M015", message, mark=_mark_at(data, at))
    if data.isascii():
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start} (0x{data[error.start]:02X}); save it as UTF-8"
        return Problem("M016", message, mark=_mark_at(data, error.start))
    if hidden := _hidden.search(text):
        at = len(text[: hidden.start()].encode())
        message = f"character U+{ord(hidden[0]):04X} at byte {at} is not allowed"
        return Problem("M015", message, mark=_mark_at(data, at))
    return None


def _mark_at(data: bytes, byte: int) -> tuple[int, int]:
    before = data[:byte].decode("utf-8-sig", "replace")
    return before.count("\n"), len(before) - (before.rfind("\n") + 1)


def _is_tame(data: bytes) -> bool:
    """Whether the bytes alone prove: shallow, and no anchor, alias, tag or directive."""
    if not yaml.__with_libyaml__:
        return False
    if data.count(b"[") + data.count(b"{") > _most_brackets or _directive_or_deep.search(data):
        return False
    risky = b"*" in data or b"&" in data or b"!" in data
    return not (risky and _node_property.search(data))


def _events_problem(data: bytes) -> Problem | None:
    """Walk the events (no recursion, no composing) and stop at the first that may not be."""
    depth = documents = 0
    try:
        for count, event in enumerate(_events(data)):
            if count > 2 * MAX_NODES:
                return _too_many(event)
            if isinstance(event, yaml.NodeEvent) and (problem := _property_problem(event)):
                return problem
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    message = f"nested deeper than {MAX_DEPTH} levels"
                    return Problem("M012", message, mark=_mark(event.start_mark))
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    return _second_document(event.start_mark)
    except yaml.YAMLError as error:
        return _yaml_problem(error, data)
    return None


def _events(data: bytes) -> Iterator[yaml.Event]:
    loader = _Composer(data)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


def _property_problem(event: yaml.NodeEvent) -> Problem | None:
    mark = _mark(event.start_mark)
    if isinstance(event, yaml.AliasEvent) or event.anchor:
        sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
        message = f"YAML anchors and aliases are not allowed ({sign}{str(event.anchor)[:40]})"
        return Problem("M011", f"{message}; quote text that begins with '{sign}'", mark=mark)
    tag = getattr(event, "tag", None)
    if tag:
        message = f"YAML tags are not allowed ({tag[:60]}); quote text that begins with '!'"
        return Problem("M010", message, mark=mark)
    return None


def _too_many(event: yaml.Event) -> Problem:
    return Problem("M013", f"more than {MAX_NODES:,} values", mark=_mark(event.start_mark))


def too_many_nodes() -> Problem:
    """The problem of a manifest with more values than it may have."""
    return Problem("M013", f"more than {MAX_NODES:,} values")


def _second_document(mark: Any) -> Problem:
    message = "more than one YAML document; a manifest is one, so there is no second '---'"
    return Problem("M017", message, mark=_mark(mark))


def _yaml_problem(error: yaml.YAMLError, data: bytes) -> Problem:
    """What libyaml says, as one sentence with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or error).split("\n")[0]
    if "but found another document" in said:
        return _second_document(mark)
    at = _mark(mark) if mark is not None else None
    if "alias" in said:
        return Problem("M011", "YAML anchors and aliases are not allowed", mark=at)
    if mark is not None and _tab_at(data, mark.line):
        message = "a tab is used for indentation; YAML allows spaces only"
        return Problem("M014", message, mark=at)
    hint = _quote_hint(data, mark.line) if mark is not None else ""
    return Problem("M028", f"not YAML: {said[:160]}{hint}", mark=at)


def _quote_hint(data: bytes, line: int) -> str:
    """What to do about the most common slip: ``requires_python: >=3.11`` without quotes."""
    lines = data.split(b"\n")
    if line < len(lines) and re.search(rb"[:\-] +[>|@`%][^ \r]", lines[line]):
        return "; quote text that begins with a sign, as in '>=1,<2'"
    return ""


def _tab_at(data: bytes, line: int) -> bool:
    lines = data.split(b"\n")
    if line >= len(lines):
        return False
    indent = re.match(rb"[ \t]*", lines[line])
    return indent is not None and b"\t" in indent[0]


def _mark(mark: Any) -> tuple[int, int]:
    return mark.line, mark.column
