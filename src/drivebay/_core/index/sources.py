"""Stage 2a: where plugins are found, without running any of them.

Promises: every manifest and every ``@driver_plugin`` in the sources becomes a record, good or bad,
in an order that does not depend on the file system; one bad entry never hides another; an unchanged
file costs one ``stat``. Never imports plugin code, never follows a link twice, never writes.

The rule for "unchanged" is git's: modification time, size, inode and change time as integers, and
a file touched within the clock's grain of being read counts as changed at the next look.
"""

from __future__ import annotations

import ast
import contextlib
import os
import stat as stat_module
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from drivebay._core.errors import Diagnostic, ManifestError
from drivebay._core.index.compat import Needs, needs_of
from drivebay._core.manifest import (
    PluginMetadata,
    canonical_name,
    metadata_from_call,
    metadata_from_plain,
    metadata_to_plain,
    peek,
    read_manifest,
)

SourceKind = Literal["folder", "entry_point", "builtin"]

MANIFEST: Final = "plugin.yaml"
_NEAR_MISSES: Final = frozenset(
    {"plugin.yml", "plugin.json", "plugin.toml", "plugin.yaml.txt", "manifest.yaml"}
    | {"Plugin.yaml", "Plugin.yml", "PLUGIN.YAML", "PLUGIN.yaml"}
)
IGNORE_FILE: Final = ".drivebayignore"
ENTRY_POINT_GROUP: Final = "drivebay.drivers"
MAX_DEPTH: Final = 4
MAX_FOLDERS: Final = 2_000
"""Folders without a manifest that one source may hold before the search gives up on it (M020)."""

_IGNORED: Final = frozenset(
    {"__pycache__", "build", "dist", "env", "fixtures", "node_modules", "site-packages"}
    | {"test", "testing", "tests", "venv"}
)
_STAT_BELOW: Final = os.stat in os.supports_dir_fd
_RACY_NS: Final = 2_000_000_000
"""Coarsest time stamp of a file system in use (FAT keeps 2 s)."""

Stamp = tuple[int, int, int, int]
NO_STAMP: Final[Stamp] = (0, 0, 0, 0)
_stamp_of: Final = attrgetter("st_mtime_ns", "st_size", "st_ino", "st_ctime_ns")
_name_of: Final = attrgetter("name")


class Source(NamedTuple):
    """One place to look, in order of precedence: the lower the rank, the earlier it is asked."""

    kind: SourceKind
    path: str
    rank: int
    explicit: bool
    """Named by somebody: it is worth a warning when it is not there."""


class Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a claim says beyond its name; decoded from the cache only when it is asked for."""

    version: str
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()
    idn_patterns: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    needs: Needs = ("", None, None, None)
    plain: bytes = b""
    """The whole metadata, packed once more: a look-up needs none of it."""
    diagnostics: tuple[Diagnostic, ...] = ()


_BODY: Final = msgspec.msgpack.Decoder(Body)


class Claim(msgspec.Struct, array_like=True, frozen=True, gc=False, eq=False):
    """What one manifest (or one decorated class) says, as it is kept in the cache."""

    name: str
    key: str
    ok: bool
    mark: int
    """Hash of the packed body: claims of the same mark say the same."""
    packed: bytes = b""
    """The body; empty if it is left in the cache file."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and (self.name, self.ok, self.mark) == (
            other.name,
            other.ok,
            other.mark,
        )

    def __hash__(self) -> int:
        return self.mark


class Kept(Protocol):
    """Where bodies are that a claim does not hold itself."""

    def get(self, mark: int) -> bytes | None:
        """Return a packed body by its mark, or None."""

    def put(self, mark: int, packed: bytes) -> None:
        """Take a body that was not there."""


