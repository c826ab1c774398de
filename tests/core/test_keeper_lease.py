"""The right to an instrument: one holder, told by name, freed by every end, taken over safely."""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from drivebay import Bay
from drivebay._core.errors import AbortedError, LeaseError
from drivebay._core.keeper import open_link, open_session, records
from drivebay._core.keeper.neighbours import call_public
from drivebay._core.machine import instrument_records

SHORT = {"start_v": 0, "stop_v": 0.5, "points": 5, "compliance_a": 0.01}
ON = "link.write(':OUTP ON'); link.query(':OUTP?')"


def test_a_second_process_is_told_who_holds_the_instrument(owner, smu):
    server, one = smu(), owner()
    one.open(server.resource)

    with pytest.raises(LeaseError) as caught:
        open_link(server.resource)

    holder = caught.value.holder
    assert (holder["pid"], holder["host"]) == (one.pid, platform.node())
    for fact in (holder["user"], str(one.pid), holder["since"], platform.node()):
        assert fact in str(caught.value)
    assert caught.value.resource == server.resource


@pytest.mark.parametrize("first", ["127.0.0.1", "localhost"])
def test_another_name_of_the_same_host_is_no_other_instrument(owner, smu, first):
    server, one = smu(), owner()
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}[first]
    held, asked = (server.resource.replace("127.0.0.1", name) for name in (first, other))
    one.open(held)

    with pytest.raises(LeaseError, match="is held by") as caught:
        open_link(asked)

    assert f"{asked}, which is the instrument of {held}," in str(caught.value)
    assert caught.value.holder["pid"] == one.pid
    with open_link(smu().resource.replace("127.0.0.1", other)) as link:  # control: another port
        assert link.query("*IDN?")


def test_an_instrument_held_under_another_name_can_be_taken_over(owner, smu, leases):
    server, one = smu(), owner()
    one.open(server.resource)
    one.do(ON)

    with open_link(server.resource.replace("127.0.0.1", "localhost"), force=True) as link:
        assert link.query(":OUTP?") == "0"

    (line,) = takeovers(leases)
    assert (line["resource"], line["from"]["pid"]) == (server.resource, one.pid)


def test_a_program_cannot_take_an_instrument_over_from_itself_under_another_name(smu):
    server = smu()

    with open_link(server.resource) as link:
        with pytest.raises(LeaseError, match="is held by"):
            open_link(server.resource.replace("127.0.0.1", "localhost"), force=True)
        assert link.query("*IDN?")


def test_an_instrument_held_under_two_names_is_listed_once(owner, smu):
    server, one = smu(), owner()
    named = server.resource.replace("127.0.0.1", "localhost")
    one.open(named)

    assert [each.resource for each in instrument_records()] == [named]


def test_a_program_that_opens_an_instrument_twice_is_told_so(smu):
    server = smu()

    with open_link(server.resource), pytest.raises(LeaseError, match="open in this program"):
        open_link(server.resource)

    with open_link(server.resource) as link:  # control: given back, it can be had again
        assert link.query("*IDN?")


@pytest.mark.parametrize("how", ["close", "end", "kill"])
def test_a_lease_is_free_when_its_holder_is_done_with_it(owner, smu, gone, how):
    server, one = smu(), owner()
    keeper = one.open(server.resource)

    if how == "close":
        one.do("session.close()")
    else:
        one.end() if how == "end" else one.kill()
        gone(keeper)

    with open_link(server.resource) as link:
        assert link.query(":OUTP?") == "0"


# -- taking over -----------------------------------------------------------------------------------


def take_over(resource: str) -> None:
    session = open_session(resource, {"timeout_s": 20.0}, force=True)
    session.close()


def takeovers(leases) -> list[dict]:
    return [json.loads(line) for line in (leases / "takeovers.jsonl").read_text().splitlines()]


def test_a_take_over_switches_off_first_is_written_down_and_the_old_owner_is_told_by_whom(
    owner, smu, leases
):
    server, one = smu(), owner()
    one.open(server.resource)
    one.do(ON)

    with open_link(server.resource, force=True) as link:
        assert link.query(":OUTP?") == "0"
        server.log.wait_for("output_off")
        opened = [e["t"] for e in server.log.named("connection_opened")]
        assert server.log.named("output_off")[0]["t"] < opened[1]
        with pytest.raises(RuntimeError, match=rf"LeaseError: .*taken over by .*{os.getpid()}"):
            one.do("link.write(':OUTP ON')")

    (line,) = takeovers(leases)
    assert (line["resource"], line["from"]["pid"]) == (server.resource, one.pid)
    assert line["by"]["pid"] == os.getpid()
    assert one.do("wait_event('taken_over'); session.lost").startswith("was taken over by")


