"""``drivebay new NAME``: a plugin folder to begin with, which works before it is changed."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from drivebay.cli.output import emit, json_option

if TYPE_CHECKING:
    from drivebay import PluginManager

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,63}")
_NO_NAMES: Final = {"driver", "plugin", "drivebay", "null", "none", "true", "false", "yes", "no"}
_PLAIN: Final = re.compile(r"[\w .,*&()/+-]{1,64}")


@click.command()
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put the folder; by default `plugins` in the home folder, where it is found.",
)
@click.option("--model", default="2400", show_default=True, help="Model it serves, as in *IDN?.")
@click.option(
    "--manufacturer", help="Maker, as in *IDN?.  [default for 2400: KEITHLEY INSTRUMENTS]"
)
@click.option("--author", help="Who to ask; by default your user name.")
@json_option
def new(
    name: str,
    folder: Path | None,
    model: str,
    manufacturer: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Begin a driver: a folder that loads and measures at once.

    It speaks the SCPI of the 2400 family, point by point, in about twenty lines that you change to
    suit your instrument. NAME is lower case letters, digits and underscores.
    """
    from drivebay import PluginManager
    from drivebay.cli.scaffold import write_plugin

    _check_words(name, {"--model": model, "--manufacturer": manufacturer, "--author": author})
    manager = PluginManager()
    manager.discover_plugins()
    home = manager.home / "plugins"
    target = (folder or home).expanduser().absolute() / name
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise click.UsageError(f"{target} exists already; choose another name or --dir")
    if manufacturer is None and model == "2400":
        manufacturer = "KEITHLEY INSTRUMENTS"
    served_by = _served_by(manager, name, model)
    before = manager.get_plugin_info(name)
    files = write_plugin(
        target,
        name=name,
        model=model,
        manufacturer=manufacturer or "",
        author=author or _user(),
        overrides=served_by,
    )
    if as_json:
        listed = [str(file) for file in files]
        emit({"name": name, "path": str(target), "files": listed, "overrides": served_by})
    else:
        _tell(name, target, model, served_by, files, found=target.parent in manager.plugin_dirs)
    if before is not None:
        click.echo(
            f"note: {before.path} has that name too: of two plugins with one name only the"
            " first is used (`drivebay plugins list`)",
            err=True,
        )


def _check_words(name: str, options: dict[str, str | None]) -> None:
    if not _NAME.fullmatch(name) or name in _NO_NAMES:
        suggestion = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        hint = f"; {suggestion!r} would do" if _NAME.fullmatch(suggestion) else ""
        raise click.BadParameter(
            f"{name!r} is not 2 to 64 lower case letters, digits and underscores that begin with "
            f"a letter{hint}",
            param_hint="NAME",
        )
    for option, value in options.items():
        if value is not None and not _PLAIN.fullmatch(value):
            raise click.BadParameter(
                f"{value!r} has characters that do not belong there", param_hint=option
            )


def _served_by(manager: PluginManager, name: str, model: str) -> list[str]:
    """Plugins that serve the model today, which the new one will stand in for."""
    return [each.plugin for each in manager.explain(model) if each.usable and each.plugin != name]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _tell(
    name: str, target: Path, model: str, served_by: list[str], files: list[Path], *, found: bool
) -> None:
    click.echo(f"wrote {target}{os.sep}")
    for file in files:
        click.echo(f"  {file.name}")
    if served_by:
        others = ", ".join(served_by)
        click.echo(f"it serves model {model} instead of {others}: `overrides` in its plugin.yaml")
    click.echo()
    if not found:
        where = shlex.quote(str(target.parent))
        click.echo(f"  export DRIVEBAY_PLUGIN_PATH={where}    so that it is found")
    named = name if found else shlex.quote(str(target))
    click.echo(f"  drivebay plugins check {named}")
    click.echo("  drivebay sim keithley2400 --port 5025    a simulated 2400, in another terminal")
    click.echo(
        "  drivebay measure iv_sweep --on TCPIP::127.0.0.1::5025::SOCKET --start-v 0 --stop-v 0.7"
        " --points 36 --compliance-a 10mA"
    )
    click.echo(f"  drivebay check {named} --on TCPIP::127.0.0.1::5025::SOCKET    all it must keep")
    click.echo(f"  {target / 'driver.py'}    now change it")
