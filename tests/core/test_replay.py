"""A replay: the driver against its own recording, with no instrument; what differs is named."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay import (
    Bay,
    DriverCrashedError,
    DriverError,
    DriverHungError,
    LoadError,
    RunError,
)
from drivebay._core.host import Limits
from drivebay._core.replay import Message, Recording, replay, sources_sha256
from drivebay._core.replay.player import PlayedLink, ReplayClock
from drivebay._core.replay.recording import pairs
from drivebay.sim import Diode, Keithley2400Server

SWEEP = {"start_v": -0.5, "stop_v": 0.8, "points": 60, "compliance_a": 0.01, "nplc": 0.01}
IDN = "ACME,Model 1,7,1.0"
MANIFEST = b"""\
name: teller
version: 1.0.0
author: A. Tester
description: a driver that is replayed
driver_class: driver.Driver
supported_methods: [voltage]
supported_models: ["Model 1"]
"""
HEAD = """\
from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    @method("voltage", columns=[("level_v", "V")])
    def voltage(self, p):
"""

SEED_STYLE = """\
from drivebay import InstrumentDriver
from drivebay.driver import open_link


class Driver(InstrumentDriver):
    def __init__(self, resource_name, config=None):
        self.resource_name = resource_name

    def connect(self):
        self.link = open_link(self.resource_name)
        return True

    def disconnect(self):
        return True

    def reset(self):
        pass

    def get_identity(self):
        words = self.link.query("*IDN?").split(",")
        return dict(zip(("manufacturer", "model", "serial", "firmware"), words))

    def get_capabilities(self):
        return ["voltage"]

    def configure(self, method, params):
        pass

    def measure(self, method, params):
        return {"level_v": [float(self.link.query("VOLT?"))], "grade": "A"}

    def abort(self):
        pass

    def get_status(self):
        return {}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """An I-V sweep of the built-in driver on the simulator."""
    home = tmp_path_factory.mktemp("home")
    with Keithley2400Server(Diode(), time_scale=0) as server, Bay(home=home) as bay:
        smu = bay.open(server.resource)
        run = smu.measure("iv_sweep", **SWEEP)
        transcript = smu.transcript
        files = smu._session.seat.generation.files
    begin = next(at for at, (_, _, data) in enumerate(transcript) if data == b"*CLS\n")
    start_ns = transcript[begin][0]
    return Recording(
        plugin="keithley_2400",
        sources=dict(files.sources),
        sha256=files.sha256,
        messages=[
            Message(at - start_ns, "connect" if place < begin else "measure", way, data)
            for place, (at, way, data) in enumerate(transcript)
        ],
        method=run.method,
        parameters=run.parameters,
        resource=run.resource,
        identity=run.identity,
        idn=run.provenance["idn"],
        columns=run.columns,
        values=run.values,
    )


def told(*messages: str, phase: str = "measure") -> list[Message]:
    """Messages ``> said`` and ``< heard``, a millisecond apart."""
    return [
        Message(at * 1_000_000, phase, "w" if text[0] == ">" else "r", text[2:].encode() + b"\n")
        for at, text in enumerate(messages)
    ]


