"""In a host that replays a recording: the ``time`` that plugin code sees is the recording's.

Promises: only modules of plugins get the stand-in, through their own ``import``; everything else in
the process keeps the real clock. What asks the system past ``time`` (``datetime.now``, a library in
C) is told the real time: a replay shows what comes of it as a difference.
"""

from __future__ import annotations

import time
import types
from typing import Final

from drivebay._core.links import KeeperPort
from drivebay._core.links.passing import PASSING
from drivebay._core.loader import STAND_INS

_NS: Final = 1e9


def follow_recording(path: str, token: str) -> None:
    """Let the drivers of this process live by the clock of a replay.

    Args:
        path: socket of the replay's keeper.
        token: what it granted.
    """
    PASSING.follow(KeeperPort(path, token, role="clock", subject="the recording"))
    STAND_INS["time"] = _stand_in()


def _stand_in() -> types.ModuleType:
    module = types.ModuleType("time", time.__doc__)
    vars(module).update({k: v for k, v in vars(time).items() if not k.startswith("__")})
    clocks = {
        "sleep": PASSING.elapse,
        "time": PASSING.wall,
        "time_ns": lambda: int(PASSING.wall() * _NS),
        "localtime": lambda s=None: time.localtime(PASSING.wall() if s is None else s),
        "gmtime": lambda s=None: time.gmtime(PASSING.wall() if s is None else s),
    }
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        clocks[name] = PASSING.monotonic
        clocks[f"{name}_ns"] = lambda: int(PASSING.monotonic() * _NS)
    vars(module).update(clocks)
    return module
