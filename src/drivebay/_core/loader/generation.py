"""Stage 3: a manifest becomes a class; here, and only here, plugin code starts to run.

Rules:
- A generation is a package of its own, ``drivebay_plugins.<plugin>.g<N>``, compiled from the very
  bytes that were hashed. No bare name enters ``sys.modules``, no ``.pyc`` is read or written.
- Inside it ``import sibling``, ``from . import sibling`` and late imports find the plugin's own
  files as they were when the generation was staged; the standard library's names stay its own.
- Either a generation is whole and verified, or no trace of it is left. Everything a plugin can
  raise while it is imported is contained, except KeyboardInterrupt: that one is the user.
- It never decides what is in service; that is the manager's pointer.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import marshal
import os
import sys
import threading
import time
import traceback
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

from drivebay._core.contract import InstrumentDriver
from drivebay._core.errors import LoadError
from drivebay._core.loader.verify import drift, verify_driver
from drivebay._core.manifest import PluginMetadata, canonical_name, split_driver_class

NAMESPACE: Final = "drivebay_plugins"
MAX_FILES: Final = 2_000
MAX_BYTES: Final = 16 << 20
STAND_INS: Final[dict[str, types.ModuleType]] = {}
"""Modules that plugins of this process get in place of the real ones; none but in a replay."""

_SKIPPED: Final = frozenset(("__pycache__", "node_modules", "site-packages", "venv", "env"))


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """All that is needed to load a plugin, in this process or in another; it can be pickled.

    Attributes:
        name: the plugin.
        home: folder of its manifest; imports resolve here and never leave it.
        root: source folder the plugin was found under.
        path: the manifest, or the ``.py`` with the decorated class.
        driver_class: as the manifest says it.
        alias: dotted name by which the code may import its own package.
        sha256: hash the files must have, empty to take what is there.
    """

    name: str
    home: str
    root: str
    path: str
    driver_class: str
    alias: str = ""
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a plugin as they were at one moment: what a generation is made from.

    Attributes:
        home: folder in which its imports resolve.
        module: dotted name of the driver's module there.
        sources: relative path -> bytes of every file.
        sha256: hash of all of them.
        digests: relative path -> SHA-256.
        compiled: what importing them compiled, from :func:`compiled_by`; empty before the first.
            Only processes that run the plugin look into it.
    """

    home: str
    module: str
    sources: Mapping[str, bytes]
    sha256: str
    digests: Mapping[str, str]
    compiled: bytes = b""


@dataclass(frozen=True, eq=False)
class Generation:
    """One loaded version of a plugin's code."""

    number: int
    package: str
    driver_class: type[InstrumentDriver] | None
    """None when it was loaded and verified in another process."""
    files: Files
    """What it was compiled from; the files on disk may have changed since."""
    seconds: float
    plan: LoadPlan
    metadata: PluginMetadata
    uses: Mapping[str, Generation]
    """Generations it may import, by canonical name."""
    drift: tuple[str, ...] = ()
    """Where the class and its manifest contradict each other, without being of no use."""
    stage: Stage | None = None
    class_name: str = ""
    methods: tuple[str, ...] = ()
    """What the class can measure, as its code says; a seed-style driver tells it later."""

    @property
    def sha256(self) -> str:
        """Hash of every file it was compiled from."""
        return self.files.sha256

    def needs(self) -> list[Generation]:
        """Return the generations it imports, each after those it imports itself."""
        found: dict[int, Generation] = {}
        for used in self.uses.values():
            found.update((id(each), each) for each in (*used.needs(), used))
        return list(found.values())


class Stager(Protocol):
    """What makes a verified generation; :func:`stage_generation` does it in this process."""

    def __call__(
        self, plan: LoadPlan, metadata: PluginMetadata, uses: Mapping[str, Generation]
    ) -> Generation:
        """Load and verify. Raises: as :func:`stage_generation`."""


