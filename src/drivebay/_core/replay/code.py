"""The code of a replay: the files stored in a run, or a plugin that somebody names.

Promises: stored files are laid out in a new folder of their own, each under it whatever its name
says, and are gone afterwards; what is loaded hashes to what was stored. Nothing of it runs here: it
is imported in a host.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from drivebay._core.errors import PluginNotFoundError, RunError
from drivebay._core.loader import Generation, hash_of
from drivebay._core.manager import PluginManager, plan_for
from drivebay._core.manifest import canonical_name
from drivebay._core.replay.recording import Recording
from drivebay._core.seat import stage_in_host


@contextmanager
def stored_code(recording: Recording) -> Iterator[Generation]:
    """Lay out the code of a recording and load it in a process of its own.

    Raises:
        RunError: it is not what measured, or a name in it leads out of its folder.
        LoadError: it cannot be imported here.
        PluginError: it cannot be used here for another reason.
    """
    recording.check_sources()
    with tempfile.TemporaryDirectory(prefix="drivebay-replay-") as folder:
        root = Path(folder, "plugins")
        _lay_out(root / _inside(recording.folder or recording.plugin), recording.sources)
        for name, sources in recording.others.items():
            _lay_out(root / _inside(name), sources)
        manager = PluginManager([root], home=Path(folder, "home"), stager=stage_in_host)
        manager.discover_plugins()
        generation = _loaded(manager, recording)
        if generation.sha256 != recording.sha256:
            raise RunError(
                f"the stored code of {recording.plugin!r} loads as {generation.sha256[:12]}, the"
                f" run was measured with {recording.sha256[:12]}"
            )
        yield generation


def _loaded(manager: PluginManager, recording: Recording) -> Generation:
    if not recording.alias:
        return manager.generation_of(recording.plugin)
    # Else what it imports by its package's name would be what is installed here.
    key = canonical_name(recording.plugin)
    record = manager.snapshot.catalog.records.get(key)
    if record is None or not record.claim.ok:
        return manager.generation_of(recording.plugin)  # which says what is wrong with it
    uses = {canonical_name(name): manager.generation_of(name) for name in record.metadata.uses}
    plan = replace(plan_for(record), alias=recording.alias)
    return stage_in_host(plan, record.metadata, uses)


def _lay_out(home: Path, sources: Mapping[str, bytes]) -> None:
    for name, data in sources.items():
        path = home / _inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _inside(name: str) -> PurePosixPath:
    """A name out of a run file as a path below some folder.

    Raises:
        RunError: it is none.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or set(name) & set("\\\0"):
        raise RunError(f"a stored file is called {name!r}, which leads out of its folder")
    return path


@contextmanager
def named_code(code: str | Path, home: Path | None = None) -> Iterator[Generation]:
    """Load a plugin that is a folder, a file or a name, in a process of its own.

    Args:
        code: a path where there is one, else the name of a plugin.
        home: where the user's plugins are; default ``DRIVEBAY_HOME``.

    Raises:
        PluginNotFoundError: there is none.
        PluginError: it cannot be used.
    """
    everywhere = PluginManager(home=home)
    path = Path(code).expanduser().absolute()
    if not path.exists():
        everywhere.discover_plugins()
        info = everywhere.get_plugin_info(str(code))
        if info is None:
            raise PluginNotFoundError(str(code), sorted(everywhere.plugins))
        path = Path(info.path)
    folder = path if path.is_dir() else path.parent
    folders = [folder, *(each for each in everywhere.plugin_dirs if each.is_dir())]
    with tempfile.TemporaryDirectory(prefix="drivebay-replay-") as state:
        manager = PluginManager(folders, home=Path(state), stager=stage_in_host)
        manager.discover_plugins()
        yield manager.generation_of(_plugin_at(manager, path, str(code)))


def _plugin_at(manager: PluginManager, path: Path, asked: str) -> str:
    whole = path.resolve()
    for name, info in manager.plugins.items():
        place = Path(info.path).resolve()
        if place == whole or whole in place.parents:
            return name
    raise PluginNotFoundError(asked, sorted(manager.plugins))


def is_known(plugin: str, sha256: str, home: Path | None = None) -> bool:
    """Whether a plugin of this machine's own has exactly this code; nothing of it is run."""
    manager = PluginManager(home=home)
    manager.discover_plugins()
    record = manager.snapshot.catalog.records.get(canonical_name(plugin))
    if record is None or not record.claim.ok:
        return False
    try:
        return hash_of(plan_for(record)) == sha256
    except (RuntimeError, OSError):  # its files cannot be read: then it is not this code
        return False