def teller(body: str, *messages: str, level_v: tuple[float, ...] = (1.0,)) -> Recording:
    """A recording of a small driver, whose method has this body."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    sources = {"driver.py": (HEAD + lines).encode(), "plugin.yaml": MANIFEST}
    return Recording(
        plugin="teller",
        sources=sources,
        sha256=sources_sha256(sources),
        messages=told("> *IDN?", f"< {IDN}", phase="connect") + told(*messages),
        method="voltage",
        parameters={},
        resource="TCPIP::192.0.2.7::5025::SOCKET",
        identity={"model": "Model 1"},
        idn=IDN,
        columns={"level_v": np.array(level_v)},
    )


def edited(recording: Recording, old: bytes, new: bytes) -> Recording:
    """The recording with other code, as if that had measured."""
    source = recording.sources["driver.py"]
    assert source.count(old) == 1
    sources = {**recording.sources, "driver.py": source.replace(old, new)}
    return replace(recording, sources=sources, sha256=sources_sha256(sources))


ASKS_TWICE = """\
yield {"level_v": [float(self.query("VOLT?"))]}
yield {"level_v": [float(self.query("VOLT?"))]}"""


# -- the same code ---------------------------------------------------------------------------------


def test_a_sweep_is_replayed_byte_for_byte_and_point_for_point(swept: Recording) -> None:
    found = replay(swept)

    assert found.identical
    assert (found.traffic, found.points, found.error) == (None, [], None)
    assert found.rows == SWEEP["points"]
    assert found.plugin["stored"] is True
    measured = [(m.direction, m.data) for m in swept.measured]
    assert [(m.direction, m.data) for m in found.replayed if m.phase == "measure"] == measured


def test_a_point_that_was_changed_in_the_record_is_named(swept: Recording) -> None:
    columns = {name: column.copy() for name, column in swept.columns.items()}
    columns["current_a"][17] = np.nextafter(columns["current_a"][17], 1.0)

    found = replay(replace(swept, columns=columns))

    assert found.verdict == "differs"
    assert found.traffic is None
    (only,) = found.points
    assert (only.column, only.rows, only.first_row) == ("current_a", 1, 17)


def test_nothing_waits_in_a_replay() -> None:
    body = """\
import time
began_s = time.monotonic()
time.sleep(3000)
self.sleep(3000)
assert time.monotonic() - began_s >= 6000
yield {"level_v": [float(self.query("VOLT?"))]}"""

    # The host's own limit of silence would end a driver that waits.
    found = replay(teller(body, "> VOLT?", "< 1.0"), timeout_s=60)

    assert found.identical


def test_columns_of_the_host_s_clock_are_told_apart_from_differences() -> None:
    body = """\
import time
began_s = time.monotonic()
self.query("VOLT?")
yield {"level_v": [time.monotonic() - began_s]}"""

    found = replay(teller(body, "> VOLT?", "< 1.0", level_v=(0.123,)))

    assert found.clock_columns == ["level_v"]
    assert found.points == []
    assert found.identical


def test_a_column_that_only_looks_like_a_time_is_compared() -> None:
    found = replay(
        teller(
            'yield {"level_v": [float(self.query("TIME?"))]}', "> TIME?", "< 1.5", level_v=(1.0,)
        )
    )

    assert found.clock_columns == []
    assert [each.column for each in found.points] == ["level_v"]


def test_a_driver_that_asks_ahead_is_replayed() -> None:
    body = """\
self.write("A?")
self.write("B?")
first = float(self.link.read())
self.write("C?")
yield {"level_v": [first, float(self.link.read()), float(self.link.read())]}"""
    messages = ("> A?", "> B?", "< 1", "> C?", "< 2", "< 3")

    found = replay(teller(body, *messages, level_v=(1, 2, 3)))

    assert found.identical


def test_a_question_that_was_never_answered_is_replayed_as_that() -> None:
    body = """\
from drivebay.driver import LinkTimeoutError
try:
    self.link.query("DEAF?", timeout_s=60)
