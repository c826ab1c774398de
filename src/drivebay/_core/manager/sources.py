"""Where plugins are looked for, and in which order.

Promises: an earlier source wins; folders are made absolute at once, so that a later change of the
current folder changes nothing. Reads no folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from drivebay._core.index import Source

BUILTIN_DRIVERS: Final = Path(__file__).parents[2] / "drivers"
PATH_VARIABLE: Final = "DRIVEBAY_PLUGIN_PATH"


def sources_of(plugin_dirs: list[Path] | None, home: Path) -> tuple[list[Source], list[Path]]:
    """Return the sources by precedence, and the folders among them.

    Args:
        plugin_dirs: these folders and nothing else; None means everything there is.
        home: ``DRIVEBAY_HOME``, whose ``plugins`` are the user's own.

    Raises:
        TypeError: one string or path instead of a list.
    """
    if isinstance(plugin_dirs, str | bytes | os.PathLike):
        raise TypeError(
            f"plugin_dirs must be a list of folders, not {plugin_dirs!r}; write [{plugin_dirs!r}]"
        )
    if plugin_dirs is not None:
        # Resolved now, so that a later chdir changes nothing.
        folders = [Path(folder).expanduser().absolute() for folder in plugin_dirs]
        return [Source("folder", str(f), rank, True) for rank, f in enumerate(folders)], folders
    named = [
        Path(p).expanduser().absolute()
        for p in os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
        if p
    ]
    own = home / "plugins"
    sources = [Source("folder", str(folder), rank, True) for rank, folder in enumerate(named)]
    sources.append(Source("folder", str(own), len(sources), False))
    sources.append(Source("entry_point", "entry points", len(sources), False))
    sources.append(Source("builtin", str(BUILTIN_DRIVERS), len(sources), False))
    return sources, [*named, own, BUILTIN_DRIVERS]
