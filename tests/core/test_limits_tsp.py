"""Limits in TSP: whatever a program is spelled like, what passes is run and passes no limit.

The programs that get past the guard are run by the interpreter of the simulated 2600B, on tables
that note every level, limit and output that is set: what the guard says of a program is held
against what the program does.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import drivebay
from drivebay import LimitError, PluginMetadata
from drivebay._core.limits import Guard
from drivebay.sim.keithley2600.interpreter import Indexed, Interpreter, LuaError, Table
from drivebay.sim.keithley2600.syntax import LuaSyntaxError

FOLDER = Path(drivebay.__file__).parent / "drivers" / "keithley_2600"
DIALECT = PluginMetadata.from_yaml(FOLDER / "plugin.yaml").dialect
HIGHEST = {"v": 10.0, "i": 0.1}
LIMITS = {"voltage_v": (-10.0, 10.0), "current_a": (-0.1, 0.1)}
PROTECTED = [
    f"{smu}.source.{each}"
    for smu in ("smua", "smub")
    for each in ("levelv = 0", "leveli = 0", "limitv = 5", "limiti = 0.01")
]


class Noted(Indexed):
    """A table of the instrument that takes everything, and notes what matters."""

    def __init__(self, path: str, notes: list[tuple[str, Any]]) -> None:
        self.path = path
        self._notes = notes
        self._fields: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        if key in {"OUTPUT_OFF", "OUTPUT_ON"}:
            return float(key == "OUTPUT_ON")
        if key in {"listv", "listi"}:
            return lambda values: self._listed(key, values)
        if key in {"reset", "abort"}:
            return lambda: self._notes.append((f"{self.path}.source.output", 0.0))
        return self._fields.setdefault(key, Noted(f"{self.path}.{key}", self._notes))

    def set(self, key: Any, value: Any) -> None:
        self._fields[key] = value
        self._notes.append((f"{self.path}.{key}", value))

    def _listed(self, key: str, values: Any) -> None:
        if isinstance(values, Table):
            self._notes += [(f"{self.path}.{key}", each) for each in values.values()]


class Machine:
    """What a program does, as the instrument would see it."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []
        names: dict[str, Any] = {smu: Noted(smu, self.notes) for smu in ("smua", "smub")}
        names |= {"loadstring": self._loaded, "print": lambda *_: None}
        self._turns = 0
        self._interpreter = Interpreter(names, self._turn)

    def run(self, program: str) -> None:
        self._turns = 0
        # The instrument refuses it; what ran before that is noted.
        with suppress(LuaError, LuaSyntaxError, TypeError, ValueError):
            self._interpreter.run(program)

    @property
    def beyond(self) -> list[tuple[str, Any]]:
        """What was set beyond its limit, either way."""
        found = []
        for path, value in self.notes:
            name = path.rpartition(".")[2]
            counts = name[:-1] in {"level", "limit", "list"} and isinstance(value, float)
            if counts and abs(value) > HIGHEST[name[-1]]:
                found.append((path, value))
        return found

    @property
    def on(self) -> set[str]:
        """The channels whose output is on."""
        state = {
            path: value
            for path, value in self.notes
            if path in {"smua.source.output", "smub.source.output"}
        }
        return {"2" if "smub" in path else "1" for path, value in state.items() if value == 1.0}

    def _loaded(self, text: Any) -> Any:
        return lambda: self._interpreter.run(str(text))

    def _turn(self) -> None:
        self._turns += 1
        if self._turns > 300:
            raise LuaError("enough")


def guard(*, strict: bool, **channels: Any) -> Guard:
    return Guard(DIALECT, LIMITS, channels=channels, strict=strict, subject="smu", source="bench")


def code_of(judge: Guard, program: str) -> str:
    try:
        judge.committed(judge.check(program.encode("latin-1")))
    except LimitError as refused:
        return refused.code
    return ""


# -- one by one ------------------------------------------------------------------------------------