class Stage:
    """The files of one generation and the imports inside it."""

    def __init__(
        self, package: str, plan: LoadPlan, uses: Mapping[str, Generation], files: Files
    ) -> None:
        self.package = package
        self.plan = plan
        self.uses = dict(uses)
        self.home, self.module, self.sources = files.home, files.module, files.sources
        self.codes = _codes_of(files.compiled)
        self.modules: dict[str, types.ModuleType] = {}
        self.retired = False
        self._forgotten = False
        self._importing = 0
        # Reentrant: what is dropped from sys.modules may run code of the plugin's that imports.
        self._counting = threading.RLock()
        self.builtins = {**vars(builtins), "__import__": self._import}

    def find(self, relative: str) -> tuple[str, bool] | None:
        """Return the file of dotted name ``relative`` and whether it is a package."""
        stem = relative.replace(".", "/")
        for name, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if name in self.sources:
                return name, is_package
        return None

    def is_folder(self, relative: str) -> bool:
        prefix = relative.replace(".", "/") + "/"
        return any(name.startswith(prefix) for name in self.sources)

    def own_name(self, name: str) -> str | None:
        """Return the private name that ``import name`` means inside the plugin, if any."""
        alias = self.plan.alias
        if alias and (name == alias or name.startswith(alias + ".")):
            rest = name[len(alias) :]
            if not rest or self.find(rest[1:]) or self.is_folder(rest[1:]):
                return self.package + rest
        head = name.partition(".")[0]
        base = self.uses.get(canonical_name(head))
        if base is not None:
            return base.package + name[len(head) :]
        if head in sys.stdlib_module_names:
            return None
        return f"{self.package}.{name}" if self.find(head) or self.is_folder(head) else None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> types.ModuleType:
        if STAND_INS and level == 0 and name in STAND_INS:
            return STAND_INS[name]
        own = self.own_name(name) if level == 0 else None
        with self._counting:
            self._importing += 1
        try:
            if own is None:
                return builtins.__import__(name, globals, locals, fromlist, level)
            module = importlib.import_module(own)
            if not fromlist:
                # `import a.b` binds `a`, and `a` must be the plugin's own.
                depth = name.count(".")
                return sys.modules[own.rsplit(".", depth)[0]] if depth else module
            for wanted in fromlist:
                if wanted != "*" and not hasattr(module, wanted) and hasattr(module, "__path__"):
                    self._import_part(f"{own}.{wanted}")
            return module
        finally:
            with self._counting:
                self._importing -= 1
            self.forget_if_retired()

    def forget_if_retired(self) -> None:
        """Take a retired stage's names out of ``sys.modules``, unless an import is under way.

        importlib looks its module up again after running it, so the last import to end does this.
        """
        with self._counting:
            if self.retired and not self._importing:
                # What its code put there by hand is looked for once; after that only its own
                # imports come, and looking through all there is would cost each of them.
                forget(self.package, self.modules if self._forgotten else sys.modules)
                self._forgotten = True

    def _import_part(self, full: str) -> None:
        try:
            importlib.import_module(full)
        except ModuleNotFoundError as exc:
            if exc.name != full:
                raise


class _ModuleLoader(importlib.abc.Loader):
    """Executes one file of a stage; keeps its source for tracebacks and inspection."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        # A late import after retirement must meet the module that is already alive, not a twin.
        return self.stage.modules.get(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        if self.stage.modules.get(module.__name__) is module:
            return
        self.stage.modules[module.__name__] = module
        module.__dict__["__builtins__"] = self.stage.builtins
        if self.name:
            path = os.path.join(self.stage.home, *self.name.split("/"))
            try:
                exec(self._code(path), module.__dict__)
            except BaseException as exc:
                del self.stage.modules[module.__name__]
                if isinstance(exc, SyntaxError) and not exc.filename:
                    exc.filename = path  # a null byte is reported without its place
                raise

    def _code(self, path: str) -> types.CodeType:
        code = self.stage.codes.get(self.name)
        if code is None:
            code = compile(self.stage.sources[self.name], path, "exec", dont_inherit=True)
            self.stage.codes[self.name] = code
        return code

    def get_source(self, fullname: str) -> str | None:
        data = self.stage.sources.get(self.name)
        return None if data is None else importlib.util.decode_source(data)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules of live stages. A stage lives as long as any of its code does."""

    stages: ClassVar[weakref.WeakValueDictionary[str, Stage]] = weakref.WeakValueDictionary()

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != NAMESPACE and not fullname.startswith(NAMESPACE + "."):
            return None
        parts = fullname.split(".")
        if len(parts) < 3:
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        stage = self.stages.get(".".join(parts[:3]))
        if stage is None:
            return None
        return _spec(stage, fullname, ".".join(parts[3:]))


