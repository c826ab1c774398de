"""Hosts as processes: what they inherit, what they leave behind, and what ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from drivebay._core.errors import DrivebayError, DriverCrashedError
from drivebay._core.host import Host, best_nursery, interpreters, zygote
from drivebay._core.host import nursery as births
from drivebay._core.host.nursery import Zygote

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def descriptors(pid: int) -> dict[int, str]:
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def ends(pidfd: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        assert poll.poll(20_000), "the process did not end"
    finally:
        os.close(pidfd)


# -- what a host has -------------------------------------------------------------------------------


@linux
def test_a_host_holds_no_descriptor_of_another(hosted):
    hosts = [hosted("") for _ in range(3)]

    held = [{where for where in descriptors(host.pid).values() if "[" in where} for host in hosts]

    assert not held[0] & held[1]
    assert not held[1] & held[2]


@linux
def test_a_host_has_a_group_of_its_own_and_no_input(hosted):
    host = hosted("def read(self): return [input.__name__, __import__('sys').stdin.read()]")

    assert os.getpgid(host.pid) == os.getsid(host.pid) == host.pid
    assert host.call("read") == ["input", ""]
    assert descriptors(host.pid)[0] == "/dev/null"


def test_ctrl_c_at_the_keyboard_does_not_reach_a_host(hosted):
    host = hosted("def fine(self): return 1")

    os.kill(host.pid, signal.SIGINT)

    assert host.call("fine") == 1


@linux
def test_a_host_keeps_within_its_limits(hosted):
    host = hosted(
        """
        def limits(self):
            import resource as r
            return [r.getrlimit(r.RLIMIT_NOFILE)[0], r.getrlimit(r.RLIMIT_CORE)[0]]
        """
    )

    assert host.call("limits") == [1024, 0]


def test_blas_has_one_thread_and_pyvisa_goes_through_the_keeper(hosted):
    host = hosted("def env(self, name): import os; return os.environ.get(name)")

    assert host.call("env", "OPENBLAS_NUM_THREADS") == "1"
    assert host.call("env", "PYVISA_LIBRARY") == "@drivebay"


# -- what is left ----------------------------------------------------------------------------------


@linux
def test_fifty_hosts_leave_no_descriptor_and_no_process(hosted):
    Host.start("acme").close()
    before, child = len(descriptors(os.getpid())), len(descriptors(zygote().pid))

    pids = []
    for turn in range(50):
        host = Host.start("acme")
        pids.append(host.pid)
        if turn % 2:
            host.kill_now()
        host.close()

    assert len(descriptors(os.getpid())) == before
    assert len(descriptors(zygote().pid)) == child
    # Also no zombie: it would still have an entry.
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@linux
def test_a_process_that_a_driver_started_ends_with_it(hosted):
    host = hosted(
        """
        def start(self):
            import subprocess, sys
            command = [sys.executable, "-c", "input(); print()"]
            return subprocess.Popen(command, stdin=subprocess.PIPE).pid
        """
    )
    started = os.pidfd_open(host.call("start"))

    host.kill_now()

    ends(started)


@linux
def test_a_fork_of_a_driver_that_holds_its_pipes_keeps_nobody_waiting(hosted, tmp_path):
    host = hosted(
        """
        def split(self, path):
            import os, pathlib, signal
            pid = os.fork()
            if pid == 0:
                os.setsid()
                signal.pause()
            pathlib.Path(path).write_text(str(pid))
            os._exit(7)
        """
    )
    forked = tmp_path / "forked"
    try:
        with pytest.raises(DriverCrashedError, match="status 7 during split"):
            host.call("split", str(forked))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(forked.read_text()), signal.SIGKILL)


# -- the end of the owner --------------------------------------------------------------------------

OWNER = """
import os, sys, signal
from drivebay._core.host import Host, interpreters, zygote
start = {start}()
hosts = [Host.start("acme", starter=start) for _ in range(2)]
print(getattr(start, "pid", 0), *[host.pid for host in hosts], flush=True)
{then}
sys.stdin.readline()
"""


def owner(start: str = "zygote", then: str = "") -> subprocess.Popen[str]:
    code = OWNER.format(start=start, then=textwrap.dedent(then))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def watched(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    return [os.pidfd_open(pid) for pid in pids if pid]


@linux
@pytest.mark.parametrize("start", ["zygote", "interpreters"])
def test_hosts_end_with_an_owner_that_is_killed(start):
    with owner(start) as process:
        pidfds = watched(process)
        process.kill()

    assert len(pidfds) >= 2
    for pidfd in pidfds:
        ends(pidfd)


@linux
@pytest.mark.parametrize("start", ["zygote", "interpreters"])
def test_hosts_end_with_an_owner_that_ends_in_good_order(start):
    with owner(start) as process:
        pidfds = watched(process)
        _, errors = process.communicate("\n")

    for pidfd in pidfds:
        ends(pidfd)
    assert (process.returncode, errors) == (0, "")


@linux
def test_a_process_forked_by_the_owner_does_not_keep_hosts_alive():
    then = """
    pid = os.fork()
    if pid == 0:
        signal.pause()
    print(pid, flush=True)
    """
    with owner(then=then) as process:
        pidfds = watched(process)
        assert process.stdout is not None
        forked = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        for pidfd in pidfds:
            ends(pidfd)
        os.kill(forked, signal.SIGKILL)


@linux
def test_a_process_forked_by_the_owner_has_a_zygote_of_its_own():
    then = """
    pid = os.fork()
    if pid == 0:
        other = Host.start("acme")
        assert zygote().pid != start.pid
        other.close()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert all(host.alive for host in hosts)
    """
    with owner(then=then) as process:
        _, errors = process.communicate("\n")

    assert (process.returncode, errors) == (0, "")


# -- the zygote ------------------------------------------------------------------------------------


def test_a_zygote_that_died_takes_its_hosts_along_and_is_started_again(hosted):
    host = hosted("def wait(self): self.sleep(3600)")
    old = zygote()

    os.kill(old.pid, signal.SIGKILL)
    with pytest.raises(DriverCrashedError, match="together with the process that forks drivers"):
        host.call("wait")

    assert hosted("def fine(self): return 2").call("fine") == 2
    assert zygote().pid != old.pid


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Have every new interpreter begin with a line of code, as an administrator's mistake would."""

    def write(line: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(line)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return write


A_THREAD = "import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()"


def test_a_zygote_that_cannot_start_says_why(site):
    site("raise SystemExit('no such world')")

    with pytest.raises(DrivebayError, match=r"(?s)it ended with status 1\n.*no such world"):
        Zygote(best_nursery().monitor)


@linux
def test_a_zygote_with_threads_refuses_to_fork(site):
    site(A_THREAD)

    with pytest.raises(DrivebayError, match="it has 2 threads after its imports"):
        Zygote(best_nursery().monitor)


@linux
def test_without_a_zygote_every_host_is_an_interpreter(site, monkeypatch, caplog):
    monkeypatch.setattr(births, "_own", births._Own())
    site(A_THREAD)

    host = Host.start("acme")

    assert births._own.zygote is None
    assert "every driver starts an interpreter of its own" in caplog.text
    host.close()
    assert str(host.exit) == "exited with status 0"


def test_the_owners_side_imports_neither_numpy_nor_what_runs_drivers():
    code = (
        "import sys, drivebay._core.host\n"
        "print([n for n in ('numpy', 'drivebay._core.loader', 'drivebay._core.contract')"
        " if n in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@linux
def test_a_host_that_cannot_begin_is_an_error_and_leaves_nothing(site):
    site("import os; os.write(1, b'no such world'); os._exit(3)")
    before = descriptors(os.getpid())

    with pytest.raises(DriverCrashedError, match="exited with status 3 during start") as caught:
        Host.start("acme", starter=interpreters())

    assert caught.value.traceback == "no such world"
    assert len(descriptors(os.getpid())) == len(before)
