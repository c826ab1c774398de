"""When the owner dies its keeper switches off; when the keeper dies another one does.

With both dead the keeper's watchman does. What it cannot do is told by the last test: with all
three dead, the output stays on until somebody starts again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from drivebay import Bay, LinkError
from lab import SOAK, Owner, Process, Reading, milliseconds, off_after, watchman_of
from phases import PHASES, SHORT, SWEEP, Moment, moments

OFF_S = 2.0
LONG = SWEEP | {"points": 1000}
pytestmark = pytest.mark.slow


@contextmanager
def owners() -> Iterator[Iterator[Owner]]:
    """Programs that own an instrument; the next one starts while the last one still works."""
    started = [Owner()]

    def each() -> Iterator[Owner]:
        while True:
            started.append(Owner())
            yield started[-2]

    try:
        yield each()
    finally:
        for owner in started:
            owner.close()


def test_a_killed_owner_leaves_its_output_off_and_every_point_it_had(wire, simulator, log, figures):
    off_s, phases, points, after_chunk = [], [], 0, 0
    with owners() as each:
        for moment in moments(20 * SOAK, seed=20):
            owner = next(each)
            owner.tell(resource=wire.resource)
            ids = owner.hear()
            mark = len(log)
            with Process(ids["keeper"]) as keeper, Process(ids["host"]) as host:
                go_on = moment.await_it(wire, log, lambda o=owner: o.tell(sweep=SWEEP))
                at = owner.kill()
                go_on()
                keeper.wait_gone()
                host.wait_gone()
            said = list(owner.hear_all())
            owner.close()
            waited = off_after(log.since(mark), at)
            assert waited is not None, moment
            assert waited <= OFF_S, moment
            off_s.append(waited)
            phases.append(moment.phase)

            with Bay() as bay:
                had = check_interrupted(bay, said)
                points += had
                after_chunk += had > 0
                smu = bay.open(wire.resource)
                assert smu.measure("iv_sweep", **SHORT).state == "done", moment

    assert set(phases) == set(PHASES)
    assert after_chunk >= 0.25 * len(off_s)  # points come while the next segment runs
    figures["owner killed: kills"] = f"{len(off_s)}, {after_chunk} of them after a stored chunk"
    figures["owner killed: output off"] = milliseconds(off_s)
    figures["owner killed: points lost"] = f"0 of {points}"


def check_interrupted(bay: Bay, said: list[dict[str, Any]]) -> int:
    """The run of a killed owner has what the owner had said of it; how many points."""
    run = bay.runs.open("last")
    if run.state == "done":
        # Ours, before: killed within milliseconds, before its run was on disk.
        assert said == []
        return 0
    assert run.state == "interrupted"
    assert "stopped writing" in (run.reason or "")
    acknowledged = max([fact["points"] for fact in said if fact["run"] == run.id], default=0)
    assert len(run) >= acknowledged
    np.testing.assert_allclose(
        run["voltage_v"], np.linspace(0, 1, SWEEP["points"])[: len(run)], atol=1e-3
    )
    return acknowledged


def test_a_killed_keeper_is_replaced_by_one_that_switches_off(bay, wire, log, figures):
    off_s = []
    for moment in moments(10 * SOAK, seed=10):
        smu = bay.open(wire.resource)
        mark = len(log)
        begun: list[Reading] = []
        stream = smu.stream("iv_sweep", **SWEEP)
        with Process(smu.keeper_pid) as keeper:
            go_on = moment.await_it(wire, log, lambda b=begun, s=stream: b.append(Reading(s)))
            at = keeper.kill()
            go_on()
        error = begun[0].end()

        assert isinstance(error, LinkError), (moment, error)
        run = bay.runs.open(error.run_id or "")
        assert run.state == "failed"
        assert len(run) == sum(len(chunk["voltage_v"]) for chunk in begun[0].chunks)
        smu.close()
        assert bay.open(wire.resource).measure("iv_sweep", **SHORT).state == "done", moment
        bay.close()
        events = log.since(mark)
        until = max(n for n, e in enumerate(events) if e.get("text") == "*CLS")
        waited = off_after(events[:until], at)
        assert waited is not None, moment
        assert waited <= OFF_S, moment
        off_s.append(waited)

    figures["keeper killed: kills"] = str(len(off_s))
    figures["keeper killed: output off"] = milliseconds(off_s)


def test_owner_and_keeper_killed_at_once_leave_a_watchman_that_switches_off(
    wire, simulator, log, figures
):
    off_s = []
    with owners() as each:
        for moment in moments(5 * SOAK, seed=5):
            owner = next(each)
            owner.tell(resource=wire.resource)
            ids = owner.hear()
            mark = len(log)
            with (
                Process(ids["keeper"]) as keeper,
                Process(watchman_of(ids["keeper"])) as watchman,
                Process(ids["host"]) as host,
            ):
                go_on = moment.await_it(wire, log, lambda o=owner: o.tell(sweep=SWEEP))
                keeper.stop()  # so that it cannot hear of its owner's end
                at = owner.kill()
                keeper.kill()
                go_on()
                for process in (keeper, host, watchman):
                    process.wait_gone()
            owner.close()
            simulator.settle()
            waited = off_after(log.since(mark), at)
            assert waited is not None, moment
            assert waited <= OFF_S, moment
            off_s.append(waited)

            with Bay() as bay:
                assert bay.open(wire.resource).measure("iv_sweep", **SHORT).state == "done", moment

    figures["both killed: kills"] = str(len(off_s))
    figures["both killed: output off"] = milliseconds(off_s)


def test_a_stopped_owner_of_a_killed_keeper_has_its_output_switched_off(wire, simulator, log):
    """It lives, so it has its turn; but it does not take it."""
    with owners() as each:
        owner = next(each)
        owner.tell(resource=wire.resource)
        ids = owner.hear()
        moment = Moment("sweeping", b"", count=2)
        with (
            Process(owner.pid) as program,
            Process(ids["keeper"]) as keeper,
            Process(watchman_of(ids["keeper"])) as watchman,
        ):
            moment.await_it(wire, log, lambda: owner.tell(sweep=LONG))
            program.stop()
            keeper.kill()
            watchman.wait_gone()
            simulator.settle()

            assert not simulator.output_on


def test_a_watchman_ends_with_its_keeper_and_sends_nothing(wire, simulator, log):
    with owners() as each:
        owner = next(each)
        owner.tell(resource=wire.resource)
        ids = owner.hear()
        with Process(watchman_of(ids["keeper"])) as watchman:
            owner.tell(sweep=SWEEP)
            while owner.hear().get("state") != "done":
                pass
            mark = len(log)
            owner.say_good_bye()
            watchman.wait_gone()
        simulator.settle()

        sent = [event["text"] for event in log.named("message", since=mark)]
        assert sent == ["*OPC?"]


def test_control_with_the_watchman_dead_too_the_output_is_on_until_the_next_start(
    wire, simulator, log
):
    """The bound of what software can do, as docs/reference/reliability.md says it."""
    with owners() as each:
        owner = next(each)
        owner.tell(resource=wire.resource)
        ids = owner.hear()
        mark = len(log)
        moment = Moment("sweeping", b"", count=2)
        with (
            Process(ids["keeper"]) as keeper,
            Process(watchman_of(ids["keeper"])) as watchman,
            Process(ids["host"]) as host,
        ):
            moment.await_it(wire, log, lambda: owner.tell(sweep=LONG))
            watchman.kill()
            keeper.kill()
            owner.kill()
            host.wait_gone()
        log.wait("sweep_end", since=mark, count=2)
        assert simulator.output_on

        mark = len(log)
        another = next(each)
        another.tell(resource=wire.resource)
        assert another.hear()["keeper"] != ids["keeper"]
        log.wait("output_off", since=mark)
        # Before anything else was asked of it.
        first = next(e["text"] for e in log.named("message", since=mark))
        assert first == ":ABOR"
