"""``drivebay doctor``: what is in place, what is not, and what to do."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drivebay import instrument_records
from drivebay.cli import failures


def by_name(done):
    return {each["name"]: each for each in done.json["findings"]}


def test_a_healthy_installation_has_no_problem(drivebay, home):
    done = drivebay("doctor", "--json")

    found = by_name(done)
    assert done.code == failures.OK
    assert done.json["ok"] is True
    assert found["home"]["detail"] == str(home)
    assert found["visa"]["state"] == "ok"
    assert "@drivebay" in found["visa backend"]["detail"]
    assert found["leases"]["detail"].startswith(os.environ["DRIVEBAY_LEASES"])
    assert found["keeper"]["state"] == "ok"
    assert "process of 1 thread," in found["drivers"]["detail"]
    assert {each["state"] for each in done.json["findings"]} <= {"ok", "note"}


def test_a_broken_plugin_is_a_problem_with_a_remedy(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "acme", version=None)

    done = drivebay("doctor", "--json")
    text = drivebay("doctor")

    assert done.code == failures.FAILED
    assert by_name(done)["plugin acme"]["remedy"] == "drivebay plugins check acme"
    assert text.code == failures.FAILED
    assert "PROBLEM" in text.out


def test_a_home_that_cannot_be_written_is_a_problem(drivebay, tmp_path, monkeypatch):
    file = tmp_path / "a file"
    file.touch()
    monkeypatch.setenv("DRIVEBAY_HOME", str(file / "home"))

    done = drivebay("doctor", "--json")

    assert done.code == failures.FAILED
    assert by_name(done)["home"]["state"] == "problem"
    assert "DRIVEBAY_HOME" in by_name(done)["home"]["remedy"]


def test_rivals_for_a_model_are_a_note(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "rival", supported_models=["2400"])

    done = drivebay("doctor", "--json")

    assert done.code == failures.OK
    assert "rival" in by_name(done)["conflict"]["detail"]


def test_no_instrument_is_spoken_to(drivebay, bench, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_RESOURCES", bench.resource)

    drivebay("doctor")

    assert not bench.log.named("connection_opened")


@pytest.mark.slow
def test_who_holds_an_instrument_is_told(drivebay, bench, holder):
    done = drivebay("doctor", "--json")

    told = by_name(done)[bench.resource]
    assert told["state"] == "ok"
    assert f"process {holder}) since" in told["detail"]
    assert told["detail"].endswith("its output may be on")


KILLED = """\
import os, signal, sys
from drivebay import Bay
bay = Bay()
smu = bay.open(sys.argv[1])
smu.write(":OUTP ON")
os.kill(smu.keeper_pid, signal.SIGSTOP)  # so that it cannot switch off before it is killed too
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.slow
def test_what_dead_programs_left_on_is_a_problem(drivebay, bench, environment, kill_watchman):
    with subprocess.Popen([sys.executable, "-c", KILLED, bench.resource], env=environment) as owner:
        os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
        (record,) = instrument_records()
        keeper = keeper_of(owner.pid)
        kill_watchman(keeper)
        for pid in (owner.pid, keeper):
            os.kill(pid, signal.SIGKILL)
    gone(keeper)

    done = drivebay("doctor", "--json")

    assert record.holder["pid"] == owner.pid
    told = by_name(done)[bench.resource]
    assert done.code == failures.FAILED
    assert told["state"] == "problem"
    assert f"process {owner.pid})" in told["detail"]
    assert "estop" in told["remedy"]


def keeper_of(owner):
    """The keeper of a program: its child that runs the keeper's code."""
    (children,) = Path(f"/proc/{owner}/task").glob(f"{owner}/children")
    for pid in children.read_text("ascii").split():
        if b"keeper.server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    raise AssertionError("it has no keeper")


def gone(pid):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30.0)[0]
    finally:
        os.close(descriptor)


def test_a_bench_file_that_is_wrong_is_a_problem(drivebay, bench_file):
    path = bench_file(naem=1)

    done = drivebay("doctor", "--json")

    told = by_name(done)["bench"]
    assert done.code == failures.FAILED
    assert told["state"] == "problem"
    assert str(path) in told["detail"]
    assert told["remedy"] == "drivebay bench check"


def test_a_lease_folder_that_cannot_be_used_is_a_problem(process, tmp_path):
    file = tmp_path / "file"
    file.touch()

    done = process("doctor", "--json", add={"DRIVEBAY_LEASES": str(file / "leases")})

    assert done.code == failures.FAILED
    found = by_name(done)
    assert found["leases"]["state"] == found["keeper"]["state"] == "problem"
    assert "DRIVEBAY_LEASES" in found["leases"]["remedy"]
