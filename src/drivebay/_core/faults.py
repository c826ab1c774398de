"""Which driver code keeps crashing on which instrument, and when that is too often.

Rules: a fault is the code's own doing: a segmentation fault, an abort, an exit. To be killed from
outside is none, and a good run makes earlier ones forgotten. Three of the same code on the same
resource within five minutes are too many. Decides nothing and disables nothing itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from drivebay._core.host import Exit

TOO_MANY: Final = 3
WITHIN_S: Final = 300.0
_OWN_DOING: Final = frozenset(("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS"))


def is_own_fault(ended: Exit) -> bool:
    """Whether a process ended by what its own code did.

    >>> is_own_fault(Exit(signal="SIGSEGV")), is_own_fault(Exit(code=3))
    (True, True)
    >>> is_own_fault(Exit(signal="SIGKILL")), is_own_fault(Exit(code=0))
    (False, False)
    """
    if ended.limit:
        return True
    return ended.signal in _OWN_DOING or bool(ended.code)


class Faults:
    """The faults of this process's drivers.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: dict[tuple[str, str], deque[float]] = {}

    def count(self, sha256: str, resource: str, ended: Exit) -> bool:
        """Take note of an end; whether this code has had too many faults there.

        Args:
            sha256: the code.
            resource: the instrument it worked on.
            ended: how its process ended.
        """
        if not is_own_fault(ended):
            return False
        now = self._clock()
        with self._lock:
            times = self._times.setdefault((sha256, resource), deque(maxlen=TOO_MANY))
            times.append(now)
            return len(times) == TOO_MANY and now - times[0] <= WITHIN_S

    def forget(self, sha256: str, resource: str) -> None:
        """A run ended well."""
        with self._lock:
            self._times.pop((sha256, resource), None)
