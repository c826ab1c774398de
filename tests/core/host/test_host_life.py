"""When a silent driver is taken to hang, and what of its prints is kept; no processes."""

from __future__ import annotations

from drivebay._core.host.life import Life
from drivebay._core.host.output import LINE_BYTES, RING_BYTES, SECOND_BYTES, Output
from drivebay._core.host.settings import Limits
from drivebay._core.links.pulse import Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waited(idle_s: list[float | None], limits: Limits | None = None, **options: bool) -> float:
    """Seconds after which a wait gave up, when beats say that; None is no beat. 0: it did not."""
    clock = Clock()
    life = Life(limits or Limits(), clock)
    clock.now += life.pause_s
    watch = life.watch(**options)
    for idle in idle_s:
        if idle is not None:
            life.beat(idle)
        clock.now += life.pause_s
        silent = watch.silent_s()
        if silent:
            return silent
    return 0.0


def test_a_driver_that_shows_no_life_for_the_limit_hangs():
    silent = waited([0.25 * n for n in range(60)])

    assert 5.0 < silent < 5.6


def test_a_driver_that_goes_on_is_waited_for():
    assert waited([0.1] * 200) == 0.0


def test_an_excuse_is_believed_and_then_over():
    assert waited([-30.0 + 0.25 * n for n in range(120)]) == 0.0
    assert waited([-1.0 + 0.25 * n for n in range(60)]) > 5.0


def test_an_attendant_that_is_silent_hangs_whatever_was_excused():
    assert waited([-3600.0] + [None] * 60) > 5.0


def test_a_process_that_says_nothing_at_all_hangs():
    assert 5.0 < waited([None] * 60) < 6.5


def test_an_import_has_a_limit_of_its_own():
    assert waited([None] * 70, loading=True) == 0.0
    assert 20.0 < waited([None] * 100, loading=True) < 20.6


def test_time_in_which_we_were_stopped_ourselves_is_not_held_against_it():
    clock = Clock()
    life = Life(Limits(), clock)
    watch = life.watch()
    clock.now += 3600.0

    assert watch.silent_s() == 0.0


def test_control_without_that_rule_it_would_have_hung():
    clock = Clock()
    life = Life(Limits(), clock)
    watch = life.watch()
    for _ in range(30):
        clock.now += life.pause_s
        silent = watch.silent_s()

    assert silent > 5.0


def test_a_sign_of_life_ends_an_excuse():
    clock = Clock()
    pulse = Pulse(clock)
    pulse.excuse(60.0)
    pulse.tick()
    clock.now += 2.0

    assert pulse.idle_s() == 2.0


# -- output ----------------------------------------------------------------------------------------


def test_lines_are_whole_whatever_pieces_they_come_in():
    lines: list[str] = []
    output = Output(lines.append, Clock())

    for piece in (b"a", b"b\nc\r\n", b"\n", b"\xffd"):
        output.add(piece)
    output.finish()

    assert lines == ["ab", "c", "", "\\xffd"]


def test_a_line_without_end_is_cut():
    lines: list[str] = []
    output = Output(lines.append, Clock())

    output.add(b"x" * (2 * LINE_BYTES + 1))

    assert [len(line) for line in lines] == [LINE_BYTES, LINE_BYTES]


def test_only_the_last_is_kept_and_the_rest_is_counted():
    output = Output(lambda line: None, Clock())

    for _ in range(40):
        output.add(b"y" * 65_536)

    assert len(output.text) == RING_BYTES
    assert output.dropped_bytes == 40 * 65_536 - RING_BYTES


def test_a_flood_is_told_once_a_second_with_its_count():
    lines: list[str] = []
    clock = Clock()
    output = Output(lines.append, clock)
    line = b"z" * 1023 + b"\n"

    output.add(line * (SECOND_BYTES // 1024 + 7))
    clock.now += 1.0
    output.add(b"again\n")

    assert lines[-2:] == ["(7 lines left out: more than 1 MiB in a second)", "again"]
    assert len(lines) == SECOND_BYTES // 1024 + 2
