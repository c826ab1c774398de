"""However an owner, a driver's process or a keeper ends, what was on is off, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tty
from pathlib import Path

import pytest

from drivebay._core.keeper import records
from drivebay._core.keeper.records import Lease, remove_leavings
from drivebay._core.keeper.together import recover
from drivebay._core.links import parse_resource

ON = "link.write(':OUTP ON'); link.query(':OUTP?')"


def sent(server) -> list[str]:
    return [entry["text"] for entry in server.log.named("message")]


def left_over(leases: Path) -> list[str]:
    """What is in the folder beside the files of leases and the log."""
    return sorted(
        path.name
        for path in leases.iterdir()
        if path.suffix not in {".lease", ".log"} and path.name != "takeovers.jsonl"
    )


@pytest.mark.parametrize("how", ["kill", "terminate", "hang up", "normal"])
def test_an_owner_that_ends_leaves_nothing_on_and_nothing_behind(owner, smu, leases, gone, how):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    runtime = Path(one.do("session.keeper.path")).parent
    one.do(ON)
    server.log.wait_for("output_on")

    if how == "normal":
        one.end()
    else:
        one.kill({"kill": 9, "terminate": signal.SIGTERM, "hang up": signal.SIGHUP}[how])

    gone(keeper)
    assert server.log.wait_for("output_off")["reason"] == "command"
    assert not runtime.exists()
    assert left_over(leases) == []
    owner().open(server.resource)  # the lease is free


def test_a_program_that_only_wants_the_driver_leaves_nothing_on_either(owner, smu, gone):
    server, one = smu(), owner()
    one.do(
        "from drivebay import PluginManager; manager = PluginManager()",
        "manager.discover_plugins(); manager.load_plugin('keithley_2400')",
        f"driver = manager.get_driver('keithley_2400', {server.resource!r})",
        "driver.connect()",
        "driver.write(':SENS:CURR:PROT 0.01', ':OUTP ON')",
    )
    server.log.wait_for("output_on")
    keeper = one.do("driver.link.session.keeper.pid")

    one.kill()

    gone(keeper)
    assert server.log.wait_for("output_off")["reason"] == "command"


def test_control_an_output_that_nobody_here_switched_on_is_not_touched(owner, smu, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do("link.query(':OUTP?')")

    one.kill()

    gone(keeper)
    assert ":OUTP OFF" not in sent(server)
    assert ":ABOR" not in sent(server)


def test_ctrl_c_in_the_terminal_does_not_reach_the_keeper(owner, smu, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)

    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(keeper, number)

    assert one.do("link.query(':OUTP?')") == "0"
    assert os.getsid(keeper) == keeper


def test_a_keeper_that_is_asked_to_end_makes_safe_before(owner, smu, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)

    os.kill(keeper, signal.SIGTERM)

    gone(keeper)
    server.log.wait_for("output_off")


def test_hold_leaves_it_on_when_the_owner_ends_and_whoever_opens_next_finds_it_on(
    owner, smu, leases, gone
):
    server, one = smu(), owner()
    keeper = one.open(server.resource, setup={"policy": "hold"})
    one.do(ON)

    one.kill()
    gone(keeper)
    two = owner()
    two.open(server.resource)

    assert two.do("link.query(':OUTP?')") == "1"
    assert not server.log.named("output_off")
    two.do("session.make_safe(forced=True)")
    assert two.do("link.query(':OUTP?')") == "0"


# -- a driver's process ----------------------------------------------------------------------------


def lent(one, program):
    """A driver's process with the instrument of an owner, in the middle of a long reading."""
    grant, path = one.do("session.grant()"), one.do("session.keeper.path")
    host = program()
    host.do(
        "from drivebay._core.links import KeptLink",
        f"link = KeptLink({path!r}, {grant!r}, role='host')",
        "link.write(':SOUR:VOLT 1'); link.write(':OUTP ON'); link.write(':SOUR:DEL 100')",
        "link.write(':TRIG:COUN 9')",
    )
    return host, grant, path


def test_a_driver_killed_while_it_reads_is_switched_off_and_the_link_goes_on(owner, smu, program):
    server, one = smu(), owner()
    one.open(server.resource)
    host, grant, path = lent(one, program)
    host.begin("link.query(':READ?', timeout_s=60)")
    server.log.wait_for("sweep_begin")

    host.kill()

    assert one.do("wait_event('made_safe')")["report"]["verified"] is True
    off = server.log.wait_for("output_off")
    assert off["reason"] == "command"
    assert one.do("link.query('*IDN?')").startswith("KEITHLEY")
    with pytest.raises(RuntimeError, match=r"LeaseError: .*its driver's process died"):
        program().do(
            f"__import__('drivebay._core.links', fromlist=['x']).KeptLink({path!r}, {grant!r})"
        )


def test_an_instrument_that_answers_late_is_not_reconnected_for_a_dead_driver(
    owner, line_instrument, program
):
    aborted = threading.Event()

    def answer(line: str) -> str | None:
        if line == ":ABOR":
            aborted.set()
        if line == ":READ?":  # as a sweep that is stopped gives what it has
            aborted.wait(30)
            return "1.0,2.0"
        return "0" if "?" in line else None

    # A thread for each line, as an instrument that reads while it measures.
    instrument, one = line_instrument(answer, concurrent=True), owner()
    one.open(instrument.resource)
    host, _, _ = lent(one, program)
    host.begin("link.query(':READ?', timeout_s=60)")
    instrument.wait_line(":READ?")

    host.kill()

    assert one.do("wait_event('made_safe')")["report"]["verified"] is True
    assert one.do("link.query(':OUTP?')") == "0"
    assert one.do("link.reopened") == 0
    assert instrument.connections == 1


