"""Stage 1: plugin.yaml -> PluginMetadata; data only.

Rules: never imports plugin code; never drops a problem, all of them come back at once with line
and column; never fixes a value in silence. A ``PluginMetadata`` made by hand is as permissive as a
plain dataclass; one that came out of a manifest holds the rules of :mod:`fields`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from drivebay._core.errors import Diagnostic, ManifestError
from drivebay._core.manifest.fields import FIELDS, SEED_FIELDS, check_fields
from drivebay._core.manifest.grammar import kind_of
from drivebay._core.manifest.quick import scan
from drivebay._core.manifest.text import MAX_BYTES, Problem, read_bytes

if TYPE_CHECKING:
    import yaml

_NO_CLASS_NEEDED = frozenset({"driver_class"})
# What a record of a broken manifest still shows: enough to name it and to say whose it is.
_PEEKED = ("name", "version", "author", "description", "driver_class")
MAX_PEEKED = 200
MAX_DIAGNOSTICS = 100
_peek_line = re.compile(
    rf"""^({"|".join(_PEEKED)})[ ]*:[ ]+(?:"([^"\n]*)"|'([^'\n]*)'|([^\s"'#&*!|>{{[][^\n#]*))""",
    re.MULTILINE,
)


class SealedList(list[Any]):
    """A list that refuses edits; ``list(x)`` or a copy of it is the caller's own."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("plugin metadata is read-only; edit a copy: list(...) or to_dict()")

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return list, (list(self),)


class SealedDict(dict[str, Any]):
    """A dict that refuses edits; ``dict(x)`` or a copy of it is the caller's own."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("plugin metadata is read-only; edit a copy: dict(...) or to_dict()")

    update = pop = popitem = clear = setdefault = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return dict, (dict(self),)