class SeenFile(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A file that was read, its time stamps then, and the claims in it (often none)."""

    stamp: Stamp
    claims: tuple[Claim, ...]


class Record(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A plugin as discovered: its claim and where it came from."""

    claim: Claim
    source: SourceKind
    rank: int
    path: str
    """The file with the claim: ``plugin.yaml`` or a ``.py`` with ``@driver_plugin``."""
    root: str
    """The source folder it was found under."""
    alias: str = ""
    """Dotted name the code may call its own package by (a wheel's, or the folder's name)."""
    linked: bool = False
    kept: Kept | None = None
    """Where the body is, if the claim does not hold it."""

    @property
    def name(self) -> str:
        return self.claim.name

    @property
    def key(self) -> str:
        return self.claim.key

    @property
    def home(self) -> str:
        return os.path.dirname(self.path)

    @cached_property
    def body(self) -> Body:
        """Models, methods and all else of the claim."""
        packed = self.claim.packed
        if not packed and self.kept is not None:
            packed = self.kept.get(self.claim.mark) or b""
        with contextlib.suppress(msgspec.MsgspecError):
            return _BODY.decode(packed)
        return _BODY.decode(self._read_again())

    def _read_again(self) -> bytes:
        """The body, from its file; of a file that says something else by now, that it does."""
        data, _, _ = read_file(self.path)
        claims = claims_in_source if self.path.endswith(".py") else claims_in_manifest
        for claim in claims(data, self.path):
            if claim == self.claim:
                if self.kept is not None:
                    self.kept.put(claim.mark, claim.packed)
                return claim.packed
        problem = Diagnostic("M018", "changed since it was looked at", path=self.path)
        return _broken(self.path, data, (problem,), self.name).packed

    @cached_property
    def metadata(self) -> PluginMetadata:
        """The sealed metadata; for an unreadable manifest, what could be made out of it."""
        return metadata_from_plain(msgspec.msgpack.decode(self.body.plain))

    def where(self) -> str:
        return f"{self.path} ({self.source.replace('_', ' ')})"


@dataclass
class Scan:
    """What one look at all sources found."""

    records: list[Record] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    seen: dict[str, dict[str, SeenFile]] = field(default_factory=dict)
    changed: bool = False
    kept: Kept | None = None

    def note(self, code: str, message: str, path: str, severity: str = "warning") -> None:
        self.diagnostics.append(Diagnostic(code, message, path=path, severity=severity))


def scan(
    sources: list[Source], known: dict[str, dict[str, SeenFile]], kept: Kept | None = None
) -> Scan:
    """Look at every source; files whose stamps are in ``known`` are not read again.

    Args:
        sources: in order of precedence.
        known: what the last look saw, by source and file.
        kept: where the bodies are that are not in ``known``.
    """
    result = Scan(kept=kept)
    for source in sources:
        before = known.get(source.path, {})
        walk = _Walk(source, before, result)
        if source.kind == "entry_point":
            walk.entry_points()
        else:
            walk.folder_source()
        result.seen[source.path] = walk.after
        if walk.read_anything or len(walk.after) != len(before):
            result.changed = True
    return result


class _Walk:
    """One pass over one source."""

    def __init__(self, source: Source, before: dict[str, SeenFile], result: Scan) -> None:
        self.source = source
        self.before = before
        self.after: dict[str, SeenFile] = {}
        self.result = result
        self.read_anything = False
        self._folders_left = MAX_FOLDERS
        self._links: set[str] = set()

    # -- folders ---------------------------------------------------------------------------

    def folder_source(self) -> None:
        root = self.source.path
        try:
            mode = os.stat(root).st_mode
        except OSError:
            if self.source.explicit:
                self.result.note("M030", "plugin folder does not exist", root)
            return
        if not stat_module.S_ISDIR(mode):
            self.result.note("M031", "plugin folder is a file, not a folder", root, "error")
            return
        if not self._manifest(root + os.sep, "", linked=False):
            self._folder(root + os.sep, "", 1)

    def _manifest(self, prefix: str, rel: str, *, linked: bool) -> bool:
        """Take the manifest of folder ``rel`` if it has one."""
        name = rel + MANIFEST
        try:
            now = os.stat(prefix + name)
        except FileNotFoundError:
            return False
        except OSError as exc:
            self.result.note("M018", f"cannot be read: {exc.strerror}", prefix + name, "error")
            return True
        stamp = _stamp_of(now)
        seen = self.before.get(name)
        if seen is None or seen.stamp != stamp:
            seen = self._read(prefix + name, claims_in_manifest)
        self._take(prefix, name, seen, linked=linked)
        return True

    def _take(self, prefix: str, name: str, seen: SeenFile, *, linked: bool) -> None:
        self.after[name] = seen
        source = self.source
        folder = name.split("/")[-2] if "/" in name else os.path.basename(prefix[:-1])
        for claim in seen.claims:
            self.result.records.append(
                Record(
                    claim,
                    source.kind,
                    source.rank,
                    prefix + name,
                    source.path,
                    folder,
                    linked,
                    self.result.kept,
                )
            )

    def _take_unchanged(
        self, listing: list[os.DirEntry[str]], prefix: str, rel: str
    ) -> list[os.DirEntry[str]]:
        """Take the manifests that are as they were; return the entries that need a closer look.

        With thousands of plugins this loop is the whole cost of starting, so it is written out:
        one stat and one record a plugin, no call of ours in between. Seen from the source's folder
        (``dir_fd``) a stat has a name or two to resolve instead of the whole path.
        """
        if not self.before:
            return listing
        handle = None
        if _STAT_BELOW:
            with contextlib.suppress(OSError):
                handle = os.open(prefix, os.O_RDONLY)
        try:
            return self._unchanged_below(handle, listing, prefix, rel)
        finally:
            if handle is not None:
                os.close(handle)

    def _unchanged_below(
        self, handle: int | None, listing: list[os.DirEntry[str]], prefix: str, rel: str
    ) -> list[os.DirEntry[str]]:
        before, after, stat, stamp_of = self.before, self.after, os.stat, _stamp_of
        take = self.result.records.append
        kind, rank, root = self.source.kind, self.source.rank, self.source.path
        kept = self.result.kept
        below = handle is not None
        rest = []
        for entry in listing:
            folder = entry.name
            name = f"{rel}{folder}/{MANIFEST}"
            seen = before.get(name)
            if seen is None or entry.is_symlink():
                rest.append(entry)
                continue
            path = prefix + name
            try:
                now = stat(name, dir_fd=handle) if below else stat(path)
            except OSError:
                rest.append(entry)
                continue
            if stamp_of(now) != seen.stamp:
                rest.append(entry)
                continue
            after[name] = seen
            for claim in seen.claims:
                take(Record(claim, kind, rank, path, root, folder, False, kept))
        return rest

    def _folder(self, prefix: str, rel: str, depth: int) -> None:
        """Search a folder that is not itself a plugin."""
        try:
            with os.scandir(prefix + rel if rel else prefix) as entries:
                listing = sorted(entries, key=_name_of)
        except OSError as exc:
            self.result.note("M032", f"folder cannot be listed: {exc.strerror}", prefix + rel)
            return
        names = set(map(_name_of, listing))
        skip = _ignore_patterns(prefix + rel + IGNORE_FILE) if IGNORE_FILE in names else ()
        for miss in sorted(names & _NEAR_MISSES):
            self.result.note(
                "M029", f"is not read; a manifest is called {MANIFEST!r}", prefix + rel + miss
            )
        for entry in listing if skip else self._take_unchanged(listing, prefix, rel):
            if not _ignored(entry.name, skip):
                self._entry(entry, prefix, rel, depth)
            elif entry.name in _IGNORED and not _matches(entry.name, skip):
                self._passed_over(entry)

    def _passed_over(self, entry: os.DirEntry[str]) -> None:
        """Say so when a folder that is never searched looks like a plugin all the same."""
        if os.path.exists(os.path.join(entry.path, MANIFEST)):
            name = entry.name
            message = f"holds a {MANIFEST}; a folder called {name!r} is not searched for plugins"
            self.result.note("M034", message, entry.path)

    def _entry(self, entry: os.DirEntry[str], prefix: str, rel: str, depth: int) -> None:
        try:
            if entry.is_dir():
                linked = entry.is_symlink()
                if linked and not self._first_visit(entry.path):
                    return
                below = rel + entry.name + "/"
                if not self._manifest(prefix, below, linked=linked):
                    self._descend(prefix, below, depth)
            elif entry.name.endswith(".py"):
                self._python_file(entry, prefix, rel)
        except OSError as exc:
            # The entry vanished or is not ours to read: say so and go on with its neighbours.
            self.result.note("M032", f"cannot be looked at: {exc.strerror}", entry.path)

    def _first_visit(self, path: str) -> bool:
        real = os.path.realpath(path)
        root = os.path.realpath(self.source.path)
        if real in self._links or root == real or root.startswith(real + os.sep):
            return False
        self._links.add(real)
        return True

    def _descend(self, prefix: str, below: str, depth: int) -> None:
        self._folders_left -= 1
        if depth >= MAX_DEPTH or self._folders_left < 0:
            if self._folders_left == -1:
                limit = f"more than {MAX_FOLDERS} folders without a manifest; the rest is not read"
                self.result.note("M020", limit, self.source.path)
            return
        if os.path.exists(prefix + below + "pyvenv.cfg"):
            return
        self._folder(prefix, below, depth + 1)

    def _python_file(self, entry: os.DirEntry[str], prefix: str, rel: str) -> None:
        name = rel + entry.name
        now = entry.stat()
        seen = self.before.get(name)
        stamp = _stamp_of(now)
        if seen is None or seen.stamp != stamp:
            seen = self._read(prefix + name, claims_in_source)
        self._take(prefix, name, seen, linked=False)

    def _read(self, path: str, claims: Any) -> SeenFile:
        self.read_anything = True
        data, stamp, problem = read_file(path)
        if problem is not None:
            return SeenFile(NO_STAMP, (_broken(path, data, (problem,)),))
        return SeenFile(stamp, claims(data, path))

    # -- wheels ----------------------------------------------------------------------------

    def entry_points(self) -> None:
        """Read group ``drivebay.drivers``: each value names a package with a plugin.yaml."""
        from importlib.metadata import entry_points

        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: (p.name, p.value)):
            module, _, _ = point.value.partition(":")
            try:
                folder, file = _locate(module)
            except (ImportError, ValueError, AttributeError) as exc:
                self.result.note("M033", f"cannot be located: {exc}", f"entry point {point.name}")
                continue
            path = os.path.join(folder, MANIFEST) if folder else ""
            if path and os.path.exists(path):
                self._wheel_file(path, claims_in_manifest, module)
            elif file:
                self._wheel_file(file, claims_in_source, module.rpartition(".")[0])
            else:
                message = f"names {point.value!r}, which has no {MANIFEST}"
                self.result.note("M033", message, f"entry point {point.name}")

    def _wheel_file(self, path: str, claims: Any, alias: str) -> None:
        if path in self.after:
            return
        now = os.stat(path)
        stamp = _stamp_of(now)
        seen = self.before.get(path)
        if seen is None or seen.stamp != stamp:
            seen = self._read(path, claims)
        self.after[path] = seen
        root = os.path.dirname(path)
        for claim in seen.claims:
            kept = self.result.kept
            record = Record(claim, "entry_point", self.source.rank, path, root, alias, False, kept)
            self.result.records.append(record)


