"""What users decided about plugins, kept across runs: disabled with a reason, pins of models.

Promises: a write is atomic, and two processes that write at once both keep their change. A state
file that cannot be read is kept aside and named, never overwritten in silence.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drivebay._core.errors import StoreError

_LOCK_WAIT_S = 5.0


def drivebay_home() -> Path:
    """Return the folder in which Drivebay keeps what it keeps: ``DRIVEBAY_HOME``.

    Default: the platform's folder for a user's data, such as ``~/.local/share/drivebay``.
    """
    chosen = os.environ.get("DRIVEBAY_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("drivebay", appauthor=False)


class StateFile:
    """``state.json`` in the home folder."""

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        self.path = path
        self._logger = logger

    def read(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return disabled plugins (canonical name -> reason) and pins (model -> plugin)."""
        data = self._read()
        return data["disabled"], data["pins"]

    def disable(self, key: str, reason: str) -> None:
        """Keep a plugin disabled."""
        self._change(lambda data: data["disabled"].update({key: reason}))

    def enable(self, key: str) -> None:
        """Forget that a plugin is disabled."""
        self._change(lambda data: data["disabled"].pop(key, None))

    def pin(self, model: str, plugin: str | None) -> None:
        """Keep or forget the choice of a plugin for a model."""
        if plugin is None:
            self._change(lambda data: data["pins"].pop(model, None))
        else:
            self._change(lambda data: data["pins"].update({model: plugin}))

    def _read(self) -> dict[str, dict[str, str]]:
        empty: dict[str, dict[str, str]] = {"disabled": {}, "pins": {}}
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return empty
        except (OSError, UnicodeDecodeError) as exc:
            self._logger.error("%s cannot be read (%s): no plugin is disabled", self.path, exc)
            return empty
        try:
            data = json.loads(text)
            return {part: _texts(data.get(part, {})) for part in empty}
        except (ValueError, AttributeError) as exc:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            with contextlib.suppress(OSError):
                os.replace(self.path, aside)
            self._logger.error("%s is damaged (%s), kept as %s", self.path, exc, aside.name)
            return empty

    def _change(self, change: Callable[[dict[str, dict[str, str]]], Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                data = self._read()
                change(data)
                handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(data, file, indent=2, sort_keys=True)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
        except OSError as exc:
            raise StoreError(exc.errno, f"{self.path} cannot be written: {exc.strerror}") from exc

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        if os.name != "posix":
            yield  # Linux is the tested tier; elsewhere the atomic replace alone has to do.
            return
        import fcntl

        with open(self.path.with_suffix(".lock"), "a") as file:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.005)
            yield


def _texts(part: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in part.items()}
