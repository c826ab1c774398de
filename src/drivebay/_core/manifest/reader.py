"""Stage 1, the reader: bytes of YAML -> plain values, with the place each of them stands at.

It reads manifests, and for later stages any :class:`Document` under the same rules.

Rules: never builds a Python object from a tag, never follows an alias, never recurses deeper than
a document may nest, and never raises on content: what is wrong is a :class:`Problem`. Every
scalar is text until a field says otherwise, so ``1.10`` stays ``1.10`` and ``no`` stays ``no``.

libyaml composes by C recursion and takes the process with it when the nesting is deep (50,000 '['
do it). So a cheap look at the bytes first proves that nesting is shallow and that there can be no
anchor, alias, tag or directive; a manifest that cannot be cleared that way is walked event by
event, which does not recurse, before it is composed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from drivebay._core.manifest.fields import FIELDS
from drivebay._core.manifest.text import (
    MANIFEST,
    MAX_DEPTH,
    NULLS,
    WILD,
    Document,
    Problem,
    bytes_problem,
    typed_text,
)

# '&', '*' and '!' mean something only where a token starts. After one of these characters they
# cannot; after any other the manifest takes the slower road.
_node_property = re.compile(rb"[&*!](?<![A-Za-z0-9_.()/+=][&*!])")
_directive_or_deep = re.compile(rb"^(%|[ \t?:-]{49})", re.MULTILINE)
_most_brackets = 64

Typing = bool | Mapping[str, Any]
"""Whether unquoted numbers and words become values: everywhere, nowhere, or by key, where ``*``
speaks for the keys not named and each entry is again one of the three."""

_MANIFEST_TYPING: Final[Typing] = {"*": True, **{key: item.typed for key, item in FIELDS.items()}}


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


def compose(
    data: bytes, document: Document = MANIFEST
) -> tuple[yaml.MappingNode | None, list[Problem]]:
    """The document's node tree, or what keeps it from being one.

    The tree holds no aliases and no tags; its depth and the number of its nodes are bounded for
    certain only after :func:`top_values` has walked it.
    """
    problem = bytes_problem(data, document) or (
        None if _is_tame(data) else _events_problem(data, document)
    )
    if problem is not None:
        return None, [problem]
    loader = None
    try:
        loader = _Composer(data)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        return None, [_yaml_problem(error, data, document)]
    finally:
        if loader is not None:
            loader.dispose()
    empty = Problem("M001", f"the {document.name} is empty; {document.start}")
    if root is None:
        return None, [empty]
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else f"the text {root.value[:40]!r}"
        if isinstance(root, yaml.ScalarNode) and not root.style and root.value in NULLS:
            return None, [empty]
        message = f"a {document.name} must be a mapping at its top level, found {found}"
        return None, [Problem("M002", message, mark=_mark(root.start_mark))]
    return root, []


def top_values(
    root: yaml.MappingNode,
    size: int,
    problems: list[Problem],
    document: Document = MANIFEST,
    typed: Typing = _MANIFEST_TYPING,
) -> dict[str, Any]:
    """The values of the top-level keys, each read as its field wants it."""
    if has_too_many(root, size, document.max_nodes):
        problems.append(Problem("M013", f"more than {document.max_nodes:,} values"))
        return {}
    raw: dict[str, Any] = plain(root, typed, problems, depth=0)
    return raw


def is_incomplete(problems: list[Problem]) -> bool:
    """Whether values were left out, so that whatever fields say next is about the wrong thing."""
    return any(problem.code in ("M012", "M013") for problem in problems)


def top_scalars(root: yaml.MappingNode) -> dict[str, str]:
    """The text of the top-level scalars; of a key that stands twice, the first."""
    return {
        str(key.value): str(value.value)
        for key, value in reversed(root.value)
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }


def plain(node: yaml.Node, typed: Typing, problems: list[Problem], depth: int = 1) -> Any:
    """The plain value of a node.

    Args:
        node: from :func:`compose`.
        typed: where unquoted numbers, ``true``, ``false`` and ``null`` become values; elsewhere
            every scalar is text, and only an unquoted null becomes None.
        problems: filled with duplicate keys, keys that are no text, deep nesting, wild numbers.
        depth: how many collections enclose the node.
    """
    value = node.value
    if isinstance(node, yaml.ScalarNode):
        if node.style:
            return value
        if typed is True:
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
    by_key = typed if isinstance(typed, Mapping) else None
    for key_node, value_node in value:
        key = key_text(key_node, problems)
        if key is None:
            continue
        if key in result:
            problems.append(duplicate(value, key_node))
            continue
        below = typed if by_key is None else by_key.get(key, by_key.get("*", False))
        result[key] = plain(value_node, below, problems, depth)
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


def has_too_many(root: yaml.Node, size: int, most: int) -> bool:
    """Whether a tree has more nodes than allowed; counted without recursion.

    Args:
        root: of a composed tree.
        size: of the document in bytes. No node takes less than one, so a small one needs no
            counting.
        most: how many are allowed.
    """
    if size < most:
        return False
    count, stack = 0, [root]
    while stack and count <= most:
        node = stack.pop()
        count += 1
        if isinstance(node, yaml.MappingNode):
            for pair in node.value:
                stack.extend(pair)
        elif isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
    return count > most


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


def _is_tame(data: bytes) -> bool:
    """Whether the bytes alone prove: shallow, and no anchor, alias, tag or directive."""
    if not yaml.__with_libyaml__:
        return False
    if data.count(b"[") + data.count(b"{") > _most_brackets or _directive_or_deep.search(data):
        return False
    risky = b"*" in data or b"&" in data or b"!" in data
    return not (risky and _node_property.search(data))


def _events_problem(data: bytes, document: Document) -> Problem | None:
    """Walk the events (no recursion, no composing) and stop at the first that may not be."""
    depth = documents = 0
    try:
        for count, event in enumerate(_events(data)):
            if count > 2 * document.max_nodes:
                message = f"more than {document.max_nodes:,} values"
                return Problem("M013", message, mark=_mark(event.start_mark))
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
                    return _second_document(event.start_mark, document)
    except yaml.YAMLError as error:
        return _yaml_problem(error, data, document)
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


def _second_document(mark: Any, document: Document) -> Problem:
    message = f"more than one YAML document; a {document.name} is one, so there is no second '---'"
    return Problem("M017", message, mark=_mark(mark))


def _yaml_problem(error: yaml.YAMLError, data: bytes, document: Document) -> Problem:
    """What libyaml says, as one sentence with its place."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or error).split("\n")[0]
    if "but found another document" in said:
        return _second_document(mark, document)
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