def _locate(module: str) -> tuple[str, str]:
    """Return the folder of a package, or the file of a module, without importing its parents."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    head, *rest = module.split(".")
    spec = find_spec(head)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    if spec is None:
        raise ImportError(f"no module {module!r}")
    if spec.submodule_search_locations:
        return next(iter(spec.submodule_search_locations)), spec.origin or ""
    return "", spec.origin or ""


def _ignored(name: str, patterns: tuple[str, ...]) -> bool:
    if name.startswith(".") or name in _IGNORED or name.endswith(".egg-info"):
        return True
    return _matches(name, patterns)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _ignore_patterns(path: str) -> tuple[str, ...]:
    """Patterns of a .drivebayignore; an empty file ignores the whole folder."""
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    patterns = [line.strip().rstrip("/") for line in lines if line.strip() and line[0] != "#"]
    return tuple(patterns) or ("*",)


def read_file(path: str, limit: int = 1_000_000) -> tuple[bytes, Stamp, Diagnostic | None]:
    """Read a regular file whole, with the stamp to keep for it.

    Never blocks on a FIFO or a device. The stamp is NO_STAMP when the file was touched so recently
    that a second edit could leave the same times behind.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as exc:
        return b"", NO_STAMP, Diagnostic("M018", f"cannot be read: {exc.strerror}", path=path)
    try:
        now = os.fstat(handle)
        if not stat_module.S_ISREG(now.st_mode):
            return b"", NO_STAMP, Diagnostic("M018", "not a regular file", path=path)
        if now.st_size > limit:
            message = f"{now.st_size:,} bytes, limit {limit:,}"
            return b"", NO_STAMP, Diagnostic("M013", message, path=path)
        chunks = []
        while chunk := os.read(handle, 1 << 20):
            chunks.append(chunk)
    except OSError as exc:
        return b"", NO_STAMP, Diagnostic("M018", f"cannot be read: {exc.strerror}", path=path)
    finally:
        os.close(handle)
    stamp = _stamp_of(now)
    if max(now.st_mtime_ns, now.st_ctime_ns) > time.time_ns() - _RACY_NS:
        stamp = NO_STAMP
    return b"".join(chunks), stamp, None