def _spec(stage: Stage, fullname: str, relative: str) -> importlib.machinery.ModuleSpec | None:
    if not relative:
        name, is_package = ("__init__.py" if "__init__.py" in stage.sources else ""), True
    else:
        hit = stage.find(relative)
        if hit is None:
            if not stage.is_folder(relative):
                return None
            hit = "", True
        name, is_package = hit
    path = os.path.join(stage.home, *(name or relative.replace(".", "/")).split("/"))
    spec = importlib.machinery.ModuleSpec(
        fullname, _ModuleLoader(stage, name), origin=path, is_package=is_package
    )
    spec.has_location = bool(name)
    if is_package:
        spec.submodule_search_locations = [os.path.dirname(path) if name else path]
    return spec


_finder = _Finder()
_install_lock = threading.Lock()


def _install_finder() -> None:
    with _install_lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


# -- staging -------------------------------------------------------------------------------------

_numbers = itertools.count(1)


def next_number() -> int:
    """Return the number of a new generation, which no other has in this process."""
    return next(_numbers)


def stage_generation(
    plan: LoadPlan,
    metadata: PluginMetadata,
    uses: Mapping[str, Generation] | None = None,
    files: Files | None = None,
) -> Generation:
    """Read, hash, import and verify a plugin's code as a new generation.

    Args:
        plan: what to load.
        metadata: its manifest, against which the class is checked.
        uses: generations of the plugins it may import, by canonical name.
        files: the files, if they were read already; by default those on disk.

    Raises:
        LoadError: the code cannot be read, imported or used; nothing of it is left behind.
    """
    _install_finder()
    started = time.perf_counter()
    number = next_number()
    package = f"{NAMESPACE}.{canonical_name(plan.name)}.g{number}"
    try:
        files = files or read_files(plan)
        if plan.sha256 and files.sha256 != plan.sha256:
            raise LoadError(
                f"{plan.home}: files hash to {files.sha256[:12]}, expected {plan.sha256[:12]}",
                plugin=plan.name,
            )
        stage = Stage(package, plan, uses or {}, files)
        _Finder.stages[package] = stage
        driver_class = _checked_driver(stage, metadata)
    except OSError as exc:
        forget(package)
        raise LoadError(f"{exc.filename}: {exc.strerror}", plugin=plan.name) from exc
    except BaseException:
        forget(package)
        raise
    seconds = time.perf_counter() - started
    generation = Generation(
        number,
        package,
        driver_class,
        files,
        seconds,
        plan,
        metadata,
        dict(uses or {}),
        tuple(drift(driver_class, metadata)),
        stage,
    )
    # A manager that is dropped without a shutdown must not leave its plugins in sys.modules.
    weakref.finalize(generation, _retire, stage).atexit = False
    return generation


def compiled_by(generation: Generation) -> bytes:
    """Return the code objects that importing a generation took, for the next import of its files.

    Compiling a driver takes longer than all else of its import. They go from one process of the
    plugin's to the next and are never on a disk, so what is run is still what was read.
    """
    codes = generation.stage.codes if generation.stage is not None else {}
    return importlib.util.MAGIC_NUMBER + marshal.dumps(codes)


def _codes_of(compiled: bytes) -> dict[str, types.CodeType]:
    magic = importlib.util.MAGIC_NUMBER
    if not compiled.startswith(magic):  # none, or the interpreter was replaced meanwhile
        return {}
    codes: dict[str, types.CodeType] = marshal.loads(compiled[len(magic) :])
    return codes


def retire(generation: Generation) -> None:
    """Take a generation's names out of ``sys.modules``; its live objects go on working."""
    if generation.stage is not None:
        _retire(generation.stage)


def _retire(of: Stage) -> None:
    of.retired = True
    # The others have been retired before, but importlib.import_module() called by their own code
    # leaves names behind that no import statement of theirs cleans up.
    # References, not values(): that one is a loop, and another thread may stage a plugin meanwhile.
    for reference in _Finder.stages.valuerefs():
        stage = reference()
        if stage is not None and stage.retired:
            stage.forget_if_retired()


