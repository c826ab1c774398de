"""Large answers by way of memory that owner and host share, where the system has such memory.

A pipe copies an array twice and wakes both ends again and again; shared memory is written once and
copied out once. Used for the answer of a call, of which there is one at a time: the host writes the
next only after the owner asked for it, and it asks only after it has copied the last one out.

Rules: the owner trusts nothing it is told. It maps memory only if that is sealed against shrinking,
since memory that is cut off under a reader ends the reader's process. What cannot be shared goes
through the pipe as ever.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Any, Final

from drivebay._core.errors import ProtocolError
from drivebay._core.wire import Buffer

LEAST_BYTES: Final = 256 << 10
"""Below this a pipe is as quick."""

MOST_BYTES: Final = 256 << 20

AVAILABLE: Final = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


class SharedOut:
    """The host's side: memory that it writes answers into."""

    def __init__(self) -> None:
        self._fd = -1
        self._memory: mmap.mmap | None = None

    def put(self, parts: Sequence[Buffer]) -> tuple[int, int] | None:
        """Write buffers one after the other; descriptor and length, None if they are to be sent.

        Args:
            parts: the tail of a frame.
        """
        length = sum(len(part) for part in parts)
        if not AVAILABLE or not LEAST_BYTES <= length <= MOST_BYTES:
            return None
        memory = self._memory
        if memory is None or len(memory) < length:
            try:
                memory = self._made(length)
            except OSError:
                return None  # no memory to share is left: the pipe needs none
        at = 0
        for part in parts:
            memory[at : at + len(part)] = part
            at += len(part)
        return self._fd, length

    def _made(self, length: int) -> mmap.mmap:
        """New memory with room for more than that, sealed; the one before is let go."""
        size = 1 << (length - 1).bit_length()
        fd = os.memfd_create("drivebay-answers", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            memory = mmap.mmap(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except BaseException:
            os.close(fd)
            raise
        if self._memory is not None:
            self._memory.close()
            os.close(self._fd)
        self._fd, self._memory = fd, memory
        return memory


class SharedIn:
    """The owner's side.

    Args:
        pid: the host.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1
        self._memory: mmap.mmap | None = None

    def take(self, fd: int, length: int, room: Any) -> memoryview:
        """Copy an answer out; the copy is the caller's own.

        Args:
            fd: descriptor in the host.
            length: bytes of the answer.
            room: makes a buffer of so many bytes.

        Raises:
            ProtocolError: the host told of memory that is none, or not safe to read.
            OSError: the host is gone.
        """
        if not 0 < length <= MOST_BYTES:
            raise ProtocolError(f"a host announced {length:,} bytes of shared memory")
        memory = self._memory
        if memory is None or fd != self._fd or len(memory) < length:
            memory = self._mapped(fd, length)
        tail = memoryview(room(length)).cast("B")
        with memoryview(memory) as view:
            tail[:] = view[:length]
        return tail

    def _mapped(self, fd: int, length: int) -> mmap.mmap:
        self.close()
        own = os.open(f"/proc/{self._pid}/fd/{int(fd)}", os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(own).st_size
            try:
                seals = fcntl.fcntl(own, fcntl.F_GET_SEALS)
            except OSError:
                seals = 0  # a file of another kind
            if not seals & fcntl.F_SEAL_SHRINK or size < length:
                raise ProtocolError(
                    f"a host told of memory that is not safe to read ({size} bytes)"
                )
            memory = mmap.mmap(own, size, prot=mmap.PROT_READ)
        finally:
            os.close(own)
        self._fd, self._memory = fd, memory
        return memory

    def close(self) -> None:
        """Let the memory go."""
        if self._memory is not None:
            self._memory.close()
        self._fd, self._memory = -1, None