def claims_in_manifest(data: bytes, path: str) -> tuple[Claim, ...]:
    """The one claim of a ``plugin.yaml``; a broken one is a claim that is not ok."""
    metadata, diagnostics = read_manifest(data, path)
    if metadata is None:
        return (_broken(path, data, diagnostics),)
    return (_claim(metadata, diagnostics),)


def _claim(metadata: PluginMetadata, diagnostics: tuple[Diagnostic, ...], ok: bool = True) -> Claim:
    body = Body(
        metadata.version,
        tuple(metadata.supported_models),
        tuple(metadata.supported_methods),
        tuple(metadata.manufacturer),
        tuple(metadata.idn_patterns),
        tuple(metadata.overrides),
        needs_of(metadata),
        msgspec.msgpack.encode(metadata_to_plain(metadata)),
        diagnostics,
    )
    packed = msgspec.msgpack.encode(body)
    mark = int.from_bytes(blake2b(packed, digest_size=8).digest(), "big")
    return Claim(metadata.name, canonical_name(metadata.name), ok, mark, packed)


def _broken(
    path: str, data: bytes, diagnostics: tuple[Diagnostic, ...], name: object = None
) -> Claim:
    """A record of what cannot be used, under the name it gives itself or else its folder's."""
    known = peek(data)
    folder = os.path.basename(os.path.dirname(path))
    stem = folder if path.endswith(MANIFEST) else os.path.basename(path)[:-3]
    metadata = PluginMetadata(
        name=name if isinstance(name, str) and name else known.get("name") or stem,
        version=known.get("version", ""),
        author=known.get("author", ""),
        description=known.get("description", ""),
    )
    return _claim(metadata, diagnostics, ok=False)


