"""Edits become reloads: the watch for changed files, tied to a manager.

Promises: what runs after an edit is the last save; an edit that does not load is reported and the
old class stays; a lost event (the kernel's queue overflowed) leads to a look at everything. Errors
of one plugin never end the watch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING

from drivebay._core.index import searched_folders
from drivebay._core.loader import folder_watch, folders_of
from drivebay._core.manager.info import PluginStatus, plan_for

if TYPE_CHECKING:
    from drivebay._core.manager.facade import PluginManager


class Watcher:
    """A running watch; stop it with :meth:`stop` or by leaving its ``with`` block.

    Attributes:
        unwatched: folders the system refused to watch; edits there go unnoticed.
    """

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager
        self._events = manager._events  # noqa: SLF001 - the two classes are one unit
        self._lock = threading.Lock()
        self.unwatched: list[str] = []
        self._homes: dict[str, set[str]] = {}
        self._searched: set[str] = set()
        self._watch = folder_watch(self._changed)
        self._looked = True
        self._news = threading.Condition()
        self._running = True
        self._worker: int | None = None
        self._telling = False
        self._cover(())
        self._watch.start()

    def stop(self) -> None:
        """End the watch; returns when no reload of its is running."""
        with self._news:
            self._running = False
            # Called by the code of a plugin that is being reloaded, it would wait for itself.
            me = threading.get_ident()
            self._news.wait_for(lambda: self._worker in {None, me})
            telling = self._telling
        # A subscriber that is called now may wait for the one who calls this.
        self._watch.stop(wait=not telling)

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
        with self._news:
            if not self._running:
                return
            self._worker = threading.get_ident()
        with self._events.held():
            try:
                self._take_over(paths, anything)
            except Exception:  # task root: the watch must outlive whatever one edit provokes
                what = ", ".join(sorted(paths))
                self._manager.logger.exception("while looking at an edit of %s", what)
            self._note(worker=None, telling=True)
        self._note(worker=None, telling=False)

    def _note(self, *, worker: int | None, telling: bool) -> None:
        with self._news:
            self._worker, self._telling = worker, telling
            self._news.notify_all()

    def _take_over(self, paths: Collection[str], anything: bool) -> None:
        manager = self._manager
        with self._lock:
            if anything or any(map(self._may_declare, paths)):
                self._look()
            names = self._touched(paths, anything)
            for name in names:
                manager.refresh(name)
            while self._cover(names):
                # What was put into a folder before it was watched came without an event.
                self._look()
                for name in names:
                    manager.refresh(name)

    def _may_declare(self, path: str) -> bool:
        # A .py file inside a plugin's folder is code; elsewhere it may hold a decorated class.
        return not path.endswith(".py") or os.path.dirname(path) in self._searched

    def _look(self) -> None:
        self._manager.discover_plugins()
        self._looked = True

    def _touched(self, paths: Collection[str], anything: bool) -> list[str]:
        records = self._manager.snapshot.catalog.records
        if anything:
            return [record.name for record in records.values()]
        folders = {os.path.dirname(path) if path.endswith(".py") else path for path in paths}
        folders |= {os.path.dirname(path) for path in paths}
        return [
            record.name
            for key, record in records.items()
            if record.home in folders or not folders.isdisjoint(self._homes.get(key, ()))
        ]

    def _cover(self, names: Collection[str]) -> bool:
        """Watch what there is now; tell whether anything is watched that was not before.

        Args:
            names: the plugins whose folders may be others than before; after a look, all.
        """
        snapshot = self._manager.snapshot
        if self._looked:
            self._homes = {}
            roots = [str(root) for root in self._manager.plugin_dirs]
            homes = {record.home for record in snapshot.catalog.records.values()}
            self._searched = searched_folders(roots, homes)
        for key, record in snapshot.catalog.records.items():
            if key in self._homes and record.name not in names:
                continue
            state = snapshot.states[key]
            # Of a plugin nobody has loaded only the manifest matters.
            used = state.generation is not None or state.status is PluginStatus.ERROR
            self._homes[key] = folders_of(plan_for(record)) if used else {record.home}
        self._looked = False
        wanted = self._searched.union(*self._homes.values())
        added, failed = self._watch.cover(wanted)
        if failed and failed != self.unwatched:
            self._manager.logger.error(
                "%d plugin folders cannot be watched (the system's limit of watches?), "
                "edits there need reload_plugin: %s ...",
                len(failed),
                failed[0],
            )
        self.unwatched = failed
        return added