DISGUISES = [
    ("smua.source.levelv = 2e2", "L001"),
    ("smua.source.levelv=20e1", "L001"),
    ("smua .source. levelv = 200", "L001"),
    ("\tsmua.source.levelv\t=\t200\r\n", "L001"),
    ("smua.source.levelv = -200", "L001"),
    ("smua.source.levelv = 00200", "L001"),
    ("smua.source.levelv = 200.", "L001"),
    ("smua.trigger.source.listv({1, 2, 2e2})", "L001"),
    ("smub.trigger.source.listi({0.01,0.2})", "L001"),
    ("smua.source.limiti = 3", "L001"),
    ("smua.source.levelv = 0xC8", "L007"),
    ("smua.source.levelv = 100 + 100", "L007"),
    ("smua.source.levelv = 2 * 100", "L007"),
    ("smua.source.levelv = 10 ^ 2.3", "L007"),
    ("smua.source.levelv = -(-200)", "L007"),
    ('smua.source.levelv = "200"', "L007"),
    ("smua.source.levelv = tonumber('200')", "L007"),
    ("smua.source.levelv = 2 .. 00", "L007"),
    ("smua.source.levelv = math.abs(-200)", "L007"),
    ("smua.source.levelv = smua.source.rangev", "L007"),
    ("local s = smua s.source.levelv = 200", "L007"),
    ("local s = smua", "L007"),
    ("s = smua.source", "L007"),
    ("s.levelv = 200", "L007"),
    ('smua["source"].levelv = 200', "L007"),
    ("smua['source']['levelv'] = 200", "L007"),
    ('smua.source["level" .. "v"] = 200', "L007"),
    ('_G["smua"].source.levelv = 200', "L007"),
    ('loadstring("smua.source.levelv = 200")()', "L007"),
    ("dostring('smua.source.levelv = 200')", "L007"),
    ("setup.recall(1)", "L007"),
    ("script.run('mine')", "L007"),
    ("KISweep.SweepVLinMeasureI(smua, 0, 200, 0.1, 10)", "L007"),
    ("SweepVLinMeasureI(smua, 0, 200, 0.1, 10)", "L007"),
    ("smua.source.levelv = 1 smua.source.levelv = 200", "L007"),
    ("smua.source.levelv = 1; smua.source.levelv = 200", "L007"),
    ("smua.source.levelv = 1 -- 5 V", "L007"),
    ("smua.source.levelv = --[[ 1 ]] 200", "L007"),
    ("--[[ ]] smua.source.levelv = 200", "L007"),
    ("-- nothing\nsmua.source.levelv = 200", "L007"),
    ("smua.source.levelv = 1\nsmua.source.levelv = 200", "L007"),
    ("smua.source.levelv = 1\rsmua.source.levelv = 200", "L007"),
    ("smua.source.levelv, x = 200, 1", "L007"),
    ("do smua.source.levelv = 200 end", "L007"),
    ("if true then smua.source.levelv = 200 end", "L007"),
    ("for v = 1, 200 do smua.source.levelv = v end", "L007"),
    ("function f() smua.source.levelv = 200 end", "L007"),
    ("f()", "L007"),
    ("loadandrunscript", "L007"),
    ("endscript", "L007"),
    ("smua.trigger.source.linearv(0, 200, 11)", "L007"),
    ("smua.trigger.source.logv(1, 200, 11, 0)", "L007"),
    ("smua.trigger.source.listv{1, 200}", "L007"),
    ("smua.trigger.source.listv({1, 200 + 0})", "L007"),
    ("smua.trigger.source.limiti = 3", "L007"),
    ("smua.source.limitp = 0", "L007"),
    ("node[1].smua.source.levelv = 200", "L007"),
    ("smua.source.output = true", "L007"),
    ("*RCL 1", "L007"),
    ("*TRG", "L007"),
    ("smua.source.levelv = 1\x0bsmua.source.levelv = 200", "L006"),
    ("smua.source.levelv = 1\x00", "L006"),
    ("smua.source.levelv = \xb2", "L006"),
    ("smua.source.levelv = 1\xa0", "L006"),
]


@pytest.mark.parametrize(("program", "code"), DISGUISES)
def test_200_volts_over_a_limit_of_10_are_refused_in_any_disguise(program, code):
    assert code_of(guard(strict=True), program) == code


@pytest.mark.parametrize(
    "program",
    [
        "smua.source.levelv = 9.5",
        "smub . source . levelv=-10",
        "smua.source.leveli = 1e-3\n",
        "smua.trigger.source.listv({ 0, -1.5 , 10 })",
        "smua.source.limiti = 0.1",
        "smub.measure.nplc = 0.01",
        "delay(0.5)",
        "smua.reset()",
        "smub.source.output = smub.OUTPUT_OFF",
        "print(smub.measure.iv())",
        "*IDN?",
    ],
)
def test_control_what_is_plain_or_listed_passes(program):
    assert code_of(guard(strict=True), program) == ""


