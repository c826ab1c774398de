"""Whether a plugin is right: its manifest, its code, and whether the two agree.

Everything the engine itself says of it, and beyond that what it accepts and an author would still
want to know, as warnings. The driver is imported in a process of its own, which ends with the
check; touches no instrument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.failures import NothingFound, problem_of

if TYPE_CHECKING:
    from drivebay import Diagnostic, PluginInfo, PluginManager


@dataclass(frozen=True)
class Checked:
    """What was found out about one plugin.

    Attributes:
        info: its record, after loading.
        diagnostics: every problem of its manifest, and warnings.
        failure: why it cannot be loaded, None if it can.
        traceback: of its own code, if that raised.
        conflicts: other plugins that claim models of its.
    """

    info: PluginInfo
    diagnostics: tuple[Diagnostic, ...]
    failure: str | None = None
    traceback: str = ""
    conflicts: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether it can be used as it is."""
        return self.failure is None and not any(
            each.severity == "error" for each in self.diagnostics
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.info.metadata.name,
            "version": self.info.metadata.version,
            "path": self.info.path,
            "ok": self.ok,
            "error_message": self.failure,
            "diagnostics": [problem_of(each) for each in self.diagnostics],
            "conflicts": list(self.conflicts),
            "sha256": self.info.sha256,
        }


def check_plugins(path_or_name: str) -> list[Checked]:
    """Check the plugin of a name, or those that a path holds.

    Raises:
        NothingFound: there is none.
        PluginNotFoundError: there is none of that name.
    """
    from drivebay import PluginManager, PluginNotFoundError, stage_in_host

    everywhere = PluginManager(stager=stage_in_host)
    path = Path(path_or_name).expanduser().absolute()
    if not path.exists() or (everywhere.discover_plugins() and path_or_name in everywhere.plugins):
        everywhere.discover_plugins()
        info = everywhere.get_plugin_info(path_or_name)
        if info is None:
            raise PluginNotFoundError(path_or_name, sorted(everywhere.plugins))
        return [_check(everywhere, info)]
    folder = path if path.is_dir() else path.parent
    # The path first, so that it is judged even where another plugin has its name; the others
    # after it, because it may use them.
    manager = PluginManager([folder, *everywhere.plugin_dirs], stager=stage_in_host)
    manager.discover_plugins()
    known = {info.path: info for info in (*manager.shadowed, *manager.plugins.values())}
    here = [info for info in known.values() if holds(path, Path(info.path))]
    if not here:
        raise NothingFound(
            f"{path} holds no plugin: no plugin.yaml, and no class decorated with @driver_plugin"
        )
    return [_check(manager, info) for info in here]


def holds(path: Path, manifest: Path) -> bool:
    """Whether a manifest is the one of a path, or lies below it."""
    return manifest == path or (path.is_dir() and path.resolve() in manifest.resolve().parents)


def _check(manager: PluginManager, info: PluginInfo) -> Checked:
    from drivebay import PluginError

    if info.shadowed_by:
        return Checked(info, info.diagnostics, failure=info.reason)
    if any(each.severity == "error" for each in info.diagnostics):
        return Checked(info, info.diagnostics, failure=None)
    name = info.metadata.name
    try:
        loaded = manager.require(name)
    except PluginError as exc:
        traceback = getattr(exc, "traceback", "")
        return Checked(info, info.diagnostics, failure=str(exc), traceback=traceback)
    warnings = (*loaded.diagnostics, *_drift(manager, loaded), *_advice(loaded))
    rivals = tuple(
        f"model {c.model}: {c.chosen} answers ({c.reason})"
        for c in manager.conflicts
        if name in c.plugins
    )
    return Checked(loaded, warnings, conflicts=rivals)


def _warning(code: str, info: PluginInfo, message: str) -> Diagnostic:
    from drivebay import Diagnostic

    return Diagnostic(code, message, path=info.path, severity="warning")


def _drift(manager: PluginManager, info: PluginInfo) -> Iterator[Diagnostic]:
    """Where the manifest and the class say different things."""
    code = manager.generation_of(info.metadata.name)
    extra = [name for name in code.methods if name not in info.metadata.supported_methods]
    if extra:
        text = f"{code.class_name} has {', '.join(extra)}, the manifest does not list it"
        yield _warning("M101", info, text)
    for contradiction in code.drift:
        yield _warning("M102", info, contradiction)


def _advice(info: PluginInfo) -> Iterator[Diagnostic]:
    """What works without and is better with."""
    metadata = info.metadata
    if not metadata.safe_state:
        text = "has no safe_state: nothing can switch the output off for the driver when it fails"
        yield _warning("M103", info, text)
    if not metadata.manufacturer:
        text = "has no manufacturer: any maker's instrument with such a model number would match"
        yield _warning("M104", info, text)
    named = metadata.methods.get("cv_measurement") or {}
    if "cv_measurement" in metadata.supported_methods and "technique" not in named:
        text = "claims cv_measurement and does not say its technique: ac or quasi_static"
        yield _warning("M105", info, text)


def tell(result: Checked) -> None:
    """Print the result of a check for a person."""
    info = result.info
    for each in result.diagnostics:
        click.echo(f"{_place(each)}{each.severity}: {each.message} [{each.code}]")
    if result.failure is not None:
        click.echo(f"{info.path}: error: {result.failure}")
        for line in result.traceback.rstrip().splitlines():
            click.echo(f"    {line}")
    for line in result.conflicts:
        click.echo(f"note: {line}")
    verdict = "can be used" if result.ok else "CANNOT BE USED"
    name, version = info.metadata.name, info.metadata.version
    click.echo(f"{name} {version}: {verdict}")


def _place(each: Diagnostic) -> str:
    where = f"{each.path}:{each.line}:{each.column}" if each.line else each.path
    return f"{where}: " if where else ""