def test_what_a_dead_driver_left_does_not_go_on_again_before_a_new_measurement(owner, smu, program):
    server, one = smu(), owner()
    one.open(server.resource)
    host, _, _ = lent(one, program)
    host.kill()
    one.do("wait_event('made_safe')")

    with pytest.raises(RuntimeError, match=r"AbortedError: .*process died"):
        one.do("link.write(':OUTP ON')")

    one.do("session.go(); link.write(':OUTP ON')")
    assert one.do("link.query(':OUTP?')") == "1"


def test_a_revoked_client_is_refused_and_its_death_makes_nothing_safe(owner, smu, program, gone):
    server, one = smu(), owner()
    one.open(server.resource)
    host, grant, _ = lent(one, program)

    one.do(f"session.revoke({grant!r}, 'was replaced')")
    with pytest.raises(RuntimeError, match=r"LeaseError: .*was replaced"):
        host.do("link.write(':OUTP OFF')")
    host.kill()
    host.process.wait()

    one.do("link.write(':SOUR:DEL 0')")
    assert one.do("link.query(':OUTP?')") == "1"
    assert not server.log.named("output_off")


# -- a keeper --------------------------------------------------------------------------------------


def test_a_keeper_killed_with_the_output_on_is_replaced_and_that_one_makes_safe(owner, smu, leases):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    at = server.log.wait_for("output_on")["t"]

    os.kill(keeper, signal.SIGKILL)

    event = one.do("wait_event('keeper_died')")
    assert event["report"]["verified"] is True
    off = server.log.wait_for("output_off")
    assert off["t"] - at < 10.0  # generous: this machine may be busy; measured is 0.3 s
    assert "keeper died" in one.do("session.lost")
    with pytest.raises(RuntimeError, match="LinkLostError"):
        one.do("link.query('*IDN?')")
    assert one.open(server.resource) != keeper
    assert one.do("link.query('*IDN?')").startswith("KEITHLEY")
    assert not list(leases.glob("*.armed"))


def test_when_owner_and_keeper_are_killed_the_next_one_makes_safe_before_anything_else(
    owner, smu, gone, leases, kill_watchman
):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)  # or it would start another keeper
    kill_watchman(keeper)
    os.kill(keeper, signal.SIGKILL)
    gone(keeper)
    one.kill()
    one.process.wait()
    assert list(leases.glob("*.armed"))
    before = len(sent(server))

    owner().open(server.resource)

    assert sent(server)[before : before + 3] == [":ABOR", ":OUTP OFF", ":OUTP?"]
    assert not list(leases.glob("*.armed"))


def test_who_opens_an_instrument_that_a_watchman_switches_off_waits_for_it(owner, smu, leases):
    server, one = smu(), owner()
    with_it = Lease.take(leases, server.resource, {"user": "root", "watchman": os.getpid()})
    done = threading.Timer(0.3, with_it.release)
    done.start()

    one.open(server.resource)

    assert one.do("link.query('*IDN?')").startswith("KEITHLEY")
    done.join()


def test_control_who_opens_an_instrument_of_anybody_else_is_refused_at_once(owner, smu, leases):
    server, one = smu(), owner()
    lease = Lease.take(leases, server.resource, {"user": "ada"})

    with pytest.raises(RuntimeError, match=r"LeaseError: .* held by ada"):
        one.open(server.resource)

    lease.release()


def test_recover_makes_safe_what_dead_keepers_left(owner, smu, gone, kill_watchman):
    server, one, two = smu(), owner(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)
    kill_watchman(keeper)
    os.kill(keeper, signal.SIGKILL)
    gone(keeper)

    found = two.do("running_keeper().call('recover')")

    assert found[server.resource]["verified"] is True
    server.log.wait_for("output_off")


def test_half_a_command_left_on_a_serial_line_never_executes_as_a_shorter_number(
    safe_state, leases
):
    master, slave = os.openpty()
    tty.setraw(slave)
    lines: list[str] = []

    def instrument() -> None:
        rest = b":SOUR:VOLT 2"  # of 200E-3: what came before the keeper was killed
        while True:
            try:
                rest += os.read(master, 4096)
            except OSError:
                return
            *whole, rest = rest.split(b"\n")
            for line in whole:
                lines.append(line.decode())
                if b"?" in line:
                    os.write(master, b"0\n")

    thread = threading.Thread(target=instrument, daemon=True)
    thread.start()
    resource = parse_resource(f"ASRL{os.ttyname(slave)}::INSTR").text
    left = {"safe_state": {**safe_state, "deadline_s": 5.0}, "opening": {"timeout_s": 5.0}}
    records.write_record(records.lease_folder(), "armed", resource, left)

    (report,) = recover(leases, {}, lambda event: None).values()

    assert report.verified is True
    assert lines == [":SOUR:VOLT 2!", ":ABOR", ":OUTP OFF", ":OUTP?"]
    os.close(slave)
    os.close(master)


def test_a_new_keeper_removes_what_killed_ones_left_and_touches_no_living_one(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    temporary, folder = tmp_path / "tmp", tmp_path / "leases"
    for pid in (dead.pid, os.getpid()):
        (temporary / f"drivebay-keeper-{pid}-a1").mkdir(parents=True)
        folder.mkdir(exist_ok=True)
        (folder / f"keeper-{pid}-00.socket").touch()
    (temporary / "drivebay-keeper-notes").mkdir()

    remove_leavings(temporary, folder)

    assert sorted(path.name for path in temporary.iterdir()) == [
        f"drivebay-keeper-{os.getpid()}-a1",
        "drivebay-keeper-notes",
    ]
    assert [path.name for path in folder.iterdir()] == [f"keeper-{os.getpid()}-00.socket"]
