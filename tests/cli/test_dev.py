"""``drivebay dev``: what an author sees at each save, on an instrument that stays open."""

from __future__ import annotations

import json
import os
import signal

import pytest

from drivebay import Bay
from drivebay.cli import failures
from drivebay.cli.traffic import commands_of, differences, lines_of

SOURCE = """\
from drivebay.driver import ScpiDriver, method


class Driver(ScpiDriver):
    @method("levels")
    def levels(self, params):
        self.write("*RST", ":SENS:CURR:NPLC 1")
        with self.output(on=":OUTP ON", off=":OUTP OFF"):
            for step in range(int(params.get("points", 3))):
                self.write(f":SOUR:VOLT {0.1 * step:g}")
                yield {"level_v": [0.1 * step]}
"""


@pytest.fixture
def plugin(tmp_path, write_plugin):
    """A plugin folder that an author works on, outside every place where plugins are looked for."""
    return write_plugin(
        tmp_path,
        "mine",
        driver_source=SOURCE,
        supported_methods=["levels"],
        supported_models=["2400"],
        safe_state={"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
    )


@pytest.fixture
def dev(start, bench, plugin):
    """The loop as a program of its own; ``dev.until("waiting")`` reads what it tells."""

    class Running:
        def __init__(self, *words):
            words = words or ("--once",)
            self.program = start("dev", str(plugin), "--on", bench.resource, "--json", *words)

        def until(self, event):
            told = []
            for line in self.program.stdout:
                told.append(json.loads(line))
                if told[-1].get("event") == event:
                    return told
            raise AssertionError(f"no {event}: {told} {self.program.stderr.read()}")

        def end(self):
            out, _ = self.program.communicate(timeout=60)
            return [json.loads(line) for line in out.splitlines()], self.program.returncode

    return Running


def save(plugin, text):
    beside = plugin / "driver.py~"
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, plugin / "driver.py")


def by_event(told):
    return {each["event"]: each for each in told}


@pytest.mark.slow
def test_a_save_takes_over_the_open_instrument_and_shows_what_is_sent_differently(
    dev, plugin, bench
):
    loop = dev()
    opened = loop.until("waiting")
    first = by_event(opened)
    connections = len(bench.log.named("connection_opened"))

    text = SOURCE.replace("NPLC 1", "NPLC 10").replace('"*RST", ', '"*CLS", ')
    save(plugin, text)
    rest, code = loop.end()

    then = by_event(rest)
    assert code == failures.OK
    assert [each["event"] for each in opened] == ["open", "run", "waiting"]
    assert [each["event"] for each in rest] == ["reload", "run"]
    assert first["run"]["rows"] == then["run"]["rows"] == 3
    assert then["reload"]["generation"] == first["open"]["generation"] + 1
    assert then["reload"]["host_pid"] != first["open"]["host_pid"]
    assert then["reload"]["keeper_pid"] == first["open"]["keeper_pid"]
    assert then["reload"]["reconnects"] == 0
    assert len(bench.log.named("connection_opened")) == connections
    assert then["run"]["differences"] == [
        {"mark": "-", "before": "*RST", "now": ""},
        {"mark": "+", "before": "", "now": "*CLS"},
        {"mark": "~", "before": ":SENS:CURR:NPLC 1", "now": ":SENS:CURR:NPLC 10"},
    ]
    with Bay() as bay:
        assert bay.runs.open(then["run"]["run"]).state == "done"


@pytest.mark.slow
def test_a_save_that_does_not_load_is_told_with_the_plugin_s_own_lines(dev, plugin):
    loop = dev()
    loop.until("waiting")

    save(plugin, SOURCE + "\n\nNOTHING = 1 / 0\n")
    rest, code = loop.end()

    (broken,) = rest
    assert code == failures.PLUGIN
    assert broken["event"] == "broken"
    assert broken["degraded"] is True
    assert broken["traceback"][0] == "driver.py:14 in <module>"
    assert broken["traceback"][-1].startswith("ZeroDivisionError")
    assert not any("site-packages" in line or "_core" in line for line in broken["traceback"])


@pytest.mark.slow
def test_code_that_loads_and_cannot_take_over_is_told_and_the_older_goes_on(dev, plugin):
    loop = dev("--set", "points=2")
    first = by_event(loop.until("waiting"))

    save(plugin, SOURCE + "\n    def connect(self):\n        raise OSError('no cable')\n")
    broken = by_event(loop.until("waiting"))["broken"]
    save(plugin, SOURCE.replace("NPLC 1", "NPLC 2"))
    while "run" not in (mended := by_event(loop.until("waiting"))):
        pass
    loop.program.send_signal(signal.SIGTERM)
    _, code = loop.end()

    assert "OSError: no cable (driver.py:14 in connect)" in broken["message"]
    assert broken["sha256"] == first["open"]["sha256"]
    assert broken["degraded"] is True
    assert mended["reload"]["keeper_pid"] == first["open"]["keeper_pid"]
    assert [each["now"] for each in mended["run"]["differences"]] == [":SENS:CURR:NPLC 2"]
    assert code == failures.OK


