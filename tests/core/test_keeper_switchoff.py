"""Everything off on a machine, whoever has what, and whoever of them is dead or hangs."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from drivebay import all_outputs_off
from drivebay._core.errors import ResourceError, UnsafeError
from drivebay._core.keeper import acknowledge, open_link, records

ON = "link.write(':OUTP ON'); link.query(':OUTP?')"


def test_every_owners_outputs_go_off_and_each_instrument_has_its_row(owner, smu, leases):
    servers, owners = [smu() for _ in range(3)], [owner() for _ in range(3)]
    for server, one in zip(servers, owners, strict=True):
        one.open(server.resource, setup={"policy": "hold"})
        one.do(ON)

    found = all_outputs_off()

    assert sorted(found) == sorted(server.resource for server in servers)
    assert all(report.verified and report.confirmed for report in found.values())
    for server in servers:
        assert server.log.wait_for("output_off")["reason"] == "command"


def test_with_nothing_open_there_is_nothing_to_say(leases):
    assert all_outputs_off() == {}


def test_what_a_dead_keeper_left_on_is_switched_off_also_where_its_policy_was_to_hold(
    owner, smu, gone, leases, kill_watchman
):
    server, one = smu(), owner()
    keeper = one.open(server.resource, setup={"policy": "hold"})
    one.do(ON)
    one.kill(signal.SIGSTOP)
    kill_watchman(keeper)
    os.kill(keeper, signal.SIGKILL)
    gone(keeper)
    one.kill()

    found = all_outputs_off()

    assert found[server.resource].verified is True
    server.log.wait_for("output_off")
    assert not list(records.records(leases, "armed"))


def test_a_keeper_that_hangs_is_ended_and_its_output_switched_off(owner, smu, gone, leases):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)
    os.kill(keeper, signal.SIGSTOP)

    found = all_outputs_off()

    gone(keeper)
    assert found[server.resource].verified is True
    server.log.wait_for("output_off")


def test_an_instrument_of_which_nothing_is_known_is_not_called_off(owner, smu, leases):
    server, one = smu(), owner()
    one.open(server.resource, safe_state=None)

    found = all_outputs_off()

    assert found[server.resource].verified is None
    assert "nothing is known that makes it safe" in found[server.resource].problems


def test_an_instrument_that_does_not_go_off_says_so_until_it_is_acknowledged(
    owner, line_instrument, safe_state, leases
):
    stuck = threading.Event()
    stuck.set()
    instrument = line_instrument(lambda line: str(int(stuck.is_set())) if "?" in line else None)
    one = owner()
    one.open(instrument.resource, safe_state={**safe_state, "deadline_s": 0.3})
    one.do("link.write(':OUTP ON')")

    assert all_outputs_off()[instrument.resource].verified is False
    one.do("session.close()")
    assert all_outputs_off()[instrument.resource].verified is False
    with pytest.raises(UnsafeError):
        open_link(instrument.resource)

    stuck.clear()
    assert acknowledge(instrument.resource) is True
    assert acknowledge(instrument.resource) is False
    assert all_outputs_off() == {}
    with open_link(instrument.resource) as link:
        assert link.query(":OUTP?") == "0"


def test_after_everything_off_an_open_instrument_wants_to_be_acknowledged(owner, smu, leases):
    server, one = smu(), owner()
    one.open(server.resource)
    one.do(ON)
    all_outputs_off()
    with pytest.raises(RuntimeError, match=r"AbortedError: .*all outputs off"):
        one.do("session.go()")

    assert acknowledge(server.resource) is True

    one.do("session.go()", ON)
    assert one.do("link.query(':OUTP?')") == "1"


def test_to_acknowledge_makes_nobody_forget_that_an_output_may_be_on(owner, smu, leases, gone):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)

    assert acknowledge(server.resource) is False

    assert one.do("session.status()['armed']") is True
    one.kill()
    gone(keeper)
    assert not server.instrument.output_on


@pytest.mark.parametrize("by_option", [True, False])
def test_what_a_dead_keeper_left_on_is_switched_off_also_if_it_is_acknowledged(
    owner, smu, leases, gone, by_option, kill_watchman
):
    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do(ON)
    one.kill(signal.SIGSTOP)
    kill_watchman(keeper)
    os.kill(keeper, signal.SIGKILL)
    gone(keeper)
    assert server.instrument.output_on

    if not by_option:
        assert acknowledge(server.resource) is False
    owner().open(server.resource, acknowledge=by_option)

    assert not server.instrument.output_on


def test_an_address_that_is_none_cannot_be_acknowledged(leases):
    with pytest.raises(ResourceError):
        acknowledge("nonsense")
