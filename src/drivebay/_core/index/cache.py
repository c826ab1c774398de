"""Stage 2a: what the last look found, kept on disk; only ever a saving of time.

Promises: delete or damage the file and every answer stays; two programs that write it at once leave
a whole one. Never trusts it: each half has its checksum, and what is not there is read again from
the manifest.

The file has two halves, because a look needs little of it: stamps and names are read at once, the
bodies of the claims (most of the bytes) when the first one is asked for. A body goes by the hash of
its content, so it does not matter if another program has replaced the file in between.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Final

import msgspec

from drivebay._core.index.sources import SeenFile

_MAGIC: Final = b"DRIVEBAY-INDEX-7\n"
_HEADER: Final = struct.Struct("<QIQI")
"""Length and CRC-32 of the first half, then of the second."""
_START: Final = len(_MAGIC) + _HEADER.size

Seen = dict[str, dict[str, SeenFile]]


class Bodies:
    """Packed bodies of claims by their mark, read from the file when the first is asked for."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self._known: dict[int, bytes] | None = None

    def get(self, mark: int) -> bytes | None:
        """Return a body, or None if the file has it no longer."""
        if self._known is None:
            self._known = self._read()
        return self._known.get(mark)

    def put(self, mark: int, packed: bytes) -> None:
        """Keep a body that had to be read again."""
        if self._known is not None:
            self._known[mark] = packed

    def _read(self) -> dict[int, bytes]:
        try:
            with open(self._path, "rb", buffering=0) as file:
                header = _header(file.read(_START))
                if header is None:
                    return {}
                file.seek(header[0], os.SEEK_CUR)
                half = file.read(header[2])
        except OSError:
            return {}
        if zlib.crc32(half) == header[3] and len(half) == header[2]:
            with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
                host, known = _BODIES.decode(half)
                return known if host == self._host else {}
        # The first half is whole and would be believed again: let the next look write a new file.
        with contextlib.suppress(OSError):
            self._path.unlink()
        return {}


class CacheFile:
    """Stamps and claims of the last look, on disk.

    Args:
        path: the file.
        host: what wrote it; a file of another host is not used.
    """

    def __init__(self, path: Path, host: str) -> None:
        self.path = path
        self.host = host
        self.bodies = Bodies(path, host)

    def load(self) -> Seen:
        """Return what is known, or nothing if there is no file or it cannot be trusted."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                header = _header(file.read(_START))
                half = file.read(header[0]) if header else b""
        except OSError:
            return {}
        if header is None or len(half) != header[0] or zlib.crc32(half) != header[1]:
            return {}
        try:
            host, seen = _SEEN.decode(half)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return {}
        return seen if host == self.host else {}

    def save(self, seen: Seen) -> OSError | None:
        """Replace the file atomically; a failure is returned, it costs only time."""
        bodies: dict[int, bytes] = {}
        kept = {}
        for source, files in seen.items():
            kept[source] = {
                name: (file.stamp, [(c.name, c.key, c.ok, c.mark) for c in file.claims])
                for name, file in files.items()
                if self._gather(file, bodies)
            }
        first = msgspec.msgpack.encode((self.host, kept))
        second = msgspec.msgpack.encode((self.host, bodies))
        header = _HEADER.pack(len(first), zlib.crc32(first), len(second), zlib.crc32(second))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.writelines((_MAGIC, header, first, second))
                os.replace(temporary, self.path)
            except OSError:
                os.unlink(temporary)
                raise
        except OSError as exc:
            return exc
        return None

    def _gather(self, file: SeenFile, bodies: dict[int, bytes]) -> bool:
        """Collect the bodies of a file's claims; False if one is lost: the file is read again."""
        for claim in file.claims:
            packed = claim.packed or self.bodies.get(claim.mark)
            if packed is None:
                return False
            bodies[claim.mark] = packed
        return True


def _header(start: bytes) -> tuple[int, int, int, int] | None:
    if len(start) != _START or not start.startswith(_MAGIC):
        return None
    first, first_sum, second, second_sum = _HEADER.unpack_from(start, len(_MAGIC))
    # A length that was damaged must not ask for more memory than the file could need.
    return (first, first_sum, second, second_sum) if first + second < 1 << 31 else None


_SEEN: Final = msgspec.msgpack.Decoder(tuple[str, Seen])
_BODIES: Final = msgspec.msgpack.Decoder(tuple[str, dict[int, bytes]])
