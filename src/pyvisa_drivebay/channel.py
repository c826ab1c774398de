"""The channels this process has open through its keeper, each shared by the sessions on it.

What a bench file says of an instrument holds: its limits, its safe state, who it must be.

A keeper lends an instrument to one program; within the program VISA allows several sessions, and
a notebook cell that is run again opens before the old object is gone. Decides nothing of what is
sent.
"""

from __future__ import annotations

import threading
from typing import Final

from drivebay import open_on_bench
from drivebay.driver import Link

OPEN_S: Final = 5.0
"""Deadline for opening where the program names none."""


class Channel:
    """An instrument that was opened.

    Attributes:
        name: the address as PyVISA writes it.
        link: the link; another one after its speed was changed.
    """

    def __init__(self, name: str, visa_library: str | None, timeout_s: float) -> None:
        self.name = name
        self.users = 0
        self._asked_for: int | None = None
        self._visa_library = visa_library
        self.link: Link = self._open(timeout_s)

    def _open(self, timeout_s: float) -> Link:
        return open_on_bench(
            self.name,
            timeout_s=timeout_s,
            visa_library=self._visa_library,
            baud_rate=self._asked_for,
        )

    def use_speed(self, baud_rate: int) -> None:
        """Open a serial line anew at another speed. Raises: as ``open_on_bench``."""
        self.link.close()
        self._asked_for = baud_rate
        self.link = self._open(OPEN_S)


class Channels:
    """All channels of a library.

    Args:
        visa_library: PyVISA's name of the library below, None for the keeper's own choice.
    """

    def __init__(self, visa_library: str | None) -> None:
        self._visa_library = visa_library
        self._open: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def take(self, name: str, timeout_s: float) -> Channel:
        """An instrument, opened or shared with its sessions. Raises: as ``open_on_bench``."""
        with self._lock:
            channel = self._open.get(name)
            if channel is None or channel.link.closed:
                channel = self._open[name] = Channel(name, self._visa_library, timeout_s)
            channel.users += 1
            return channel

    def give_back(self, channel: Channel) -> None:
        """One session less; after the last one the channel is closed."""
        with self._lock:
            channel.users -= 1
            if channel.users > 0:
                return
            if self._open.get(channel.name) is channel:
                del self._open[channel.name]
            channel.link.close()