def forget(package: str, among: Iterable[str] | None = None) -> None:
    """Drop a package and everything below it from ``sys.modules`` and from its parent.

    Args:
        package: dotted name of a generation.
        among: the names that may be its; default all that are imported.
    """
    dotted = package + "."
    names = list(sys.modules if among is None else among)
    for name in [n for n in names if n == package or n.startswith(dotted)]:
        sys.modules.pop(name, None)
    parent, _, child = package.rpartition(".")
    # The import machinery binds a module in its parent, which would keep it alive for ever.
    holder = sys.modules.get(parent)
    if holder is not None:
        vars(holder).pop(child, None)


def _checked_driver(stage: Stage, metadata: PluginMetadata) -> type[InstrumentDriver]:
    """Import the driver class and verify it; plugin code runs here and nowhere else in staging."""
    try:
        found = _import_driver(stage)
        verify_driver(found, metadata)
    except (KeyboardInterrupt, LoadError):
        raise
    except BaseException as exc:  # the border: whatever plugin code raises becomes a value
        raise _import_error(stage, exc) from exc
    return found


def _import_driver(stage: Stage) -> type[InstrumentDriver]:
    plan = stage.plan
    _, qualname = split_driver_class(plan.driver_class)
    found: Any = importlib.import_module(f"{stage.package}.{stage.module}")
    where = stage.find(stage.module)
    file = where[0] if where else stage.module
    for part in qualname.split("."):
        if not hasattr(found, part):
            has = sorted(
                key
                for key, value in vars(found).items()
                if isinstance(value, type) and _own(value, stage)
            )
            raise LoadError(
                f"class {qualname!r} not in {file} (has: {', '.join(has) or 'no class'})",
                plugin=plan.name,
            )
        found = getattr(found, part)
    if not isinstance(found, type):
        raise LoadError(
            f"{qualname!r} in {file} is a {type(found).__name__}, not a class", plugin=plan.name
        )
    return found


def _own(value: type, stage: Stage) -> bool:
    return value.__module__.startswith(stage.package)


def _import_error(stage: Stage, exc: BaseException) -> LoadError:
    """Describe what plugin code raised: type, text, the plugin's own line, the whole traceback."""
    text = "".join(traceback.format_exception(exc))
    if isinstance(exc, SyntaxError):
        file = os.path.basename(exc.filename or "")
        place = f":{exc.lineno}:{exc.offset}" if exc.lineno else ""
        message = f"{type(exc).__name__}: {exc.msg} ({file}{place})"
        return LoadError(message, plugin=stage.plan.name, traceback=text)
    if isinstance(exc, SystemExit):
        what = f"called sys.exit({exc.code!r}) while it was imported"
    else:
        what = "".join(traceback.format_exception_only(exc)).strip().splitlines()[-1]
    frame = plugin_frame(exc, stage.home)
    return LoadError(f"{what} ({frame})" if frame else what, plugin=stage.plan.name, traceback=text)


def plugin_frame(exc: BaseException, home: str) -> str:
    """Return ``file:line in function`` of the innermost frame that lies in ``home``."""
    inside = ""
    for frame in traceback.extract_tb(exc.__traceback__):
        if frame.filename.startswith(home + os.sep):
            inside = f"{os.path.relpath(frame.filename, home)}:{frame.lineno} in {frame.name}"
    return inside


def describe_failure(exc: BaseException, home: str) -> tuple[str, str]:
    """Return type, text and the plugin's own line of an exception, and the whole traceback."""
    what = "".join(traceback.format_exception_only(exc)).strip().splitlines()[-1]
    frame = plugin_frame(exc, home)
    return (f"{what} ({frame})" if frame else what), "".join(traceback.format_exception(exc))


# -- files ---------------------------------------------------------------------------------------


