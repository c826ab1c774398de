"""Making safe: writes before questions, everybody before anybody is asked, a latch if in doubt."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drivebay._core.errors import AbortedError, DrivebayError, LeaseError, UnsafeError
from drivebay._core.keeper import held as held_module
from drivebay._core.keeper import open_session, records
from drivebay._core.keeper.together import make_all_safe

LONG_S = 30.0


class Output:
    """The answers of an instrument with one output; ``stuck`` ones do not go off."""

    def __init__(self, *, stuck: bool = False, mute: bool = False) -> None:
        self.on = False
        self.stuck = stuck
        self.mute = mute

    def __call__(self, line: str) -> str | None:
        if line == ":OUTP ON":
            self.on = True
        if line == ":OUTP OFF" and not self.stuck:
            self.on = False
        if "?" not in line or self.mute:
            return None
        return str(int(self.on)) if line == ":OUTP?" else "A " + line


def opened(resource: str, safe_state: dict[str, Any], **setup: Any):
    session = open_session(resource, {"timeout_s": LONG_S})
    session.configure(safe_state={**safe_state, "deadline_s": 0.3}, **setup)
    return session


pytestmark = pytest.mark.usefixtures("leases")


# -- the record ------------------------------------------------------------------------------------


def test_the_record_is_on_disk_before_the_command_reaches_the_instrument(
    line_instrument, safe_state, leases
):
    seen: list[list[str]] = []

    def answer(line: str) -> str | None:
        if line == ":OUTP ON":
            seen.append([json.loads(p.read_text())["resource"] for p in leases.glob("*.armed")])
        return "0" if "?" in line else None

    instrument = line_instrument(answer)
    session = opened(instrument.resource, safe_state)
    link = session.link()

    assert not list(leases.glob("*.armed"))  # control
    link.write(":OUTP ON")
    link.query("*IDN?")
    assert seen == [[instrument.resource]]
    assert list(leases.glob("*.armed"))
    link.query(":outp? ")
    assert session.status()["armed"] is False


def test_the_record_outlives_an_output_by_a_while_and_never_a_session(
    line_instrument, safe_state, leases
):
    session = opened(line_instrument(Output()).resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")
    link.write(":OUTP OFF")
    link.query(":OUTP?")
    (record,) = leases.glob("*.armed")
    written = record.stat().st_ino

    link.write(":OUTP ON")
    assert session.status()["armed"] is True
    assert record.stat().st_ino == written  # nothing was written anew

    link.write(":OUTP OFF")
    link.query(":OUTP?")
    session.close()
    assert not list(leases.glob("*.armed"))


def switched_on_while_its_owner_goes(tmp_path, monkeypatch, line_instrument, safe_state) -> Output:
    """The output after its owner went in the middle of the writing of the record that it is on."""
    output, news = Output(), threading.Event()

    def answer(line: str) -> str | None:
        found = output(line)
        if line == ":OUTP OFF":
            news.set()
        return found

    resource = line_instrument(answer).resource
    lease = records.Lease.take(tmp_path, resource, {})
    held = held_module.Held(resource, {}, lease, tmp_path, {}, lambda event: None)
    held.configure(held_module.Setup(safe_state=safe_state))

    def owner_goes() -> None:
        held.halted_by = "its owner is gone"
        make_all_safe([one for one in (held,) if one.armed])
        news.set()

    goes = threading.Thread(target=owner_goes)
    write = held_module.write_record

    def slow_disk(*facts: Any) -> None:
        goes.start()
        assert news.wait(LONG_S)
        write(*facts)

    monkeypatch.setattr(held_module, "write_record", slow_disk)
    held.write(":OUTP ON")
    goes.join(LONG_S)
    held.query("*IDN?")  # whatever was sent has arrived
    held.close()
    return output


def test_an_owner_that_goes_while_the_record_is_written_leaves_nothing_on(
    tmp_path, monkeypatch, line_instrument, safe_state
):
    assert not switched_on_while_its_owner_goes(
        tmp_path, monkeypatch, line_instrument, safe_state
    ).on


def test_control_an_output_that_counts_as_armed_only_once_that_is_written_stays_on(
    tmp_path, monkeypatch, line_instrument, safe_state
):
    monkeypatch.setattr(held_module.Held, "armed", property(lambda held: held._armed))

    assert switched_on_while_its_owner_goes(tmp_path, monkeypatch, line_instrument, safe_state).on


def test_a_command_let_in_before_the_lease_was_given_back_switches_nothing_on_after_it(
    tmp_path, line_instrument, safe_state
):
    output = Output()
    resource = line_instrument(output).resource
    lease = records.Lease.take(tmp_path, resource, {})
    held = held_module.Held(resource, {}, lease, tmp_path, {}, lambda event: None)
    held.configure(held_module.Setup(safe_state=safe_state))
    held.write(":OUTP ON")  # control
    held.make_safe()

    held.revoke("is closed")
    with pytest.raises(LeaseError, match="is closed"):
        held.write(":OUTP ON")

    held.query("*IDN?")
    assert not output.on
    held.close()


@pytest.mark.parametrize("given_back_safe", [True, False], ids=["made safe", "control: still on"])
def test_who_made_safe_what_another_has_made_safe_and_given_back_raises_no_alarm(
    tmp_path, line_instrument, safe_state, given_back_safe
):
    resource = line_instrument(Output()).resource
    lease = records.Lease.take(tmp_path, resource, {})
    held = held_module.Held(resource, {}, lease, tmp_path, {}, lambda event: None)
    held.configure(held_module.Setup(safe_state=safe_state))
    held.write(":OUTP ON")

    begun = held.begin_safe()
    if given_back_safe:
        held.make_safe()
    held.close()
    report = held.end_safe(begun)

    assert not report.confirmed
    assert bool(records.read_record(tmp_path, "unsafe", resource)) is not given_back_safe


def test_a_record_that_is_not_needed_any_more_goes_by_itself(
    tmp_path, monkeypatch, line_instrument, safe_state
):
    monkeypatch.setattr(held_module, "_RECORD_STAYS_S", 0.01)
    gone = threading.Event()
    forget = held_module.Held._forget_record

    def noting(held: held_module.Held) -> None:
        forget(held)
        gone.set()

    monkeypatch.setattr(held_module.Held, "_forget_record", noting)
    resource = line_instrument(Output()).resource
    lease = records.Lease.take(tmp_path, resource, {})
    held = held_module.Held(resource, {}, lease, tmp_path, {}, lambda event: None)
    held.configure(held_module.Setup(safe_state=safe_state))
    gone.clear()
    held.write(":OUTP ON")
    held.write(":OUTP OFF")
    held.query(":OUTP?")

    assert gone.wait(LONG_S)
    assert not list(tmp_path.glob("*.armed"))
    held.close()


def test_an_answer_to_verify_asked_before_a_command_that_energises_proves_nothing(
    line_instrument, safe_state, leases
):
    asked, go = threading.Event(), threading.Event()

    def answer(line: str) -> str | None:
        if line == ":OUTP?":
            asked.set()
            go.wait(LONG_S)
        return "0" if "?" in line else None

    session = opened(line_instrument(answer, concurrent=True).resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")
    thread = threading.Thread(target=link.query, args=(":OUTP?",))
    thread.start()
    assert asked.wait(LONG_S)

    link.write(":OUTP ON")
    go.set()
    thread.join(LONG_S)

    assert list(leases.glob("*.armed"))
    assert session.status()["armed"] is True


def test_what_cannot_be_written_down_is_not_switched_on(line_instrument, safe_state, leases):
    instrument = line_instrument(Output())
    session = opened(instrument.resource, safe_state)
    # Root may write anywhere, but not replace a folder by a file.
    blocked = leases / f"{records.key_of(instrument.resource)}.armed"
    blocked.mkdir()

    with pytest.raises(UnsafeError, match="nothing is switched on"):
        session.link().write(":OUTP ON")

    assert session.link().query("*IDN?")
    assert ":OUTP ON" not in instrument.lines


@pytest.mark.parametrize("message", [":OUTP ON;*OPC?", "*CLS;:OUTP ON;:READ?", ":OUTP ON"])
def test_a_command_before_a_question_may_energise_where_no_dialect_tells(
    line_instrument, safe_state, message
):
    session = opened(line_instrument(Output()).resource, safe_state)
    link = session.link()

    assert session.status()["armed"] is False
    link.write(message)
    assert session.status()["armed"] is True

    session.halt("a test")
    with pytest.raises(AbortedError):
        link.write(message)


def test_control_questions_arm_nothing_and_are_asked_after_a_stop(line_instrument, safe_state):
    session = opened(line_instrument(Output()).resource, safe_state)
    session.halt("a test")

    assert session.link().query(":OUTP?;:READ? 'a'; *OPC?")
    assert session.status()["armed"] is False


# -- one instrument --------------------------------------------------------------------------------


def test_writes_come_before_any_question_also_while_one_is_pending(line_instrument, safe_state):
    go = threading.Event()
    output = Output()

    def answer(line: str) -> str | None:
        if line == ":READ?":
            go.wait(LONG_S)
        if line == ":ABOR":
            go.set()
        return output(line)

    instrument = line_instrument(answer, concurrent=True)
    session = opened(instrument.resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")

    def read() -> None:
        with suppress(DrivebayError):
            link.query(":READ?")

    thread = threading.Thread(target=read)
    thread.start()
    instrument.wait_line(":READ?")

    report = session.make_safe()

    thread.join(LONG_S)
    assert (report.verified, report.problems) == (True, ())
    after = instrument.lines[instrument.lines.index(":READ?") + 1 :]
    assert after[:2] == [":ABOR", ":OUTP OFF"]
    assert after[-1] == ":OUTP?"


def test_an_instrument_that_does_not_go_off_is_latched_until_a_person_acknowledges(
    line_instrument, safe_state, leases
):
    output = Output(stuck=True)
    instrument = line_instrument(output)
    session = opened(instrument.resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")

    report = session.make_safe()

    assert report.verified is False
    assert "answered '1', expected '0'" in report.problems[0]
    assert instrument.lines.count(":OUTP OFF") == 3
    assert instrument.connections == 3
    assert session.status()["state"] == "unsafe"
    (record,) = records.records(leases, "unsafe")
    assert record["resource"] == instrument.resource
    for refused in (lambda: link.write(":OUTP ON"), session.go):
        with pytest.raises(UnsafeError, match="acknowledge"):
            refused()
    assert link.query("*IDN?")  # one may look at it
    session.close()
    with pytest.raises(UnsafeError, match="could not be made safe"):
        open_session(instrument.resource, {"timeout_s": LONG_S})

    output.stuck = False
    again = open_session(instrument.resource, {"timeout_s": LONG_S}, acknowledge=True)
    again.configure(safe_state=safe_state)
    again.link().write(":OUTP ON")
    assert again.make_safe().verified is True
    assert not list(records.records(leases, "unsafe"))


def test_a_mute_instrument_is_tried_three_times_on_a_new_channel(line_instrument, safe_state):
    instrument = line_instrument(Output(mute=True))
    session = opened(instrument.resource, safe_state)
    session.link().write(":OUTP ON")

    report = session.make_safe()

    assert report.verified is False
    assert instrument.lines.count(":OUTP OFF") == 3


def test_control_an_instrument_that_answers_at_the_second_try_is_safe(line_instrument, safe_state):
    output = Output(mute=True)

    def answer(line: str) -> str | None:
        if line == ":OUTP OFF" and instrument.connections == 2:
            output.mute = False
        return output(line)

    instrument = line_instrument(answer)
    session = opened(instrument.resource, safe_state)
    session.link().write(":OUTP ON")

    assert session.make_safe().verified is True
    assert session.status()["state"] == "safe"


def test_a_link_that_was_lost_is_made_new_to_switch_off(smu, safe_state):
    server = smu()
    session = opened(server.resource, safe_state)
    session.link().write(":OUTP ON")
    server.log.wait_for("output_on")

    server.drop_connections()

    assert session.make_safe().verified is True
    server.log.wait_for("output_off")


def test_a_halt_switches_off_and_nothing_energises_until_the_next_measurement(smu, safe_state):
    server = smu()
    session = opened(server.resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")

    assert session.halt("ada") == []

    server.log.wait_for("output_off")
    with pytest.raises(AbortedError) as caught:
        link.write(":OUTP ON")
    assert caught.value.by == "ada"
    link.write(":OUTP OFF")  # what makes it safe is never refused
    session.go()
    link.write(":OUTP ON")
    assert link.query(":OUTP?") == "1"


def test_closing_an_instrument_that_may_be_on_makes_it_safe(smu, safe_state, leases):
    server = smu()
    session = opened(server.resource, safe_state)
    session.link().write(":OUTP ON")

    session.close()

    server.log.wait_for("output_off")
    assert not list(leases.glob("*.armed"))


def test_nobody_switches_on_again_behind_the_safe_state_of_a_close(line_instrument, safe_state):
    output, refused = Output(), []

    def answer(line: str) -> str | None:
        if line == ":OUTP?":
            try:
                link.write("*CLS")  # at another time it would be let through, like :OUTP ON
            except LeaseError as exc:
                refused.append(str(exc))
        return output(line)

    session = opened(line_instrument(answer).resource, safe_state)
    link = session.link()
    link.write(":OUTP ON")

    session.close()

    assert refused
    assert "is closed" in refused[0]


def test_what_is_armed_goes_off_also_if_newer_code_declares_no_safe_state(smu, safe_state, leases):
    server = smu()
    session = opened(server.resource, safe_state)
    session.link().write(":OUTP ON")

    session.configure(plugin="newer")
    session.close()

    assert not server.instrument.output_on
    assert not list(leases.glob("*.armed"))


def test_without_a_safe_state_nothing_is_sent(line_instrument):
    instrument = line_instrument(Output())
    session = open_session(instrument.resource, {"timeout_s": LONG_S})
    session.link().write(":OUTP ON")

    report = session.make_safe(forced=True)
    session.link().query("X?")

    assert (report.sent, report.verified) == ((), None)
    assert instrument.lines == [":OUTP ON", "X?"]


# -- several ---------------------------------------------------------------------------------------


def test_everybodys_writes_come_first_in_the_declared_order(line_instrument, safe_state):
    names = ("drain", "gate", "heater")
    made = {name: line_instrument(Output()) for name in names}
    order = [made["gate"].resource, made["drain"].resource, made["heater"].resource]
    sessions = {name: opened(made[name].resource, safe_state, order=order) for name in names}
    for session in sessions.values():
        session.link().write(":OUTP ON")

    reports = sessions["drain"].keeper.make_safe()

    assert all(report.verified for report in reports.values())
    # By the keeper's own clock: the instruments' threads may look at their lines in any order.
    sent = sorted(
        (at_ns, name, data)
        for name, session in sessions.items()
        for at_ns, way, data in session.link().messages()
        if way == "w"
    )
    assert [name for _, name, data in sent if data == b":OUTP OFF\n"] == ["gate", "drain", "heater"]
    assert [data for _, _, data in sent[-3:]] == [b":OUTP?\n"] * 3
    assert {data for _, _, data in sent[-9:-3]} == {b":ABOR\n", b":OUTP OFF\n"}


def test_one_dead_instrument_does_not_keep_the_others_on(line_instrument, safe_state):
    dead, alive = line_instrument(Output(mute=True)), line_instrument(Output())
    order = [dead.resource, alive.resource]
    sessions = [opened(each.resource, safe_state, order=order) for each in (dead, alive)]
    for session in sessions:
        session.link().write(":OUTP ON")
    dead.wait_line(":OUTP ON")
    dead.close()  # nobody listens there any more

    reports = sessions[0].keeper.make_safe()

    assert reports[alive.resource].verified is True
    assert reports[dead.resource].verified is not True
    assert sessions[0].status()["state"] == "unsafe"


# -- ramps -----------------------------------------------------------------------------------------

RAMP = {
    "policy": "ramp_off",
    "ramp": {"ways": [{"header": ":SOUR:VOLT", "rate_per_s": 20.0}], "max_s": 5.0},
    "dialect": {
        "energise": [":OUTP ON"],
        "levels": {":SOUR:VOLT": {"quantity": "voltage_v", "unit": "V"}},
    },
}


def levels(lines: list[str]) -> list[float]:
    return [float(line.split()[1]) for line in lines if line.startswith(":SOUR:VOLT ")]


def test_a_planned_end_ramps_down_before_it_switches_off(line_instrument, safe_state):
    pytest.importorskip("drivebay._core.limits")
    instrument = line_instrument(Output())
    session = opened(instrument.resource, safe_state, **RAMP)
    link = session.link()
    link.write(":SOUR:VOLT 3")
    link.write(":OUTP ON")

    session.make_safe(planned=True)

    steps = levels(instrument.lines)
    assert steps == [3.0, 2.0, 1.0, 0.0]
    assert instrument.lines[-2:] == [":OUTP OFF", ":OUTP?"]


def test_an_unplanned_end_does_not_ramp(line_instrument, safe_state):
    pytest.importorskip("drivebay._core.limits")
    instrument = line_instrument(Output())
    session = opened(instrument.resource, safe_state, **RAMP)
    link = session.link()
    link.write(":SOUR:VOLT 3")
    link.write(":OUTP ON")

    session.make_safe()

    assert levels(instrument.lines) == [3.0]


def test_everything_off_ends_a_ramp(line_instrument, safe_state, leases):
    pytest.importorskip("drivebay._core.limits")
    from drivebay._core.keeper.neighbours import call_public

    instrument = line_instrument(Output())
    ways = [{"header": ":SOUR:VOLT", "rate_per_s": 0.01}]
    slow = {**RAMP, "ramp": {"ways": ways, "max_s": 25.0}}
    session = opened(instrument.resource, safe_state, **slow)
    link = session.link()
    link.write(":SOUR:VOLT 3")
    link.write(":OUTP ON")
    thread = threading.Thread(target=session.make_safe, kwargs={"planned": True})
    thread.start()
    instrument.wait_line(":SOUR:VOLT 2.9995")

    (socket,) = leases.glob("keeper-*.socket")
    found = call_public(str(socket), "estop")

    assert found[instrument.resource]["verified"] is True
    thread.join(LONG_S)
    assert levels(instrument.lines)[-1] > 2.0


# -- an owner that stopped -------------------------------------------------------------------------


def test_an_owner_that_hears_nothing_holds_up_no_safe_state(owner, smu):
    import signal

    server, one = smu(), owner()
    keeper = one.open(server.resource)
    one.do("link.write(':OUTP ON')")
    one.kill(signal.SIGSTOP)
    socket = next(Path(os.environ["DRIVEBAY_LEASES"]).glob(f"keeper-{keeper}-*.socket"))
    from drivebay._core.keeper.neighbours import call_public

    for _ in range(1200):  # more than it keeps for an owner that does not listen
        found = call_public(str(socket), "estop")

    assert found[server.resource]["verified"] is True
    one.kill(signal.SIGCONT)
    assert one.do("link.query(':OUTP?')") == "0"