@dataclass
class PluginMetadata:
    """What a plugin says about itself.

    The first eleven fields, their order and their defaults are those every driver folder may rely
    on; the rest is optional. docs/reference/manifest.md says what each of them means.

    >>> PluginMetadata("k2400", "1.0", "Lab", "SMU", supported_models=["2400"]).min_platform_version
    '1.0.0'
    """

    name: str
    version: str
    author: str
    description: str
    min_platform_version: str = "1.0.0"
    max_platform_version: str | None = None
    supported_methods: list[str] = field(default_factory=list)
    supported_models: list[str] = field(default_factory=list)
    driver_class: str = ""
    dependencies: list[str] = field(default_factory=list)
    config_schema: dict[str, Any] | None = None
    manifest_version: int = 1
    manufacturer: list[str] = field(default_factory=list)
    idn_patterns: list[str] = field(default_factory=list)
    ranges: dict[str, Any] | None = None
    requires_platform: str | None = None
    requires_python: str | None = None
    uses: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    isolation: str | None = None
    safe_state: dict[str, Any] | None = None
    dialect: dict[str, Any] | None = None
    methods: dict[str, Any] = field(default_factory=dict)
    paired_methods: list[str] = field(default_factory=list)
    license: str | None = None
    homepage: str | None = None
    extensions: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def __setattr__(self, name: str, value: object) -> None:
        if self.__dict__.get("_sealed"):
            raise AttributeError(
                f"metadata of plugin {self.name!r} is read-only, so {name!r} cannot be set; "
                "edit its manifest, or a copy: PluginMetadata.from_dict(metadata.to_dict())"
            )
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        if self.__dict__.get("_sealed"):
            self.__setattr__(name, None)
        object.__delattr__(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy or a pickle of read-only metadata is the caller's own and may be edited.
        return metadata_from_plain, (metadata_to_plain(self), False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Metadata out of a mapping with the keys of a manifest.

        Raises:
            ManifestError: a ``ValueError`` that lists every problem.
        """
        problems: list[Problem] = []
        if not isinstance(data, Mapping):
            message = f"a manifest must be a mapping, found {kind_of(data)}"
            problems.append(Problem("M002", message))
            data = {}
            values, extensions = {}, {}
        else:
            values, extensions = check_fields(_copied(data), problems, _NO_CLASS_NEEDED)
        if _refused(problems):
            found = located(problems, None, "")
            raise ManifestError(found, plugin=str(data.get("name", "")))
        return _build(cls, values, extensions)

    @classmethod
    def from_yaml(cls, yaml_path: Path | str) -> Self:
        """Metadata out of a ``plugin.yaml``, read as UTF-8 wherever the program runs.

        Raises:
            ManifestError: a ``ValueError`` that lists every problem with line and column.
            OSError: the file is missing or may not be read.
        """
        data = read_bytes(yaml_path)
        metadata, found = _read(cls, data, str(yaml_path), _NO_CLASS_NEEDED)
        if metadata is None:
            raise ManifestError(found, plugin=peek(data).get("name", ""))
        return metadata

    def to_dict(self) -> dict[str, Any]:
        """Fresh copies: the first eleven keys always, the others only where they are set."""
        own = self.__dict__
        result = {key: _thawed(own[key]) for key in SEED_FIELDS}
        for key, item in list(FIELDS.items())[len(SEED_FIELDS) :]:
            value = own[key]
            if value and value != item.default:
                result[key] = _thawed(value)
        for key, value in self.extensions.items():
            result[key] = _thawed(value)
        return result

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """The JSON Schema (2020-12) of a ``plugin.yaml``, for editors; fresh plain data."""
        from drivebay._core.manifest.schema import manifest_schema

        return manifest_schema()

    def sealed(self) -> Self:
        """The same metadata, read-only all the way down; itself if it already is."""
        if self.is_sealed:
            return self
        twin = object.__new__(type(self))
        own = twin.__dict__
        for key, value in self.__dict__.items():
            own[key] = value if type(value) is str or value is None else seal(value)
        own["_sealed"] = True
        return twin

    @property
    def is_sealed(self) -> bool:
        """Whether the metadata refuses edits."""
        return bool(self.__dict__.get("_sealed"))


_Metadata = TypeVar("_Metadata", bound=PluginMetadata)
# Fields with a default that is no container are copied into every new object as they are; the
# containers are made afresh for each.
_SCALAR_DEFAULTS = {
    item.name: None if item.default is MISSING else item.default
    for item in fields(PluginMetadata)
    if item.default_factory is MISSING
}
_NO_DEFAULT = object()
_ATOMS = frozenset({str, int, float, bool})
_DEFAULTS = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(PluginMetadata)
    if item.default is not MISSING or item.default_factory is not MISSING
}
_CONTAINERS = tuple(
    (item.name, item.default_factory)
    for item in fields(PluginMetadata)
    if item.default_factory is not MISSING
)


def read_manifest(data: bytes, path: str) -> tuple[PluginMetadata | None, tuple[Diagnostic, ...]]:
    """The metadata in a manifest's bytes, and everything that is wrong or odd about it.

    Never raises on content. A manifest without ``driver_class`` is refused here, where it stands
    for a plugin that must be loadable.

    Args:
        data: the file's bytes; more than 64 KiB are refused unread.
        path: the file, for the diagnostics.

    Returns:
        The metadata, or None if there is an error among the diagnostics.
    """
    return _read(PluginMetadata, data, path, frozenset())


def peek(data: bytes) -> dict[str, str]:
    r"""What a manifest that may be broken says of itself; only keys that can be read are there.

    >>> peek(b"name: k2400\nversion: 1.10\n  broken: [")
    {'name': 'k2400', 'version': '1.10'}
    """
    reader = _reader()
    root, _ = reader.compose(data)
    if root is not None:
        found = reader.top_scalars(root)
        return {key: found[key][:MAX_PEEKED] for key in _PEEKED if found.get(key)}
    text = data[:MAX_BYTES].decode("utf-8-sig", "replace")
    result: dict[str, str] = {}
    for match in _peek_line.finditer(text):
        value = next(part for part in match.groups()[1:] if part is not None)
        value = "".join(each for each in value.strip() if each.isprintable())
        if value:
            result.setdefault(match[1], value[:MAX_PEEKED])
    return result


def metadata_from_call(
    arguments: Mapping[str, Any], *, driver_class: str = "", path: str = ""
) -> PluginMetadata:
    """The metadata in the keyword arguments of a ``@driver_plugin``.

    Args:
        arguments: what the decorator was called with.
        driver_class: where the decorated class is, unless the arguments say it; not checked,
            since it is a fact and not a claim.
        path: the file the decorator stands in, for the diagnostics.

    Raises:
        ManifestError: every problem, as for a ``plugin.yaml``.
    """
    problems: list[Problem] = []
    values, extensions = check_fields(_copied(arguments), problems, _NO_CLASS_NEEDED)
    if _refused(problems):
        found = located(problems, None, path)
        raise ManifestError(found, plugin=str(arguments.get("name", "")))
    values.setdefault("driver_class", driver_class)
    return _build(PluginMetadata, values, extensions)


def metadata_to_plain(metadata: PluginMetadata) -> dict[str, Any]:
    """Text, numbers, lists and dicts only, and only what differs from the defaults."""
    return {
        key: _thawed(value)
        for key, value in metadata.__dict__.items()
        if value != _DEFAULTS.get(key, _NO_DEFAULT) and key != "_sealed"
    }


def metadata_from_plain(plain: Mapping[str, Any], sealed: bool = True) -> PluginMetadata:
    """What :func:`metadata_to_plain` gave, as metadata again; trusted, nothing is checked."""
    metadata = _build(PluginMetadata, plain, None)
    if sealed:
        own = metadata.__dict__
        for key, value in own.items():
            if type(value) is list or type(value) is dict:
                own[key] = seal(value)
        own["_sealed"] = True
    return metadata


def _read(
    cls: type[_Metadata], data: bytes, path: str, optional: frozenset[str]
) -> tuple[_Metadata | None, tuple[Diagnostic, ...]]:
    if (quick := scan(data)) is not None:
        found: list[Problem] = []
        values, extensions = check_fields(quick, found, optional)
        if not found:
            return _build(cls, values, extensions), ()
        # Something is wrong or odd: read it again with the place of everything.
    reader = _reader()
    root, problems = reader.compose(data)
    if root is None:
        return None, located(problems, None, path)
    raw = reader.top_values(root, len(data), problems)
    if reader.is_incomplete(problems):
        return None, located(problems, root, path)
    values, extensions = check_fields(raw, problems, optional)
    if not problems:
        return _build(cls, values, extensions), ()
    metadata = None if _refused(problems) else _build(cls, values, extensions)
    return metadata, located(problems, root, path)


def _build(
    cls: type[_Metadata], values: Mapping[str, Any], extensions: Mapping[str, Any] | None
) -> _Metadata:
    metadata = object.__new__(cls)
    own = metadata.__dict__
    own.update(_SCALAR_DEFAULTS)
    for key, factory in _CONTAINERS:
        own[key] = factory()
    own.update(values)
    if extensions:
        own["extensions"] = dict(extensions)
    return metadata


def _reader() -> ModuleType:
    """The YAML reader; with its parser it costs more to import than most programs need of it."""
    from drivebay._core.manifest import reader

    return reader


def _refused(problems: Sequence[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def located(
    problems: Sequence[Problem], root: yaml.MappingNode | None, path: str
) -> tuple[Diagnostic, ...]:
    """The problems with their places, in the order of the file; those with no place come last."""
    found = []
    for problem in problems[:MAX_DIAGNOSTICS]:
        line, column = (
            (0, 0) if root is None and problem.mark is None else _reader().locate(root, problem)
        )
        where = (path, line, column, problem.severity)
        found.append(Diagnostic(problem.code, problem.message, *where))
    found.sort(key=lambda item: (item.line or 1 << 30, item.column))
    if (more := len(problems) - MAX_DIAGNOSTICS) > 0:
        found.append(Diagnostic("M040", f"{more:,} more problems are not listed", path))
    return tuple(found)


def _copied(data: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: _thawed(value) for key, value in data.items()}


def _thawed(value: Any) -> Any:
    """A deep copy in plain lists and dicts."""
    if isinstance(value, dict):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_thawed(item) for item in value]
    return value


def seal(value: Any) -> Any:
    """A deep copy that refuses edits."""
    if value is None or type(value) in _ATOMS:
        return value
    if isinstance(value, dict):
        return SealedDict({key: seal(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return SealedList([seal(item) for item in value])
    return value