except LinkTimeoutError:
    yield {"level_v": [1.0]}"""

    found = replay(teller(body, "> DEAF?"), timeout_s=30)

    assert found.identical


def test_a_driver_in_the_original_style_is_replayed_through_its_own_connection() -> None:
    sources = {"driver.py": SEED_STYLE.encode(), "plugin.yaml": MANIFEST}
    recording = replace(
        teller("pass", "> VOLT?", "< 1.0"),
        sources=sources,
        sha256=sources_sha256(sources),
        values={"grade": "A"},
    )

    assert replay(recording).identical
    other = replace(recording, messages=[*recording.connected, *told("> VOLT?", "< 2.0")])
    assert [each.column for each in replay(other).points] == ["level_v"]


def test_a_result_that_is_no_column_is_compared_as_well() -> None:
    loose = {"driver.py": SEED_STYLE.encode(), "plugin.yaml": MANIFEST}
    recording = replace(
        teller("pass", "> VOLT?", "< 1.0"),
        sources=loose,
        sha256=sources_sha256(loose),
        values={"grade": "A"},
    )

    assert replay(recording).identical
    assert replay(replace(recording, values={"grade": "B"})).values == ["grade"]
    assert replay(replace(recording, values={})).values == ["grade"]


def test_an_aborted_run_is_replayed_up_to_its_abort() -> None:
    body = 'while True:\n    yield {"level_v": [float(self.query("VOLT?"))]}'
    messages = ("> VOLT?", "< 1.0", "> VOLT?", "< 1.0", "> :ABOR", "> :OUTP OFF")
    recording = replace(
        teller(body, *messages, level_v=(1.0, 1.0)), state="aborted", stopped_ns=3_500_000
    )

    assert replay(recording).identical
    done = replay(replace(recording, state="done", stopped_ns=None), timeout_s=60)
    assert done.verdict != "identical"


def test_a_run_whose_owner_died_is_replayed_as_far_as_it_was_recorded() -> None:
    body = 'for _ in range(3):\n    yield {"level_v": [float(self.query("VOLT?"))]}'
    recording = replace(
        teller(body, "> VOLT?", "< 1.0", "> VOLT?", "< 1.0", level_v=(1.0, 1.0)),
        state="interrupted",
    )

    assert replay(recording).identical
    assert not replay(edited(recording, b"range(3)", b"range(2)")).identical


def test_code_out_of_a_wheel_imports_its_own_stored_files_by_the_package_s_name() -> None:
    recording = teller(
        'from acme_drivers.k1 import level\nyield {"level_v": [level.LEVEL_V]}', level_v=(0.5,)
    )
    sources = {**recording.sources, "level.py": b"LEVEL_V = 0.5\n", "__init__.py": b""}
    recording = replace(recording, sources=sources, sha256=sources_sha256(sources))

    assert replay(replace(recording, alias="acme_drivers.k1")).identical
    assert replay(recording).verdict == "failed"


def test_a_failed_run_is_identical_if_it_fails_the_same_way() -> None:
    recording = replace(
        teller('self.query("VOLT?")\nraise ZeroDivisionError("x")', "> VOLT?", "< 1", level_v=()),
        state="failed",
        reason="DriverError: teller.voltage raised ZeroDivisionError: x",
    )

    assert replay(recording).identical
    other = edited(recording, b'raise ZeroDivisionError("x")', b'yield {"level_v": [1.0]}')
    assert replay(other).verdict == "failed"


# -- other code ------------------------------------------------------------------------------------


def test_one_byte_edited_in_the_driver_is_named_with_its_place_and_line(swept: Recording) -> None:
    found = replay(edited(swept, b'":SENS:AVER OFF"', b'":SENS:AVER OFG"'))

    assert found.verdict == "differs"
    difference = found.traffic
    assert difference is not None
    assert (difference.kind, difference.direction) == ("bytes", "w")
    assert swept.measured[difference.number - 1].data == b":SENS:AVER OFF\n"
    assert (difference.expected, difference.got) == (b":SENS:AVER OFF\n", b":SENS:AVER OFG\n")
    assert difference.offset == len(":SENS:AVER OF")
    assert difference.where[0].startswith("driver.py:")
    # It goes on after that, by its questions, and so the rest can be compared as well.
    assert found.points == []
    assert found.guesses > 0


def test_a_command_that_a_hook_gave_is_named_where_its_base_class_sends_it(
    swept: Recording,
) -> None:
    found = replay(
        edited(swept, b'f":SOUR:LIST:{source.function}', b'f":SOUR:LIST:X{source.function}')
    )

    assert found.traffic is not None
    assert found.traffic.got.startswith(b":SOUR:LIST:X")
    assert found.traffic.where[0].startswith("drivebay/_core/contract/source_meter.py:")


def test_one_question_more_is_named_where_it_is_asked() -> None:
    found = replay(teller(ASKS_TWICE, "> VOLT?", "< 1.0", level_v=(1.0,)))

    assert found.verdict == "differs"
    assert found.traffic is not None
    assert (found.traffic.kind, found.traffic.number) == ("more", 3)
    assert found.traffic.got == b"VOLT?\n"
    (only,) = found.points
    assert (only.first_row, only.recorded, only.replayed) == (1, None, 1.0)


def test_one_question_less_is_named_as_what_was_left_out() -> None:
    one = 'yield {"level_v": [float(self.query("VOLT?"))]}'

    found = replay(teller(one, "> VOLT?", "< 1.0", "> VOLT?", "< 1.0", level_v=(1.0, 1.0)))

    assert found.traffic is not None
    assert (found.traffic.kind, found.traffic.number) == ("less", 3)


def test_an_answer_taken_late_is_a_difference_of_order() -> None:
    body = """\
