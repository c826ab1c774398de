"""Stage 2d: the folders a search for plugins passes through, for whoever watches them.

A new plugin shows first as an entry of one of these. Never raises: what cannot be listed now may
be there at the next look.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from drivebay._core.index.sources import (
    IGNORE_FILE,
    MANIFEST,
    MAX_DEPTH,
    MAX_FOLDERS,
    _ignore_patterns,
    _ignored,
)


def searched_folders(roots: Iterable[str], plugins: Collection[str]) -> set[str]:
    """Return the folders below ``roots`` that are searched and are not plugins themselves.

    Args:
        roots: source folders; those that do not exist are left out.
        plugins: folders known to hold a manifest, which are not entered.
    """
    found: set[str] = set()
    for root in roots:
        pending = [(root, 1)] if root not in plugins and os.path.isdir(root) else []
        left = MAX_FOLDERS
        while pending and left >= 0:
            folder, depth = pending.pop()
            left -= 1
            # One with a manifest that is not known came after the last look: it is searched too.
            found.add(folder)
            if os.path.exists(os.path.join(folder, MANIFEST)):
                continue
            below = _folders_in(folder, plugins) if depth <= MAX_DEPTH else []
            pending.extend((each, depth + 1) for each in below)
    return found


def _folders_in(folder: str, plugins: Collection[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            listing = list(entries)
    except OSError:
        return []
    names = {entry.name for entry in listing}
    skip = _ignore_patterns(os.path.join(folder, IGNORE_FILE)) if IGNORE_FILE in names else ()
    # A link is entered by the search, but its own events are those of the folder it leads to.
    return [
        entry.path
        for entry in listing
        if entry.path not in plugins
        and not _ignored(entry.name, skip)
        and entry.is_dir(follow_symlinks=False)
    ]
