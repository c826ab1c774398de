"""Runs are not written where locks do not hold: on which file system a folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivebay._core.errors import StoreError
from drivebay._core.runs import RunStore, mounts

TABLE = r"""sysfs /sys sysfs rw,nosuid 0 0
/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /data nfs4 rw,vers=4.2 0 0
/dev/sdb1 /data/scratch xfs rw 0 0
//nas/lab /mnt/lab\040share cifs rw 0 0
systemd-1 /auto autofs rw 0 0
server:/auto /auto nfs rw 0 0
me@host:/ /home/me/far fuse.sshfs rw 0 0
/dev/sdc1 /media/stick fuseblk rw 0 0
portal /run/user/1000/doc fuse.portal rw 0 0
C:\134 /mnt/c 9p rw 0 0
short
"""


@pytest.mark.parametrize(
    ("folder", "point", "kind"),
    [
        ("/data/runs", "/data", "nfs4"),
        ("/mnt/lab share/runs", "/mnt/lab share", "cifs"),
        ("/auto/runs", "/auto", "nfs"),
        ("/home/me/far/away/runs", "/home/me/far", "fuse.sshfs"),
        ("/mnt/c/Users/me", "/mnt/c", "9p"),
    ],
)
def test_a_folder_on_a_network_is_known_by_its_mount(folder, point, kind):
    assert mounts.mounted_on(Path(folder), TABLE) == (point, kind)
    assert mounts.is_network(kind)


@pytest.mark.parametrize(
    ("folder", "point", "kind"),
    [
        ("/home/me/runs", "/", "ext4"),
        ("/data/scratch/runs", "/data/scratch", "xfs"),
        ("/database/runs", "/", "ext4"),  # begins as /data does, and is not in it
        ("/tmp/runs", "/tmp", "tmpfs"),
        ("/media/stick", "/media/stick", "fuseblk"),
        ("/run/user/1000/doc/x", "/run/user/1000/doc", "fuse.portal"),
    ],
)
def test_control_a_local_folder_beside_or_inside_one_is_local(folder, point, kind):
    assert mounts.mounted_on(Path(folder), TABLE) == (point, kind)
    assert not mounts.is_network(kind)


def test_a_table_that_says_nothing_of_a_folder_refuses_nothing():
    assert mounts.mounted_on(Path("/runs"), "short\n") == ("", "")
    assert not mounts.is_network("")


def test_a_run_on_a_network_is_refused_with_the_type_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = RunStore(tmp_path / "share" / "runs")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'share'} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)

    with pytest.raises(StoreError, match=r"network file system \(nfs4, mounted on .*share\)"):
        store.create(method="m")

    assert store.list() == []
    assert not list(store.folder.iterdir())


def test_control_the_same_folder_on_a_local_disk_takes_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = RunStore(tmp_path / "share" / "runs")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\n/dev/vdb {tmp_path / 'share'} ext4 rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)

    assert store.create(method="m").finish("done").state == "done"


def test_a_link_to_a_network_folder_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "share").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "share")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'share'} smb3 rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)

    with pytest.raises(StoreError, match="smb3"):
        RunStore(tmp_path / "here").create(method="m")


def test_without_a_table_of_mounts_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "no such file")

    assert RunStore(tmp_path).create(method="m").finish("done").state == "done"