def test_a_channel_without_limits_is_no_way_around_them():
    own = {"2": {"voltage_v": (-10.0, 10.0)}}
    judge = Guard(DIALECT, {}, channels=own, strict=True, subject="smu", source="bench")

    assert code_of(judge, "smub.source.levelv = 200") == "L001"
    assert code_of(judge, "s = smub") == "L007"
    assert code_of(judge, "smua.source.levelv = 200") == ""


# -- protections that the instrument did not take --------------------------------------------------

NO_ERROR = 'print(string.format("%d,%s", errorqueue.next()))'
LIMIT = ("smua.source.limiti", "1")


def ready() -> Guard:
    judge = guard(strict=True)
    for program in ("*CLS", *PROTECTED):
        assert code_of(judge, program) == ""
    return judge


def unproven(judge: Guard) -> set[tuple[str, str]]:
    return set(judge.check(b"smua.source.output = 1").unproven)


def test_limits_are_asked_back_before_an_output_goes_on():
    judge = ready()

    assert unproven(judge) == {LIMIT, ("smua.source.limitv", "1")}
    assert judge.proofs.question(LIMIT) == "print(smua.source.limiti)"
    judge.prove(LIMIT, "1.00000e-02")
    assert unproven(judge) == {("smua.source.limitv", "1")}


@pytest.mark.parametrize("answer", ["1.00000e+00", "nil", ""])
def test_a_limit_that_was_not_taken_is_none(answer):
    judge = ready()

    with pytest.raises(LimitError, match="was not taken") as refused:
        judge.prove(LIMIT, answer)

    assert refused.value.code == "L008"
    assert LIMIT in unproven(judge)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (NO_ERROR, "0,Queue Is Empty"),
        ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"),
        ("print(errorqueue.count)", "0.00000e+00"),
    ],
)
def test_an_empty_error_queue_says_that_they_were_taken(question, answer):
    judge = ready()

    judge.heard(question, answer, judge.proofs.pending)

    assert unproven(judge) == set()


def test_a_driver_that_reads_its_limit_back_has_proved_it():
    judge = ready()

    judge.heard("print(smua.source.limiti)", "1.00000e-02", judge.proofs.pending)

    assert unproven(judge) == {("smua.source.limitv", "1")}


@pytest.mark.parametrize("cleared", ["*CLS", "errorqueue.clear()"])
def test_an_error_queue_that_was_emptied_says_nothing(cleared):
    judge = ready()
    assert code_of(judge, cleared) == ""

    judge.heard(NO_ERROR, "0,Queue Is Empty", judge.proofs.pending)

    assert LIMIT in unproven(judge)


# -- where only ranges limit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("smua.source.levelv = 200", "L001"),
        ("x = 1 smua.source.levelv = 200 y = 2", "L001"),
        ("loadandrunscript\nfor k = 1, 3 do\n smua.source.levelv =\n 200 end\nendscript", "L001"),
        ("print(1) smua.trigger.source.listv({1, 200})", "L001"),
        ("smua.source.levelv = x", "L002"),
        ("smua.source.levelv = 2 * 100", "L002"),
        ("smua.source.levelv = 0xC8", "L002"),
        ("smua.source.levelv = 200 -- V", "L001"),
    ],
)
def test_ranges_hold_within_a_program_too(program, code):
    assert code_of(guard(strict=False), program) == code


@pytest.mark.parametrize(
    "program",
    [
        "smua.source.levelv = 5 -- V",
        "if smua.source.levelv == 200 then x = 1 end",
        "for v = 1, 5 do smua.source.levelv = v end",
        "loadandrunscript\nsmua.source.levelv = v\nendscript",
        "s = smua.source",
        "s.levelv = v",
    ],
)
def test_control_programs_pass_where_only_ranges_limit(program):
    assert code_of(guard(strict=False), program) == ""