self.write("A?")
self.write("B?")
yield {"level_v": [float(self.link.read()), float(self.link.read())]}"""

    found = replay(teller(body, "> A?", "< 1", "> B?", "< 2", level_v=(1, 2)))

    assert found.traffic is not None
    assert (found.traffic.kind, found.traffic.number) == ("order", 2)
    assert found.points == []


def test_a_question_the_recording_does_not_hold_is_named_and_fails_at_once() -> None:
    recording = teller('yield {"level_v": [float(self.query("NEW?"))]}', "> VOLT?", "< 1.0")

    found = replay(recording, timeout_s=60)

    assert found.verdict == "failed"
    assert found.unanswered[0] == b"NEW?\n"
    assert "NEW?" in str(found.error)


def test_other_code_is_a_folder_that_somebody_names(swept: Recording, tmp_path: Path) -> None:
    folder = tmp_path / "keithley_2400"
    folder.mkdir()
    for name, data in swept.sources.items():
        (folder / name).write_bytes(data)
    same = replay(swept, folder)
    driver = folder / "driver.py"
    driver.write_bytes(driver.read_bytes().replace(b":SENS:AVER OFF", b":SENS:AVER ON"))

    other = replay(swept, folder)

    assert same.identical
    assert same.plugin["stored"] is False
    assert other.traffic is not None
    assert other.traffic.got == b":SENS:AVER ON\n"


# -- what is not whole -----------------------------------------------------------------------------


def test_a_file_that_is_missing_or_changed_is_refused_before_anything_runs() -> None:
    recording = teller(ASKS_TWICE, "> VOLT?", "< 1")
    without = {"plugin.yaml": recording.sources["plugin.yaml"]}
    changed = {**recording.sources, "driver.py": recording.sources["driver.py"] + b"#"}

    for sources in (without, changed):
        with pytest.raises(RunError, match="missing or was changed"):
            replay(replace(recording, sources=sources))
    with pytest.raises(RunError, match="no code"):
        replay(replace(recording, sources={}))


@pytest.mark.parametrize("name", ["../out.py", "/out.py", "a/../../out.py", "a\\b.py"])
def test_a_stored_file_never_leaves_its_folder(name: str) -> None:
    recording = teller(ASKS_TWICE, "> VOLT?", "< 1")
    sources = {**recording.sources, name: b"raise SystemExit\n"}

    with pytest.raises(RunError, match="leads out"):
        replay(replace(recording, sources=sources, sha256=sources_sha256(sources)))
    with pytest.raises(RunError, match="leads out"):
        replay(replace(recording, plugin=name))


# -- code that means no good -----------------------------------------------------------------------


def test_code_that_ends_its_process_is_a_typed_error_and_this_one_goes_on() -> None:
    found = replay(teller('self.query("VOLT?")\nimport os\nos._exit(3)', "> VOLT?", "< 1"))

    assert found.verdict == "failed"
    assert isinstance(found.error, DriverCrashedError)
    assert found.error.exit_code == 3


def test_code_that_never_ends_is_ended_at_the_limit_of_silence() -> None:
    found = replay(teller("while True:\n    pass"), limits=Limits(hang_s=0.5))

    assert isinstance(found.error, DriverHungError)


def test_code_that_shows_life_for_ever_is_ended_at_the_deadline() -> None:
    body = "while True:\n    self.checkpoint()\nyield {}"

    found = replay(teller(body), timeout_s=1.0)

    assert isinstance(found.error, DriverHungError)
    assert found.error.waited_s == 1.0


def test_code_that_asks_for_ever_is_not_answered_for_ever() -> None:
    found = replay(teller('while True:\n    self.write("X")\nyield {}'), timeout_s=60)

    assert "far more than was recorded" in str(found.error)


def test_code_that_measures_for_ever_is_stopped() -> None:
    body = "while True:\n    yield {'level_v': [1.0] * 50000}"

    found = replay(teller(body), timeout_s=60)

    assert isinstance(found.error, DriverError)
    assert "far more than were recorded" in str(found.error)


def test_code_that_ends_its_process_on_import_is_a_load_error() -> None:
    recording = teller(ASKS_TWICE, "> VOLT?", "< 1")
    sources = {**recording.sources, "driver.py": b"import os\nos._exit(1)\n"}

    with pytest.raises(LoadError):
        replay(replace(recording, sources=sources, sha256=sources_sha256(sources)))


def test_a_replay_leaves_no_thread_and_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recording = teller('yield {"level_v": [float(self.query("VOLT?"))]}', "> VOLT?", "< 1")

    replay(recording)

    assert "drivebay-replay" not in {thread.name for thread in threading.enumerate()}
    assert list(tmp_path.iterdir()) == []


# -- the played link alone -------------------------------------------------------------------------


def speak(link: PlayedLink, messages: list[Message]) -> None:
    """Say what was recorded."""
    for message in messages:
        if message.direction == "w":
            link.write(message.data, end=b"")
        else:
            link.read()


lines = st.lists(
    st.tuples(st.text("ABC:", min_size=1, max_size=8), st.booleans()), min_size=1, max_size=12
)


@given(lines=lines, data=st.data())
def test_a_recorded_message_that_was_changed_is_named_with_its_byte(
    lines: list[tuple[str, bool]], data: st.DataObject
) -> None:
    texts = [t for text, asks in lines for t in ([f"> {text}?", "< 1"] if asks else [f"> {text}"])]
    said = told(*texts)
    place = data.draw(st.sampled_from([at for at, m in enumerate(said) if m.direction == "w"]))
    old = said[place].data
    offset = data.draw(st.integers(0, len(old) - 2))
    byte = data.draw(st.sampled_from([b for b in b"xyz019" if b != old[offset]]))
    changed = old[:offset] + bytes([byte]) + old[offset + 1 :]
    recorded = [*said[:place], said[place]._replace(data=changed), *said[place + 1 :]]
    link = PlayedLink("TCPIP::192.0.2.7::5025::SOCKET", IDN, ReplayClock())
    link.play("measure", recorded, strict=True)

    speak(link, said[: place + 1])

    assert link.difference is not None
    assert (link.difference.number, link.difference.offset) == (place + 1, offset)
    assert (link.difference.expected, link.difference.got) == (changed, old)


@given(lines=lines)
def test_what_is_said_as_recorded_is_no_difference(lines: list[tuple[str, bool]]) -> None:
    texts = [t for text, asks in lines for t in ([f"> {text}?", "< 1"] if asks else [f"> {text}"])]
    link = PlayedLink("TCPIP::192.0.2.7::5025::SOCKET", IDN, ReplayClock())
    link.play("measure", told(*texts), strict=True)

    speak(link, told(*texts))
    link.end()

    assert link.difference is None
    assert not link.left


def test_answers_are_paired_with_the_questions_that_were_answered() -> None:
    ahead = told("> A?", "> B?", "< 1", "> C?", "< 2", "< 3")
    deaf = told("> A?", "> B?", "< 2", "> C?", "< 3")

    assert pairs(ahead) == {0: [2], 1: [4], 3: [5]}
    assert pairs(deaf) == {1: [2], 3: [4]}
