"""``drivebay plugins``: what there is, whether it is right, and which may be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from drivebay.cli.failures import PLUGIN, PluginProblem, problem_of
from drivebay.cli.output import WholeSentences, emit, heading, json_option, table

if TYPE_CHECKING:
    from drivebay import PluginInfo, PluginManager


def _manager() -> PluginManager:
    """All plugins; what is loaded of them is loaded in processes of their own."""
    from drivebay import PluginManager, stage_in_host

    manager = PluginManager(stager=stage_in_host)
    manager.discover_plugins()
    return manager


def _known(manager: PluginManager, name: str) -> PluginInfo:
    info = manager.get_plugin_info(name)
    if info is None:
        from drivebay import PluginNotFoundError

        raise PluginNotFoundError(name, sorted(manager.plugins))
    return info


_PROCESS = "process"  # where a driver runs whose manifest does not say
_UNSAFE = "no safe state: nothing switches its output off when the driver fails"


@click.group(cls=WholeSentences)
def plugins() -> None:
    """List, check, enable, disable and pin plugins.

    Plugins are looked for in the folders of DRIVEBAY_PLUGIN_PATH, in `plugins` of the home folder,
    in installed distributions and among the built-in drivers; of two with one name the first wins.
    """


@plugins.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List all plugins, good and bad, without importing any.

    The status is this command's own view: a plugin is `active` in the program that has an
    instrument open with it, and nowhere else; `drivebay find` and `doctor` show who holds what.
    With --json: a list of objects with name, version, status, source, path, error_message,
    isolation, safe_state, supported_methods, supported_models and more; a plugin that lost its name
    to another is listed too, with the path of the winner in shadowed_by.
    """
    manager = _manager()
    found = [*manager.plugins.values(), *manager.shadowed]
    if as_json:
        emit([plugin_data(info) for info in found])
        return
    rows = [
        (
            info.metadata.name,
            info.metadata.version,
            "shadowed" if info.shadowed_by else str(info.status),
            info.metadata.isolation or _PROCESS,
            "yes" if info.metadata.safe_state else "NONE",
            info.source.replace("_", " "),
            _some(info.metadata.supported_methods),
            _some(info.metadata.supported_models),
        )
        for info in found
    ]
    heads = ["plugin", "version", "status", "isolation", "safe state", "source"]
    click.echo(table([*heads, "methods", "models"], rows))
    for line in _remarks(manager, found):
        click.echo(line, err=True)


def _some(names: list[str], most: int = 4) -> str | None:
    more = f" +{len(names) - most}" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or None


def _remarks(manager: PluginManager, found: list[PluginInfo]) -> Iterator[str]:
    for info in found:
        name = info.metadata.name
        if info.shadowed_by:
            yield f"{name} at {info.path}: {info.reason}"
        elif info.error_message:
            first, *rest = info.error_message.splitlines()
            more = f" (and {len(rest)} more: drivebay plugins check {name})" if rest else ""
            yield f"{name}: {first}{more}"
        elif info.reason:
            yield f"{name}: disabled: {info.reason}"
        if not (info.metadata.safe_state or info.error_message or info.shadowed_by):
            yield f"{name}: {_UNSAFE}"
    for conflict in manager.conflicts:
        rivals = ", ".join(name for name in conflict.plugins if name != conflict.chosen)
        yield f"model {conflict.model}: {conflict.chosen} answers ({conflict.reason}), not {rivals}"
    for diagnostic in manager.diagnostics:
        yield str(diagnostic)


def plugin_data(info: PluginInfo) -> dict[str, Any]:
    """A plugin's record as plain data."""
    metadata = info.metadata
    return {
        "name": metadata.name,
        "version": metadata.version,
        "status": str(info.status),
        "source": info.source,
        "path": info.path,
        "error_message": info.error_message,
        "supported_methods": list(metadata.supported_methods),
        "supported_models": list(metadata.supported_models),
        "manufacturer": list(metadata.manufacturer or ()),
        "isolation": metadata.isolation or _PROCESS,
        "safe_state": metadata.safe_state or None,
        "description": metadata.description,
        "author": metadata.author,
        "generation": info.generation,
        "sha256": info.sha256,
        "degraded": info.degraded,
        "reason": info.reason,
        "shadowed_by": info.shadowed_by,
        "linked": info.linked,
        "diagnostics": [problem_of(each) for each in info.diagnostics],
    }


