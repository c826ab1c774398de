"""``drivebay estop`` and ``drivebay acknowledge``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivebay._core.keeper import KeptSession, end_keeper, open_session, records
from drivebay.cli.failures import FAILED, NOT_FOUND, OK, USAGE
from drivebay.sim import Keithley2400Server, Resistor

SAFE = {
    "interrupt": [":ABOR"],
    "writes": [":OUTP OFF"],
    "verify": {"query": ":OUTP?", "equals": "0"},
    "deadline_s": 0.3,
}


@pytest.fixture(autouse=True)
def leases(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """A machine on which nobody else has an instrument."""
    monkeypatch.setenv("DRIVEBAY_LEASES", str(tmp_path_factory.mktemp("leases")))
    yield
    end_keeper()


@pytest.fixture
def energised() -> Iterator[tuple[Keithley2400Server, KeptSession]]:
    with Keithley2400Server(Resistor(1000.0), time_scale=0.0) as server:
        session = open_session(server.resource, {"timeout_s": 20.0})
        session.configure(safe_state=SAFE)
        session.link().write(":OUTP ON")
        yield server, session
        end_keeper()


def test_everything_off_has_a_row_for_each_instrument(drivebay, energised):
    server, _ = energised

    outcome = drivebay("estop")

    assert outcome.code == OK
    assert outcome.out.splitlines()[0].split() == ["resource", "state", "why"]
    assert outcome.out.splitlines()[1].split() == [server.resource, "off", "-"]
    assert server.log.wait_for("output_off")


def test_everything_off_as_json(drivebay, energised):
    server, _ = energised

    outcome = drivebay("estop", "--json")

    assert outcome.json == [
        {
            "resource": server.resource,
            "state": "off",
            "verified": True,
            "sent": [":OUTP OFF"],
            "problems": [],
        }
    ]


def test_with_nothing_open_it_says_so(drivebay):
    outcome = drivebay("estop")

    assert (outcome.code, outcome.out.startswith("nothing is open")) == (OK, True)


def test_an_output_that_nobody_can_ask_is_no_success(drivebay):
    with Keithley2400Server(Resistor(1000.0), time_scale=0.0) as server:
        session = open_session(server.resource, {"timeout_s": 20.0})
        session.configure(safe_state={})
        session.link().write(":OUTP ON")

        outcome = drivebay("estop")
        end_keeper()

    assert outcome.code == FAILED
    assert "not confirmed" in outcome.out


def test_an_output_that_stays_on_is_unsafe_until_it_is_acknowledged(drivebay, energised):
    server, session = energised
    session.configure(safe_state={**SAFE, "verify": {"query": ":OUTP?", "equals": "7"}})

    outcome = drivebay("estop")

    assert outcome.code == FAILED
    assert "unsafe" in outcome.out
    assert "expected '7'" in outcome.out
    assert drivebay("acknowledge", server.resource).code == OK
    assert drivebay("acknowledge", server.resource).code == NOT_FOUND


def test_a_name_of_the_bench_can_be_acknowledged(drivebay, home):
    (home / "bench.yaml").write_text("instruments:\n  gate: {resource: GPIB0::7::INSTR}\n")
    records.write_record(records.lease_folder(), "unsafe", "GPIB0::7::INSTR", {})

    outcome = drivebay("acknowledge", "gate", "--json")

    assert (outcome.code, outcome.json) == (
        OK,
        {"resource": "GPIB0::7::INSTR", "acknowledged": True},
    )


def test_a_word_that_is_no_instrument_is_a_wrong_command_line(process):
    assert process("acknowledge", "nonsense").code == USAGE


def test_it_runs_beside_a_program_that_measures(process, energised):
    server, session = energised

    outcome = process("estop", "--json")  # a program of its own

    assert outcome.code == OK
    assert outcome.json[0]["resource"] == server.resource
    assert session.link().query(":OUTP?") == "0"
