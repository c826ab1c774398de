"""The channels this process has open through its keeper, each shared by the sessions on it.

A keeper lends an instrument to one program; within the program VISA allows several sessions, and
a notebook cell that is run again opens before the old object is gone. Decides nothing of what is
sent.
"""

from __future__ import annotations

import threading
from typing import Final

from drivebay.driver import Link, open_link

OPEN_S: Final = 5.0
"""Deadline for opening where the program names none."""


class Channel:
    """An instrument that was opened.

    Attributes:
        name: the address as PyVISA writes it.
        link: the link; another one after its speed was changed.
        baud_rate: of a serial line.
    """

    def __init__(self, name: str, visa_library: str | None, timeout_s: float) -> None:
        self.name = name
        self.baud_rate = 9600
        self.users = 0
        self._visa_library = visa_library
        self.link: Link = self._open(timeout_s)

    def _open(self, timeout_s: float) -> Link:
        return open_link(
            self.name,
            timeout_s=timeout_s,
            visa_library=self._visa_library,
            baud_rate=self.baud_rate if self.name.startswith("ASRL") else None,
        )

    def use_speed(self, baud_rate: int) -> None:
        """Open a serial line anew at another speed. Raises: as ``open_link``."""
        self.link.close()
        self.baud_rate = baud_rate
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
        """Open an instrument, or share it with the sessions that have it. Raises: as open_link."""
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