@plugins.command("show")
@click.argument("name")
@json_option
def show_plugin(name: str, as_json: bool) -> None:
    """Show all that is known of a plugin: its manifest, not its code.

    Safe state, dialect and limits are told in words; --json has them whole, under `manifest`.
    """
    info = _known(_manager(), name)
    manifest = info.metadata.to_dict()
    if as_json:
        emit({**plugin_data(info), "manifest": manifest})
        return
    metadata = info.metadata
    click.echo(heading(f"{metadata.name} {metadata.version}  {info.status}"))
    facts: list[tuple[str, Any]] = [("path", info.path), ("source", info.source)]
    facts += [("error", info.error_message)] if info.error_message else []
    facts += [("disabled", info.reason)] if info.reason else []
    told = {key: value for key, value in manifest.items() if key not in _TOLD_IN_WORDS}
    facts += [(key, value) for key, value in told.items() if value not in (None, [], {}, "")]
    facts += [
        ("isolation", _ISOLATIONS[metadata.isolation or _PROCESS]),
        ("safe_state", _safe_state_text(metadata.safe_state)),
        ("dialect", _dialect_text(metadata.dialect)),
    ]
    for key, value in facts:
        _show_fact(key, value)
    for model, ranges in (metadata.ranges or {}).items():
        _show_fact(f"limits of {model}", _limits_text(ranges))


_TOLD_IN_WORDS = frozenset(("isolation", "safe_state", "dialect", "ranges"))
_ISOLATIONS = {
    "process": "process: the driver runs in a process of its own",
    "inline": "inline: the driver runs in the program that opens it; its crash is that program's",
}


def _safe_state_text(declared: Mapping[str, Any] | None) -> str:
    """What makes the instrument harmless, in words."""
    if not declared:
        return f"NONE: {_UNSAFE.partition(': ')[2]}"
    interrupt = declared.get("interrupt") or []
    first = interrupt if isinstance(interrupt, list) else [f"interrupt: {interrupt}"]
    text = ", ".join([*map(str, first), *map(str, declared.get("writes") or ())])
    verify = declared.get("verify")
    if not verify:
        return f"{text}; nothing confirms it"
    expected = " or ".join(f"{key} {verify[key]}" for key in verify if key != "query")
    deadline = f" within {declared['deadline_s']:g} s" if declared.get("deadline_s") else ""
    return f"{text}; then {verify['query']} must answer: {expected}{deadline}"


def _dialect_text(dialect: Mapping[str, Any] | None) -> str:
    """How much the keeper knows of the instrument's commands."""
    if not dialect:
        return "none: every command may energise; where limits are set, no level can be judged"
    kinds = ("energise", "off", "levels", "clamps", "recall", "harmless")
    counts = [f"{len(dialect[kind])} {kind}" for kind in kinds if dialect.get(kind)]
    return ", ".join(counts) + " (all of it: --json)"


_PARTS = frozenset(("regions", "lacks"))


def _limits_text(ranges: Mapping[str, Any]) -> str:
    """The ranges of a model, and its operating regions."""
    pairs = [
        f"{name} {value[0]:.10g}..{value[1]:.10g}"
        for name, value in ranges.items()
        if isinstance(value, list | tuple) and len(value) == 2 and name not in _PARTS
    ]
    regions = [
        " with ".join(f"{name} to {value:.10g}" for name, value in region.items())
        for region in ranges.get("regions") or ()
    ]
    lacking = ranges.get("lacks") or ()
    steps = [f"{name} {step:.4g}" for name, step in (ranges.get("resolution") or {}).items()]
    return (
        ", ".join(pairs)
        + (f"; {' or '.join(regions)}" if regions else "")
        + (f"; resolution {', '.join(steps)}" if steps else "")
        + (f"; without {', '.join(lacking)}" if lacking else "")
    )


