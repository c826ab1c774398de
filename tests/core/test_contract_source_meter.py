"""``SourceMeter``: what is sent in which order, what is handed out, what a class leaves out."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from drivebay._core.errors import (
    AbortedError,
    InstrumentError,
    LinkError,
    MethodError,
    PluginStateError,
)
from drivebay._core.links import Link
from drivebay.driver import Asked, Readings, Run, Source, SourceMeter, Timeline, method

SWEEP = {"start_v": 0.0, "stop_v": 2.9, "points": 30, "compliance_a": 0.01}


class Smu(SourceMeter):
    """An instrument of six commands."""

    output_query = ":OUTP?"
    most_levels = 10
    most_readings = 2

    def setup_commands(self, source: Source, *, listed: bool) -> Sequence[str]:
        return [f"SOURCE {source.function}", f"LIMIT {source.compliance!r}"]

    def limit_query(self, source: Source) -> str:
        return "LIMIT?"

    def level_command(self, source: Source, level: float) -> str:
        return f"LEVEL {level!r}"

    def list_run(self, source: Source, levels: Any) -> Sequence[str]:
        return [f"LIST {source.function} {','.join(map(repr, levels.tolist()))}", "READ?"]

    def timed_run(self, source: Source, rows: int, interval_s: float) -> Sequence[str]:
        return [f"GROUP {rows}", "READ?"]

    def decoded(self, source: Source, numbers: Any) -> Readings:
        volt, amp, seconds, word = numbers
        return Readings(volt, amp, seconds, word == 1, word == 2)


class Answer:
    """What a driver may return that waits in a way of its own."""

    def __init__(self, smu: SourceMeter, rows: int) -> None:
        self.smu, self.rows = smu, rows
        self.found: Any = None

    def wait(self) -> None:
        if self.found is None:
            self.smu.query("LIMIT?")
            self.found = self.smu.query_numbers("READ?", 4, self.rows)

    def numbers(self) -> Any:
        self.wait()
        return self.found


class ScriptedLink:
    """Answers as an instrument with a resistor of 1 kohm (plus ``offset_v``) would."""

    def __init__(self, offset_v: float = 0.0) -> None:
        self.resource, self.interface = "TCPIP::fake::1::SOCKET", "socket"
        self.supports_binary, self.timeout_s, self.closed = False, 1.0, False
        self.offset_v = offset_v
        self.sent: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.limit, self.word, self.now_s = "0", 0, 0.0
        self.function, self.levels = "VOLT", [0.0]

    def write(self, command: str, *, timeout_s: float | None = None) -> None:
        self.sent.append(command)
        if command in self.trouble:
            raise self.trouble[command]
        head, _, tail = command.partition(" ")
        if head == "LIMIT":
            self.limit = tail
        elif head == "SOURCE":
            self.function, self.levels = tail, [0.0]
        elif head == "LEVEL":
            self.levels = [float(tail)]
        elif head == "LIST":
            self.levels = [float(word) for word in tail.split(" ")[1].split(",")]
        elif head == "GROUP":
            self.levels = self.levels[-1:] * int(tail)

    write_each = Link.write_each
    try_ask = Link.try_ask

    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        self.sent.append(command)
        return {":SYST:ERR?": '0,""', "LIMIT?": self.limit, ":OUTP?": "0"}[command]

    def read(self, *, timeout_s: float | None = None) -> str:
        self.sent.append("(answer)")
        numbers: list[float] = []
        for level in self.levels:
            self.now_s += 0.01
            volt = level if self.function == "VOLT" else 1000 * level + self.offset_v
            amp = level if self.function == "CURR" else level / 1000
            numbers += [volt, amp, self.now_s, self.word]
        return ",".join(map(repr, numbers))

    def interrupt(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def opened(link: ScriptedLink, cls: type[SourceMeter] = Smu) -> SourceMeter:
    smu = cls(link.resource)
    smu.use_link(link)  # type: ignore[arg-type]
    return smu


def test_all_is_set_and_the_limit_read_back_before_the_output_goes_on():
    link = ScriptedLink()

    opened(link).measure("iv_sweep", SWEEP)

    assert link.sent[:6] == [
        "*CLS",
        "SOURCE VOLT",
        "LIMIT 0.01",
        ":SYST:ERR?",
        "LIMIT?",
        ":OUTP ON",
    ]
    assert link.sent[-3:] == [":OUTP OFF", ":OUTP?", ":SYST:ERR?"]


def test_a_limit_that_was_not_taken_keeps_the_output_off():
    class Deaf(ScriptedLink):
        def query(self, command: str, *, timeout_s: float | None = None) -> str:
            return "0.02" if command == "LIMIT?" else super().query(command)

    link = Deaf()

    with pytest.raises(InstrumentError, match=r"compliance 0\.02 A after 0\.01 A"):
        opened(link).measure("iv_sweep", SWEEP)

    assert ":OUTP ON" not in link.sent


def test_a_piece_is_handed_out_while_the_next_one_runs():
    link = ScriptedLink()
    chunks = opened(link).stream("iv_sweep", SWEEP)

    first = next(chunks)

    assert len(first["voltage_v"]) == 10
    assert link.sent.count("READ?") == 2
    assert link.sent.count("(answer)") == 1
    assert link.sent[-1] == "READ?"
    rest = list(chunks)
    levels = np.concatenate([chunk["voltage_v"] for chunk in [first, *rest]])
    assert levels == pytest.approx(np.linspace(0, 2.9, 30))


def test_the_answer_of_a_piece_is_there_before_the_next_one_is_begun():
    link = ScriptedLink()

    opened(link).measure("iv_sweep", SWEEP)

    exchanges = [text for text in link.sent if text in {"READ?", "(answer)"}]
    assert exchanges == ["READ?", "(answer)"] * 3


def test_a_driver_may_wait_in_its_own_way_and_still_hands_out_while_the_next_one_runs():
    class Polled(Smu):
        def begin(self, source: Source, run: Run) -> Asked:
            self.write(*run.messages[:-1])
            return Answer(self, run.rows)

    link = ScriptedLink()
    chunks = opened(link, Polled).stream("iv_sweep", SWEEP)

    first = next(chunks)

    assert len(first["voltage_v"]) == 10
    assert link.sent[-1].startswith("LIST VOLT 1.0,")
    assert sum(len(chunk["voltage_v"]) for chunk in chunks) == 20


def test_a_group_that_is_far_off_is_not_waited_for():
    link = ScriptedLink()
    monitor = {"level_v": 1, "compliance_a": 0.01, "duration_s": 3600, "interval_s": 600}
    chunks = opened(link).stream("iv_monitor", monitor)

    first = next(chunks)

    assert first["voltage_v"].tolist() == [1.0]
    assert link.sent[-1] == "(answer)"
    chunks.close()
    assert ":OUTP OFF" in link.sent


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("iv_sweep", SWEEP),
        ("dc_voltage", {"readings": 4}),
        ("resistance", {"readings": 100}),
    ],
)
def test_what_goes_wrong_while_switching_off_is_told_with_the_error_that_was_first(name, params):
    class Buggy(Smu):
        def decoded(self, source: Source, numbers: Any) -> Readings:
            if len(link.sent) > 12:
                raise ValueError("no such word")
            return super().decoded(source, numbers)

    link = ScriptedLink()
    link.trouble[":OUTP OFF"] = LinkError("gone", resource=link.resource)

    with pytest.raises(ValueError, match="no such word") as caught:
        opened(link, Buggy).measure(name, params)

    assert any("while switching off" in note for note in caught.value.__notes__)


def test_an_abort_between_two_chunks_of_a_meter_reaches_the_output_itself():
    link = ScriptedLink()
    smu = opened(link)
    chunks = smu.stream("dc_voltage", {"readings": 50})
    next(chunks)
    link.trouble[":OUTP OFF"] = LinkError("gone", resource=link.resource)

    with pytest.raises(LinkError):
        smu.abort()
    with pytest.raises(AbortedError) as caught:
        list(chunks)

    assert any("while switching off" in note for note in caught.value.__notes__)


def test_a_meter_tells_which_readings_are_none():
    link = ScriptedLink()
    link.word = 2

    data = opened(link).measure("dc_current", {"readings": 3})

    assert data["overload"].tolist() == [True] * 3


def test_a_resistance_is_a_ratio_and_the_zero_beside_it_takes_an_offset_out():
    params = {"readings": 2, "range_ohm": 1000.0}
    smu = opened(ScriptedLink(offset_v=0.5))

    plain = smu.measure("resistance", params)
    clean = smu.measure("resistance", params | {"offset_compensation": True})

    assert plain["resistance_ohm"] == pytest.approx([1500, 1500])
    assert clean["resistance_ohm"] == pytest.approx([1000, 1000])
    assert len(clean["time_s"]) == 2


def test_limits_as_a_meter_stay_within_what_the_bench_allows():
    link = ScriptedLink()
    smu = opened(link)
    smu.ranges = {"voltage_v": (-5.0, 5.0)}

    smu.measure("dc_voltage", {})

    assert "LIMIT 5.0" in link.sent


def test_steps_go_where_they_are_told_and_nowhere_without_a_beginning():
    link = ScriptedLink()
    smu = opened(link)

    with pytest.raises(PluginStateError):
        smu.step_to(1.0)
    smu.begin_steps({"top_v": 2.0, "compliance_a": 0.01})
    smu.step_to(2.0)
    found = smu.step_read()
    smu.end_steps()

    assert found == {"voltage_v": 2.0, "current_a": 0.002, "in_compliance": False}
    assert link.sent.index(":OUTP ON") < link.sent.index("LEVEL 2.0") < link.sent.index(":OUTP OFF")
    with pytest.raises(PluginStateError):
        smu.step_read()


# -- what a class leaves out ----------------------------------------------------------------------


def test_what_is_left_out_is_declared_nowhere_and_not_measured():
    class Plain(Smu):
        leaves_out = ("resistance", "dc_current")

    assert set(Smu.supported_methods()) - set(Plain.supported_methods()) == set(Plain.leaves_out)
    assert "resistance" not in Plain.method_specs()
    with pytest.raises(MethodError):
        opened(ScriptedLink(), Plain).measure("resistance", {})


def test_a_subclass_may_have_again_what_its_base_left_out():
    class Plain(Smu):
        leaves_out = ("resistance",)

    class Better(Plain):
        @method("resistance")
        def own_resistance(self, p: Any) -> dict[str, Any]:
            return {"resistance_ohm": [50.0], "time_s": [0.0], "overload": [False]}

    assert opened(ScriptedLink(), Better).measure("resistance", {})["resistance_ohm"] == [50.0]


def test_a_class_that_is_not_used_any_more_goes_although_its_methods_were_remembered():
    gone = weakref.ref(type("Passing", (Smu,), {"leaves_out": ("resistance",)}))

    gc.collect()

    assert gone() is None


def test_to_leave_out_what_is_not_there_is_a_slip():
    with pytest.raises(TypeError, match=r"leaves out 'resistence'.*resistance"):
        type("Slip", (Smu,), {"leaves_out": ("resistence",)})


# -- time stamps ----------------------------------------------------------------------------------


def test_stamps_that_go_on_are_left_as_they_are():
    clock = Timeline()

    found = [*clock.rising(np.array([0.1, 0.2])), *clock.rising(np.array([0.3, 0.4]))]

    assert found == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("stamps", [[0.0, 0.1], [0.1, 0.2], [0.05, 0.0]])
def test_stamps_that_start_again_still_rise(stamps):
    clock = Timeline()
    first = clock.rising(np.array([5.0, 6.0]))

    second = clock.rising(np.array(stamps))
    third = clock.rising(np.array(stamps))

    assert np.all(np.diff(np.concatenate([first, second, third])) > 0)
