"""Which folders a run must not be written to: those of network file systems.

A write-ahead log needs memory that every process with the file open shares, and locks that the
whole file system honours; over a network one or the other is missing, and two programs then write
over each other without an error (https://sqlite.org/wal.html, https://sqlite.org/faq.html#q5). So
it is refused at the start of a run instead of found out at the end. Reading is never refused: a
finished run is one file that needs neither.

Knows Linux, where the kernel lists what is mounted; elsewhere nothing is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from drivebay._core.errors import StoreError

MOUNTS = Path("/proc/self/mounts")

NETWORK: Final = frozenset(
    {
        # Linux's own clients (Documentation/filesystems), 9p being also a virtual machine's share.
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda", "ceph"),
        *("glusterfs", "lustre", "beegfs", "orangefs", "pvfs2", "gpfs", "panfs", "davfs"),
        *("vboxsf", "prl_fs", "vmhgfs"),
    }
)
NETWORK_FUSE: Final = frozenset(
    {
        *("sshfs", "rclone", "davfs", "davfs2", "curlftpfs", "smbnetfs", "gvfsd-fuse", "glusterfs"),
        *("ceph-fuse", "s3fs", "gcsfuse", "goofys", "blobfuse", "blobfuse2", "mount-s3"),
        *("google-drive-ocamlfuse", "onedriver", "vmhgfs-fuse"),
    }
)
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel writes space, tab, line feed and backslash


def mounted_on(folder: Path, mounts: str) -> tuple[str, str]:
    """Return the mount point a folder lies under and its file system's type; empty if unknown.

    Args:
        folder: absolute, without symbolic links.
        mounts: the text of ``/proc/self/mounts``: device, mount point, type, options a line.
    """
    best = ("", "")
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[1])
        # Of several on one point the last hides those before it, as an automounted one does.
        if len(point) >= len(best[0]) and folder.is_relative_to(point):
            best = (point, fields[2])
    return best


def is_network(kind: str) -> bool:
    """Whether a type of file system, such as ``nfs4`` or ``fuse.sshfs``, is a network's."""
    family, _, name = kind.partition(".")
    return family in NETWORK or (family in {"fuse", "fuseblk"} and name in NETWORK_FUSE)


def on_network(folder: Path) -> bool:
    """Whether a folder lies on a network file system, as far as the system tells."""
    return is_network(_kind_of(folder)[1])


def refuse_network(folder: Path) -> None:
    """Raise if runs cannot safely be written in a folder.

    Raises:
        StoreError: it is on a network file system; names the type and the mount point.
    """
    point, kind = _kind_of(folder)
    if is_network(kind):
        raise StoreError(
            f"cannot create a run in {folder}: it is on a network file system ({kind}, mounted on"
            f" {point}), whose locks cannot be relied on; set DRIVEBAY_HOME to a folder on a local"
            " disk, and export or copy finished runs to this one"
        )


def _kind_of(folder: Path) -> tuple[str, str]:
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux, or no /proc
        return "", ""
    return mounted_on(folder.resolve(), mounts)
