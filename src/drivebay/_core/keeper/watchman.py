"""The watchman: a process that outlives its keeper, and acts where nobody else is left to.

A keeper makes safe what a dead owner left on, and a living owner starts another keeper for a dead
one. Where both are killed at once only the watchman is left: it hears of the keeper's end, gives a
living owner the time to do its part, and makes safe what is still armed.

Rules:
- It is forked from its keeper before that has a thread, so it starts nothing and imports nothing
  when it is needed, and costs the pages that it changes.
- Until its keeper is gone it does nothing but wait on a pipe; it has no link and no lease. A keeper
  that ends as it should says so, and its watchman ends with it.
- Whatever somebody else has the lease of is his business.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from drivebay._core.keeper.neighbours import open_pidfd
from drivebay._core.keeper.records import WATCHMAN
from drivebay._core.keeper.together import recover

_OWNERS_TURN_S: Final = 5.0
"""How long a living owner has to start another keeper; one that is stopped does not."""

_ENDS_S: Final = 1.0
_NOTHING_TO_DO: Final = b"."

_log = logging.getLogger("drivebay.keeper")  # its standard error is the keeper's log


class Watchman:
    """The watchman of this process, from its keeper's side.

    Args:
        owner: facts of the owner, for the leases that are taken to make safe.
        folder: where the records lie.
    """

    def __init__(self, owner: Mapping[str, Any], folder: Path) -> None:
        """Fork it.

        Raises:
            OSError: there can be no more processes.
        """
        read, self._write = os.pipe()
        gc.freeze()  # its collector must not make every page that is shared its own
        try:
            self.pid = os.fork()
        except BaseException:
            os.close(read)
            os.close(self._write)
            raise
        if self.pid == 0:
            _live(read, owner, folder)
        os.close(read)
        gc.unfreeze()

    def dismiss(self) -> None:
        """It is not needed any more: everything was made safe, or its latch is set."""
        with contextlib.suppress(OSError):  # it is gone
            os.write(self._write, _NOTHING_TO_DO)
        os.close(self._write)
        ended = open_pidfd(self.pid)
        _wait_end(ended, _ENDS_S)
        if ended >= 0:
            os.close(ended)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


def _live(pipe: int, owner: Mapping[str, Any], folder: Path) -> NoReturn:
    """The whole life of the watchman's process."""
    try:
        os.setsid()  # what is sent to the keeper's group does not reach it
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _let_go_of_all_but(pipe)
        with contextlib.suppress(OSError):  # what process lists call it
            Path("/proc/self/comm").write_text("drivebay-watch", encoding="ascii")
        _watch(pipe, owner, folder)
    except Exception:  # noqa: BLE001 - task root: there is nobody to raise it to
        _log.exception("the watchman of a dead keeper failed")
    finally:
        os._exit(0)


def _watch(pipe: int, owner: Mapping[str, Any], folder: Path) -> None:
    program = open_pidfd(int(owner.get("pid") or 0))
    if os.read(pipe, 1) == _NOTHING_TO_DO:
        return
    _wait_end(program, _OWNERS_TURN_S)
    recover(folder, {**owner, WATCHMAN: os.getpid()}, _nobody)


def _wait_end(pidfd: int, at_most_s: float) -> None:
    """Wait for the end of a process, if it is one that has not ended."""
    if pidfd >= 0:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(1000 * at_most_s)


_nobody: Callable[[dict[str, Any]], None] = lambda _: None  # noqa: E731 - whom it would tell is dead


def _let_go_of_all_but(kept: int) -> None:
    """Close what came with the fork: the end of the owner's channel, above all.

    The owner takes its keeper for alive as long as somebody holds that.
    """
    last = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, last)