@pytest.mark.parametrize("what", ["query", "write", "measure"])
def test_an_opened_instrument_that_was_taken_over_says_by_whom_whatever_is_asked_of_it(
    owner, smu, leases, what
):
    server, other = smu(), owner()
    arguments = {"query": ["*IDN?"], "write": [":OUTP ON"], "measure": ["iv_sweep"]}[what]
    more = SHORT if what == "measure" else {}
    with Bay() as bay:
        opened = bay.open(server.resource)
        other.open(server.resource, force=True)

        with pytest.raises(LeaseError, match=rf"was taken over by .*process {other.pid}\)"):
            getattr(opened, what)(*arguments, **more)


def test_an_owner_that_was_stopped_when_it_lost_its_lease_is_refused_when_it_goes_on(owner, smu):
    server, one = smu(), owner()
    one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)

    with open_link(server.resource, force=True) as link:
        one.kill(signal.SIGCONT)

        with pytest.raises(RuntimeError, match=r"LeaseError: .*taken over by"):
            one.do("link.write(':OUTP ON')")
        assert link.query(":OUTP?") == "0"


def test_a_keeper_that_hangs_is_ended_and_what_it_left_on_switched_off(owner, smu, leases, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    os.kill(keeper, signal.SIGSTOP)

    with open_link(server.resource, force=True) as link:
        assert link.query(":OUTP?") == "0"
        gone(keeper)
        with pytest.raises(RuntimeError, match=r"LeaseError: .*taken over by"):
            one.do("link.write(':OUTP ON')")

    server.log.wait_for("output_off")
    assert one.do("wait_event('keeper_died'); session.lost").startswith("was taken over by")
    assert takeovers(leases)[0]["from"]["keeper"] == keeper


def test_control_without_force_nothing_is_taken(owner, smu):
    server, one = smu(), owner()
    one.open(server.resource)
    one.do(ON)

    with pytest.raises(LeaseError):
        open_link(server.resource)

    assert one.do("link.query(':OUTP?')") == "1"


def test_a_forged_lease_ends_no_process_but_the_one_that_holds_it(owner, smu, leases, program):
    server, one, bystander = smu(), owner(), program()
    one.open(server.resource)
    path = leases / f"{records.key_of(server.resource)}.lease"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"keeper": bystander.pid, "socket": "/nowhere"}))

    with open_link(server.resource, force=True) as link:
        assert link.query("*IDN?")

    assert bystander.do("1 + 1") == 2


AS_NOBODY = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def let_others_pass(leases: Path) -> None:
    """The folders that pytest makes are for their owner only."""
    for folder in leases.parents:
        if "pytest-of-" in str(folder):
            folder.chmod(0o711)


@AS_NOBODY
def test_another_user_cannot_take_over_but_can_switch_off(owner, smu, leases, program):
    server, one, other = smu(), owner(), program()
    one.open(server.resource)
    one.do(ON)
    (socket,) = leases.glob("keeper-*.socket")
    let_others_pass(leases)
    other.do(
        "from drivebay._core.keeper.neighbours import call_public",
        "import os; os.setgid(65534); os.setuid(65534)",
    )

    with pytest.raises(RuntimeError, match="LeaseError: a keeper of user 0"):
        other.do(f"call_public({str(socket)!r}, 'takeover', {server.resource!r}, {{}})")
    assert one.do("link.query(':OUTP?')") == "1"

    found = other.do(f"call_public({str(socket)!r}, 'estop')")
    assert found[server.resource]["verified"] is True
    assert one.do("link.query(':OUTP?')") == "0"


@AS_NOBODY
def test_what_another_users_dead_keeper_left_on_can_be_made_safe(
    owner, smu, leases, program, gone, kill_watchman
):
    server, one, other = smu(), owner(), program()
    keeper = one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)
    kill_watchman(keeper)
    os.kill(keeper, signal.SIGKILL)
    gone(keeper)
    let_others_pass(leases)
    other.do(
        "from drivebay._core.keeper.together import recover; from pathlib import Path",
        "import os; os.setgid(65534); os.setuid(65534)",
    )

    found = other.do(f"recover(Path({str(leases)!r}), {{}}, print)[{server.resource!r}].verified")

    assert found is True
    server.log.wait_for("output_off")
    assert records.read_record(leases, "armed", server.resource) is None


def test_a_record_that_names_a_library_of_somebodys_loads_it_not(tmp_path):
    from drivebay._core.keeper.together import sound

    library = tmp_path / "evil.so"
    library.write_bytes(b"")
    library.chmod(0o666)
    left = {"safe_state": {"writes": ["X"]}, "opening": {"visa_library": str(library)}}

    assert "visa_library" not in sound("GPIB0::1::INSTR", left)["opening"]
    named = {**left, "opening": {"visa_library": "@ivi", "baud_rate": 9600}}  # control
    assert sound("GPIB0::1::INSTR", named)["opening"]["visa_library"] == "@ivi"


# -- everything off --------------------------------------------------------------------------------