@pytest.mark.slow
def test_code_that_loads_and_fails_is_told_and_the_loop_goes_on(dev, plugin):
    loop = dev("--set", "points=2")
    loop.until("waiting")

    save(plugin, SOURCE.replace("yield", "1 / 0; yield"))
    failed = by_event(loop.until("waiting"))["failed"]
    save(plugin, SOURCE)
    mended = by_event(loop.until("waiting"))["run"]
    loop.program.send_signal(signal.SIGINT)
    _, code = loop.end()

    assert failed["error"]["type"] == "DriverError"
    assert failed["traceback"][0] == "driver.py:11 in levels"
    assert (mended["rows"], mended["differences"]) == (2, [])
    assert code == failures.OK


@pytest.mark.slow
def test_sigterm_in_a_run_aborts_it_with_the_output_off(dev, plugin, bench):
    loop = dev("levels", "--set", "points=1000000")
    loop.until("open")
    bench.log.wait_for("level", count=3, timeout_s=60)

    loop.program.send_signal(signal.SIGTERM)
    loop.program.communicate(timeout=60)

    assert loop.program.returncode == failures.ABORTED
    assert bench.instrument.output_on is False


@pytest.mark.slow
def test_a_broken_plugin_is_waited_for(dev, plugin):
    save(plugin, "def broken(:\n")
    loop = dev()
    broken = by_event(loop.until("waiting"))["broken"]

    save(plugin, SOURCE)
    opened = by_event(loop.until("run"))  # waited for once more if the file beside is seen

    assert broken["error"]["type"] == "LoadError"
    assert opened["run"]["rows"] == 3


@pytest.mark.slow
def test_method_and_parameters_may_come_from_a_file(dev, plugin, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("method: levels\nparameters: {points: 5}\n", encoding="utf-8")

    loop = dev(str(job))

    assert by_event(loop.until("waiting"))["run"]["rows"] == 5


@pytest.mark.slow
def test_for_a_person_it_is_a_page_that_can_be_read(start, bench, plugin):
    running = start("dev", str(plugin), "--on", bench.resource, "--once")
    for line in running.stdout:
        if "waiting" in line:
            break
    save(plugin, SOURCE.replace("NPLC 1", "NPLC 0.1"))
    out, _ = running.communicate(timeout=60)

    assert "has the open instrument" in out
    assert "~ :SENS:CURR:NPLC  1 -> 0.1" in out
    assert "commands as before" in out


def test_a_job_that_names_no_method_is_a_usage_error(drivebay, tmp_path, bench, plugin):
    job = tmp_path / "job.json"
    job.write_text('{"parameters": {}}', encoding="utf-8")

    done = drivebay("dev", str(plugin), "--on", bench.resource, str(job))
    several = drivebay("dev", "nobody", "--on", bench.resource)

    assert done.code == failures.USAGE
    assert "no key 'method'" in done.err
    assert several.code == failures.NOT_FOUND


class TestTraffic:
    def test_commands_are_split_where_the_instrument_splits_them(self):
        sent = b':SENS:FUNC "VOLT;X";:OUTP ON;\n'

        assert commands_of([(5, "w", sent), (6, "r", b"1\n")]) == [
            ':SENS:FUNC "VOLT;X"',
            ":OUTP ON",
        ]
        assert commands_of([(5, "w", sent)], since_ns=6) == []

    def test_what_has_other_numbers_is_one_difference_and_what_is_other_words_two(self):
        found = differences(["*RST", ":A 1", ":B"], ["*RST", ":A 2.5e-3", ":C"])

        assert [(each.mark, each.before, each.now) for each in found] == [
            ("~", ":A 1", ":A 2.5e-3"),
            ("-", ":B", ""),
            ("+", "", ":C"),
        ]
        assert found[0].after == "*RST"

    def test_numbers_stand_below_each_other_and_many_alike_are_told_as_one(self):
        before = [f":SOUR:VOLT {level}" for level in range(100)] + [":SENS:NPLC 1"]
        now = [f":SOUR:VOLT {level + 0.5}" for level in range(100)] + [":SENS:NPLC 10"]

        lines = [click_free(line) for line in lines_of(differences(before, now))]

        assert lines == [
            "~ :SOUR:VOLT  0 -> 0.5",
            "~ :SOUR:VOLT  1 -> 1.5",
            "~ :SOUR:VOLT  2 -> 2.5",
            "~ :SENS:NPLC  1 ->  10",
            "~ ... 97 more like :SOUR:VOLT #",
        ]

    def test_of_a_long_list_only_the_first_difference_is_shown(self):
        before = ":LIST " + ",".join(str(n) for n in range(100))
        now = before.replace(",50,", ",5000,")

        (line,) = lines_of(differences([before], [now]))

        assert "1 of 100, the first at 51" in line
        assert "50 -> 5000" in line

    def test_the_same_traffic_is_no_difference(self):
        assert differences([":A 1", ":B"], [":A 1", ":B"]) == []


def click_free(line):
    from click import unstyle

    return unstyle(line)