@pytest.mark.parametrize(
    "program",
    [
        "s.output = 1",
        "s['output'] = 1",
        'smub["source"]["out" .. "put"] = 1',
        "f()",
        "f{1}",
        "f'x'",
        "endscript",
        "x = 5\nendscript",
        "script.run()",
        'loadstring("x")()',
        "smua.source.output = true",
        "x = f()",
        "if y then f() end",
        "*RCL 1",
        "*TRG",
        "print(f())",
    ],
)
def test_a_program_that_cannot_be_followed_may_have_switched_every_channel_on(program):
    judge = guard(strict=False)

    assert code_of(judge, program) == ""

    assert judge.energised_channels == {"1", "2"}


def test_control_reading_and_plain_assignments_switch_nothing_on():
    judge = guard(strict=False)
    for program in (
        "x = 5", "s = smua", "smua.source.rangev = 2", "*ESE 1", "*SRE 32", "*OPC?", "print(x)",
        "print(smua.measure.i())", "smua.nvbuffer1.clear()", "",
    ):  # fmt: skip
        assert code_of(judge, program) == ""

    assert not judge.energised


# -- all at once -----------------------------------------------------------------------------------

NUMBERS = st.sampled_from(
    ["1", "200", "2e2", "0.05", "-200", "0xC8", "20 0", "2 .5", "1e3", "v", "(200)", "2 * 100",
     "'200'", "smua.source.levelv", "- 200", "+200", "--200"]
)  # fmt: skip
CHANNELS = st.sampled_from(
    ["smua", "smub", "s", "smua ", 'node["x"]', "(smua)", "smua.source", "f"]
)
NAMES = st.sampled_from(["levelv", "leveli", "limitv", "limiti", "output", "rangev"])
SPELLED = st.sampled_from([".source.{}", "['source'].{}", ".source['{}']", " . source . {}", ".{}"])


@st.composite
def statements(draw: st.DrawFn) -> str:
    target = draw(CHANNELS) + draw(SPELLED).format(draw(NAMES))
    number = draw(NUMBERS)
    form = draw(
        st.sampled_from(
            ["{t} = {n}", "{t}={n}", "s = {c}", "s = {c}.source", "v = {n}", "local s = {c}",
             "{c}.trigger.source.listv({{1, {n}}})", "{c}.trigger.source.listi({{{n}}})",
             "function f() {t} = {n} end", "f()", "f{{}}", "loadstring('{c}.source.levelv={n}')()",
             "if true then {t} = {n} end", "for k = 1, 2 do {t} = {n} end", "{t}, v = {n}, {n}",
             "do {t} = {n} end", "print({t})", "print(f())", "{c}.reset()", "-- {t} = {n}",
             "{t} = 1 -- {n}", "smua.source.output = 1", "smub.source.output = smub.OUTPUT_ON"]
        )
    )  # fmt: skip
    return str(form.format(t=target, n=number, c=draw(CHANNELS)))


PROGRAMS = st.lists(
    st.tuples(statements(), st.sampled_from(["", "\n", " ", "; ", "--", "\r\n", "\x0b"])),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(text + joint for text, joint in parts))


@given(st.lists(PROGRAMS, min_size=1, max_size=6))
@example(["s = smua.source", "s.levelv = 200"])
@example(["function f() smua.source.levelv = 200 end", "f()"])
@example(["smua.source.levelv = 1\x0bsmua.source.levelv = 200"])
def test_no_program_that_a_limited_instrument_takes_passes_a_limit(programs):
    judge, machine = guard(strict=True), Machine()
    for program in [*PROTECTED, *programs]:
        if not code_of(judge, program):
            machine.run(program)

    assert machine.beyond == []
    assert machine.on <= judge.energised_channels


@given(st.lists(PROGRAMS, min_size=1, max_size=6))
@example(["s = smub.source", "s.output = 1", "smua.source.output = 0"])
@example(["function f() smub.source.output = 1 end", "smub.source.output = 0", "f()"])
def test_no_output_that_a_program_switches_on_goes_unseen(programs):
    judge, machine = guard(strict=False), Machine()
    for program in programs:
        if not code_of(judge, program):
            machine.run(program)

    assert machine.on <= judge.energised_channels


def test_control_the_machine_sees_what_a_program_does():
    machine = Machine()
    machine.run("s = smua s['source'].levelv = 200")
    machine.run("loadstring('smub.trigger.source.listi({0.01, 2})')()")
    machine.run("smub.source.output = smub.OUTPUT_ON")

    assert machine.beyond == [("smua.source.levelv", 200.0), ("smub.trigger.source.listi", 2.0)]
    assert machine.on == {"2"}
