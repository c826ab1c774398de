"""Edits become reloads: the watch for changed files, tied to a manager.

Promises: what runs after an edit is the last save; an edit that does not load is reported and the
old class stays; a lost event (the kernel's queue overflowed) leads to a look at everything. Errors
of one plugin never end the watch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from drivebay._core.loader import folder_watch

if TYPE_CHECKING:
    from drivebay._core.manager.facade import PluginManager


class Watcher:
    """A running watch; stop it with :meth:`stop` or by leaving its ``with`` block.

    Attributes:
        unwatched: folders the system refused to watch; edits there go unnoticed.
    """

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self.unwatched: list[str] = []
        self._watch = folder_watch(self._changed)
        self._cover()
        self._watch.start()
        self._running = True

    def stop(self) -> None:
        """End the watch; returns when no reload of its is running."""
        if self._running:
            self._running = False
            self._watch.stop()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _changed(self, paths: Collection[str], anything: bool) -> None:
        manager = self._manager
        try:
            with self._lock:
                if anything or any(not path.endswith(".py") for path in paths):
                    manager.discover_plugins()
                for name in self._touched(paths, anything):
                    manager.refresh(name)
                self._cover()
        except Exception:  # task root: the watch must outlive whatever one edit provokes
            manager.logger.exception("while looking at an edit of %s", ", ".join(sorted(paths)))

    def _touched(self, paths: Collection[str], anything: bool) -> list[str]:
        catalog = self._manager.snapshot.catalog
        if anything:
            return [record.name for record in catalog.records.values()]
        touched = []
        for record in catalog.records.values():
            folder = record.home + os.sep
            if any((path + os.sep).startswith(folder) for path in paths):
                touched.append(record.name)
        return touched

    def _cover(self) -> None:
        failed = self._watch.cover(set(self._folders()))
        if failed and failed != self.unwatched:
            self._manager.logger.error(
                "%d plugin folders cannot be watched (the system's limit of watches?), "
                "edits there need reload_plugin: %s ...",
                len(failed),
                failed[0],
            )
        self.unwatched = failed

    def _folders(self) -> Iterator[str]:
        snapshot = self._manager.snapshot
        for root in self._manager.plugin_dirs:
            if root.is_dir():
                yield str(root)
        for key, record in snapshot.catalog.records.items():
            yield record.home
            # A search that had to descend passed through the folders between.
            between = os.path.dirname(record.home)
            while len(between) > len(record.root):
                yield between
                between = os.path.dirname(between)
            generation = snapshot.states[key].generation
            if generation is not None:
                home = generation.stage.home
                yield from {
                    os.path.join(home, os.path.dirname(f)).rstrip(os.sep) for f in generation.files
                }