def _show_fact(key: str, value: Any) -> None:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ", ".join(value)
    if isinstance(value, dict):
        import yaml

        click.echo(f"  {key}")
        text = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, allow_unicode=True)
        for line in text.splitlines():
            click.echo(f"    {line}")
        return
    click.echo(f"  {key:<22}{value}")


@plugins.command()
@click.argument("path_or_name")
@json_option
def check(path_or_name: str, as_json: bool) -> int | None:
    """Check a plugin: its manifest, its code, and whether the two agree.

    PATH_OR_NAME is a folder, a manifest, a file with a decorated class, or the name of a plugin.
    The code is imported in a process of its own, no instrument is touched. Exits with 5 if
    something must be put right. With --json: one object with ok and plugins, each with its
    diagnostics.
    """
    from drivebay.cli.check import check_plugins, tell

    results = check_plugins(path_or_name)
    ok = all(result.ok for result in results)
    if as_json:
        emit({"ok": ok, "plugins": [result.to_dict() for result in results]})
    else:
        for result in results:
            tell(result)
    return None if ok else PLUGIN


@plugins.command()
@click.argument("name")
@json_option
def enable(name: str, as_json: bool) -> None:
    """Let a disabled plugin be used again."""
    manager = _manager()
    _known(manager, name)
    manager.enable_plugin(name)
    _tell_state(manager, name, as_json, "enabled")


@plugins.command()
@click.argument("name")
@click.option("--reason", help="Why; shown wherever somebody misses the plugin.")
@json_option
def disable(name: str, reason: str | None, as_json: bool) -> None:
    """Take a plugin out of use, until it is enabled again."""
    manager = _manager()
    _known(manager, name)
    manager.disable_plugin(name, reason)
    _tell_state(manager, name, as_json, "disabled")


@plugins.command("reload")
@click.argument("name")
@json_option
def reload_plugin(name: str, as_json: bool) -> None:
    """Load a plugin's code as it is now, in a process of its own, to see whether it can be used.

    A program that is running takes over edits by itself while it watches (`Bay.watch`); `drivebay
    dev` shows them at work.
    """
    manager = _manager()
    manager.require(name)
    if not manager.reload_plugin(name):
        raise PluginProblem(_known(manager, name).error_message or f"{name} was not reloaded")
    _tell_state(manager, name, as_json, "loads")


def _tell_state(manager: PluginManager, name: str, as_json: bool, what: str) -> None:
    info = _known(manager, name)
    if as_json:
        emit(plugin_data(info))
        return
    sha = f", sha256 {info.sha256[:12]}" if info.sha256 else ""
    click.echo(f"{info.metadata.name} {info.metadata.version} {what}{sha}")


@plugins.command()
@click.argument("model")
@click.argument("name", required=False)
@click.option("--clear", is_flag=True, help="Forget the choice.")
@json_option
def pin(model: str, name: str | None, clear: bool, as_json: bool) -> None:
    """Choose the plugin that answers for a model; kept until it is cleared."""
    if clear == (name is not None):
        raise click.UsageError("give either the NAME of a plugin or --clear")
    manager = _manager()
    manager.pin(model, name)
    chosen = manager.find_driver_for_model(model)
    if as_json:
        emit({"model": model, "pinned": name, "plugin": chosen})
    else:
        click.echo(f"model {model}: {chosen or 'no plugin'} answers")


@plugins.command()
@json_option
def schema(as_json: bool) -> None:
    """Print the JSON Schema of `plugin.yaml`, for editors.

    Point your editor at it: the first line of a manifest may say
    `# yaml-language-server: $schema=plugin.schema.json`.
    """
    from drivebay import PluginMetadata

    del as_json  # it is JSON either way
    emit(PluginMetadata.json_schema())