# -- decorated classes ---------------------------------------------------------------------------


def claims_in_source(data: bytes, path: str) -> tuple[Claim, ...]:
    """Read ``@driver_plugin(...)`` out of Python source without running it."""
    if b"driver_plugin" not in data:
        return ()
    try:
        tree = ast.parse(data, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        line = getattr(exc, "lineno", 0) or 0
        problem = Diagnostic("D006", f"{type(exc).__name__}: {exc}", path=path, line=line)
        return (_broken(path, b"", (problem,)),) if b"@driver_plugin" in data else ()
    module = os.path.basename(path)[:-3]
    return tuple(_decorated_claim(*found, module, path) for found in _decorated(tree))


def _decorated(tree: ast.AST, outer: str = "") -> Iterator[tuple[ast.ClassDef, ast.expr, str]]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        qualname = f"{outer}{node.name}"
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = getattr(called, "id", None) or getattr(called, "attr", None)
            if name == "driver_plugin":
                yield node, decorator, qualname
        yield from _decorated(node, f"{qualname}.")


def _decorated_claim(
    node: ast.ClassDef, decorator: ast.expr, qualname: str, module: str, path: str
) -> Claim:
    line, column = decorator.lineno, decorator.col_offset + 1

    def bad(message: str) -> Claim:
        problem = Diagnostic("D017", message, path=path, line=line, column=column)
        return _broken(path, b"", (problem,))

    if not isinstance(decorator, ast.Call):
        return bad("@driver_plugin needs its arguments: @driver_plugin(name=..., version=..., ...)")
    order = ["name", "version", "author", "description", "supported_methods", "supported_models"]
    arguments: dict[str, Any] = {}
    for key, node_value in [
        *zip(order, decorator.args, strict=False),
        *((keyword.arg, keyword.value) for keyword in decorator.keywords),
    ]:
        if key is None:
            return bad(
                "@driver_plugin(**...) cannot be read without running it; name each argument"
            )
        try:
            arguments[key] = ast.literal_eval(node_value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return bad(f"{key}= of @driver_plugin must be a literal, it is read without running it")
    try:
        metadata = metadata_from_call(arguments, driver_class=f"{module}:{qualname}", path=path)
    except ManifestError as exc:
        problems = tuple(replace(d, line=line, column=column) for d in exc.diagnostics)
        return _broken(path, b"", problems, arguments.get("name"))
    return _claim(metadata, ())