def test_everything_off_needs_no_lease_and_stays_off(owner, smu, leases):
    server, one = smu(), owner()
    one.open(server.resource, setup={"policy": "hold"})
    one.do(ON)
    (socket,) = leases.glob("keeper-*.socket")

    found = call_public(str(socket), "estop")

    assert (
        found == {server.resource: {"sent": (":OUTP OFF",), "verified": True, "problems": ()}}
        or found[server.resource]["verified"]
    )
    for code in ("session.go()", "link.write(':OUTP ON')"):
        with pytest.raises(RuntimeError, match=r"AbortedError: .*all outputs off"):
            one.do(code)
    assert one.do("link.query(':OUTP?')") == "0"
    one.do("session.keeper.call('acknowledge', session.resource)", "session.go()", ON)
    assert one.do("link.query(':OUTP?')") == "1"


# -- a lease that must be renewed ------------------------------------------------------------------


def test_an_owner_that_stops_loses_its_lease_and_the_output_goes_off(owner, smu):
    server, one = smu(), owner()
    one.open(server.resource, ttl_s=0.6)
    one.do(ON)
    at = server.log.wait_for("output_on")["t"]

    one.kill(signal.SIGSTOP)

    off = server.log.wait_for("output_off", timeout_s=30)
    assert off["t"] - at < 0.6 + 2.0 + 8.0  # 8 s for a machine that is busy
    opened = owner()
    opened.open(server.resource)
    one.kill(signal.SIGCONT)
    with pytest.raises(RuntimeError, match=r"LeaseError: .*"):
        one.do("link.write(':OUTP ON')")
    assert one.do("wait_event('expired'); session.lost").startswith("the lease ran out")


def test_control_an_owner_that_runs_keeps_its_lease(owner, smu):
    server, one = smu(), owner()
    one.open(server.resource, ttl_s=1.5)
    one.do(ON)

    # Three times the lease, by the clock of the owner that renews it.
    one.do("threading.Event().wait(4.5)")

    assert one.do("link.query(':OUTP?')") == "1"
    assert not server.log.named("output_off")


# -- one process -----------------------------------------------------------------------------------


def test_twenty_threads_have_one_keeper(smu):
    servers = [smu() for _ in range(20)]
    found: list[int] = []
    start = threading.Barrier(20)

    def use(resource: str) -> None:
        start.wait()
        session = open_session(resource, {"timeout_s": 20.0})
        found.append(session.keeper.pid)
        session.close()

    threads = [threading.Thread(target=use, args=(server.resource,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 20
    assert len(set(found)) == 1


def test_a_forked_process_has_a_keeper_of_its_own_and_leaves_its_parents_alone(owner, smu):
    first, second, one = smu(), smu(), owner()
    keeper = one.open(first.resource)
    one.do(
        "def fork():\n"
        " read, write = os.pipe()\n"
        " if not (pid := os.fork()):\n"
        "  session.close()\n"
        f"  found = open_session({second.resource!r}, {{}}); text = str(found.keeper.pid)\n"
        "  os.write(write, text.encode()); os._exit(0)\n"
        " os.waitpid(pid, 0)\n"
        " return int(os.read(read, 100))"
    )

    assert one.do("fork()") != keeper
    assert one.do("link.query('*IDN?')")


def test_a_keeper_that_has_nothing_open_ends(owner, smu, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)

    one.do("session.close()")

    gone(keeper)
    assert one.open(server.resource) != keeper  # control: there is another when it is needed


def test_a_failed_open_leaves_no_keeper_behind(owner, gone):
    one = owner()
    with pytest.raises(RuntimeError, match="LinkOpenError"):
        one.do("open_link('TCPIP::127.0.0.1::9::SOCKET')")

    gone(one.do("running_keeper().pid"))


def test_a_hundred_opens_leak_no_descriptor(owner, smu):
    server, one = smu(), owner()
    count = "len(os.listdir('/proc/%d/fd'))"
    cycle = (
        "for _ in range({}):\n"
        f" s = open_session({server.resource!r}, {{{{'timeout_s': 20.0}}}})\n"
        " l = s.link(); l.query('*IDN?'); l.close(); s.close()"
    )
    keeper = one.do("running_keeper().pid")
    one.do("running_keeper()._opening += 1")  # it stays, however long this takes
    one.do(cycle.format(5))
    before = one.do(count % one.pid), one.do(count % keeper)

    one.do(cycle.format(100))

    assert one.do("running_keeper().pid") == keeper
    one.do(
        f"while {count % keeper} > {before[1]}: time.sleep(0.01)"
    )  # its threads are at their end
    assert one.do(count % one.pid) <= before[0]


def test_the_keepers_process_knows_no_numpy_and_no_plugins(program):
    loaded: Callable[..., object] = program().do
    loaded("import sys; import drivebay._core.keeper.server")
    names = set(loaded("list(sys.modules)"))  # type: ignore[call-overload]

    heavy = {"numpy", "pyvisa", "serial", "yaml", "jsonschema_rs"}
    plugins = {"contract", "loader", "manager", "session", "bay", "manifest", "index"}
    assert not heavy & names
    assert not {f"drivebay._core.{name}" for name in plugins} & names
    assert not [name for name in names if name.startswith("drivebay.drivers")]
    assert AbortedError  # control: the list above is of modules that exist
    assert "drivebay._core.keeper.server" in names