def _home_and_module(plan: LoadPlan) -> tuple[str, str]:
    """Choose the folder imports resolve in and the module's dotted name there.

    The module lies beside the manifest. Two layouts of the original platform are honoured as well:
    the module's first part names the manifest's own folder, or the module lies in the source root.
    """
    try:
        module, _ = split_driver_class(plan.driver_class)
    except ValueError as exc:
        raise LoadError(str(exc), plugin=plan.name) from exc
    head, _, rest = module.partition(".")
    choices = [(plan.home, module)]
    if rest and head == os.path.basename(plan.home):
        choices.append((plan.home, rest))
    if plan.alias and module.startswith(plan.alias + "."):
        choices.append((plan.home, module[len(plan.alias) + 1 :]))
    choices.append((plan.root, module))
    for home, name in choices:
        stem = os.path.join(home, *name.split("."))
        if os.path.isfile(stem + ".py") or os.path.isfile(os.path.join(stem, "__init__.py")):
            return home, name
    looked = os.path.join(plan.home, *module.split(".")) + ".py"
    raise LoadError(f"no module {module!r} beside the manifest ({looked})", plugin=plan.name)


def _read_sources(home: str, plan: LoadPlan) -> dict[str, bytes]:
    """Read every Python file a generation may import, and its manifest.

    Raises:
        LoadError: too many or too large, or a link that leaves the plugin's folder.
    """
    real_home = os.path.realpath(home)
    sources: dict[str, bytes] = {}
    total = 0
    for name, path in sorted(_python_files(home, whole=home == plan.home and _is_folder(plan))):
        if not os.path.realpath(path).startswith(real_home + os.sep):
            raise LoadError(
                f"{name} is a link to {os.path.realpath(path)}, outside {home}", plugin=plan.name
            )
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        total += len(data)
        if len(sources) >= MAX_FILES or total > MAX_BYTES:
            raise LoadError(
                f"{home} holds more than {MAX_FILES:,} files or {MAX_BYTES >> 20} MiB of Python",
                plugin=plan.name,
            )
        sources[name] = data
    if _is_folder(plan):
        with open(plan.path, "rb") as file:
            sources["plugin.yaml"] = file.read(MAX_BYTES)
    return sources


def _is_folder(plan: LoadPlan) -> bool:
    return plan.path.endswith(".yaml")


def _python_files(
    home: str, *, whole: bool, visited: set[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the files of a plugin's folder; of a shared folder only the modules lying in it."""
    pending = [""]
    while pending:
        below = pending.pop()
        if visited is not None:
            visited.add(os.path.join(home, below).rstrip(os.sep))
        with os.scandir(os.path.join(home, below)) as entries:
            for entry in entries:
                name = below + entry.name
                if entry.name.endswith(".py") and entry.is_file():
                    yield name, entry.path
                elif entry.name.startswith(".") or entry.name in _SKIPPED:
                    continue
                elif entry.is_dir(follow_symlinks=False) and (whole or _is_package(entry.path)):
                    pending.append(name + "/")


def _is_package(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "__init__.py"))


def read_files(plan: LoadPlan) -> Files:
    """Read what a load of ``plan`` would compile now; runs nothing of it.

    Raises:
        LoadError: too many, too large, or a link that leaves the plugin's folder.
        OSError: they cannot be read.
    """
    home, module = _home_and_module(plan)
    sources = _read_sources(home, plan)
    sha256, digests = _hash(sources)
    return Files(home, module, sources, sha256, digests)


def _hash(sources: Mapping[str, bytes]) -> tuple[str, dict[str, str]]:
    files = {name: hashlib.sha256(data).hexdigest() for name, data in sources.items()}
    whole = hashlib.sha256()
    for name, digest in sorted(files.items()):
        whole.update(f"{name}\0{digest}\n".encode())
    return whole.hexdigest(), files


def folders_of(plan: LoadPlan) -> set[str]:
    """Return every folder whose files a load of ``plan`` would look at now.

    Never raises: of a plugin that cannot be loaded it is at least the folder of its claim.
    """
    found = {plan.home}
    try:
        home, _ = _home_and_module(plan)
        whole = home == plan.home and _is_folder(plan)
        for _ in _python_files(home, whole=whole, visited=found):
            pass
    except (LoadError, OSError):
        return found
    return found


def hash_of(plan: LoadPlan) -> str:
    """Return the SHA-256 a plugin's files have now.

    Raises:
        LoadError: they cannot be read.
    """
    home, _ = _home_and_module(plan)
    return _hash(_read_sources(home, plan))[0]
