"""A driver in a process of its own is called as if it were here."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivebay import (
    AbortedError,
    DriverError,
    LinkOpenError,
    LoadError,
    MethodError,
    stage_in_host,
)
from drivebay._core.errors import BusyError, DriverHungError, InstrumentError, ParameterError
from drivebay._core.host import Host, Limits, interpreters, spec_of_plain
from drivebay._core.methods import IV_SWEEP

SWEEP = """
    @method("iv_sweep")
    def iv_sweep(self, p):
        for level in p.levels:
            one = [float(level)]
            yield {"voltage_v": one, "current_a": one, "time_s": [0.0], "in_compliance": [True]}
"""


def test_a_driver_is_loaded_in_another_process_and_says_what_it_is(hosted, code_of, tmp_path):
    host = hosted(SWEEP, methods=("iv_sweep",), steps=1)

    loaded = host.load(code_of(tmp_path / "plugins0" / "acme"))

    assert host.pid != os.getpid()
    assert (loaded.class_name, loaded.scpi, loaded.resumable) == ("Driver", True, False)
    assert spec_of_plain(loaded.methods["iv_sweep"]) is IV_SWEEP


def test_a_host_runs_the_bytes_that_were_read_whatever_is_on_disk_now(hosted, code_of, tmp_path):
    host = hosted(SWEEP, methods=("iv_sweep",), steps=1)
    code = code_of(tmp_path / "plugins0" / "acme")
    (tmp_path / "plugins0" / "acme" / "driver.py").write_text("this is no Python")

    loaded = host.load(code)

    assert loaded.sha256 == code.files.sha256
    assert loaded.class_name == "Driver"


def test_a_host_takes_what_the_last_one_compiled_and_compiles_it_itself_for_another_python(
    hosted, code_of, tmp_path
):
    folder = tmp_path / "plugins0" / "acme"
    first = hosted("def answer(self): return 'compiled'", steps=1)
    compiled = first.load(code_of(folder), keep_compiled=True).compiled
    source = (folder / "driver.py").read_text()
    (folder / "driver.py").write_text(source.replace("'compiled'", "'read'"))
    code = code_of(folder)
    old = b"\0\0\r\n" + compiled[4:]

    def answer(given: bytes) -> str:
        host = hosted(steps=1)
        host.load(replace(code, files=replace(code.files, compiled=given)))
        host.create("SIM::1", {})
        return host.call("answer")

    assert [answer(given) for given in (compiled, old, b"")] == ["compiled", "read", "read"]
    assert first.load(code_of(folder)).compiled == b""  # sent only to whom it is of use


def test_a_plugin_that_was_checked_is_compiled_for_every_host_that_opens_it(hosted, plan_of):
    hosted("def answer(self): return 1", steps=1)

    generation = stage_in_host(*plan_of("plugins0/acme"), {})

    assert generation.files.compiled.startswith(importlib.util.MAGIC_NUMBER)
    assert b"answer" in generation.files.compiled


def test_no_plugin_code_runs_in_the_owner(hosted):
    host = hosted(
        "import sys\nsys.here_was_a_plugin = True\ndef pid(self): import os; return os.getpid()"
    )

    assert host.call("pid") == host.pid
    assert not hasattr(sys, "here_was_a_plugin")
    assert not [name for name in sys.modules if name.startswith("drivebay_plugins.acme")]


def test_its_identity_and_methods_are_told_once_it_is_connected(hosted):
    host = hosted(SWEEP, methods=("iv_sweep",))

    connected = host.connect()

    assert connected.identity["model"] == "Model 1"
    assert list(connected.methods) == ["iv_sweep"]


@pytest.mark.parametrize("answer", ["False", "None"])
def test_a_driver_that_does_not_connect_is_an_error(hosted, answer):
    host = hosted(f"def connect(self): return {answer}")

    with pytest.raises(LinkOpenError, match=f"connect.. on SIM::1 returned {answer}"):
        host.connect()


def test_arguments_and_answers_cross_with_their_types(hosted):
    host = hosted("def echo(self, *args, **kwargs): return [list(args), kwargs]")

    (number, array, text), named = host.call("echo", 1.5, np.arange(3), "x", a={"b": [None, True]})

    assert (number, text, named) == (1.5, "x", {"a": {"b": [None, True]}})
    assert array.tolist() == [0, 1, 2]


def test_an_argument_that_is_no_plain_data_is_refused_and_the_driver_goes_on(hosted):
    host = hosted("def echo(self, x): return x")

    with pytest.raises(TypeError, match=r"type object.*allowed"):
        host.call("echo", object())
    assert host.call("echo", 1) == 1


def test_a_result_that_is_no_plain_data_names_what_is_allowed(hosted):
    host = hosted("def odd(self): return object()\ndef fine(self): return 1")

    with pytest.raises(
        DriverError, match=r"acme: odd\(\) returned a value of type object; allowed"
    ):
        host.call("odd")
    assert host.call("fine") == 1


def test_parameters_are_checked_by_the_driver_and_come_back_plain(hosted):
    host = hosted(SWEEP, methods=("iv_sweep",))

    plain = host.validate(
        "iv_sweep", {"start_v": 0, "stop_v": "10 mV", "points": 2, "compliance_a": 1}
    )

    assert (plain["stop_v"], plain["nplc"]) == (0.01, 1.0)


def test_every_problem_with_the_parameters_comes_back(hosted):
    host = hosted(SWEEP, methods=("iv_sweep",))
    host.use_ranges({"voltage_v": [-5, 5], "source": "the test"})

    with pytest.raises(ParameterError) as caught:
        host.validate("iv_sweep", {"start_v": 0, "stop_v": 9, "points": 0, "compliance_a": 1})

    assert {problem.path for problem in caught.value.problems} == {"/stop_v", "/points"}


def test_a_method_it_does_not_have_is_named(hosted):
    host = hosted(SWEEP, methods=("iv_sweep",))

    with pytest.raises(MethodError, match="acme has no method 'iv_sweeep'; did you mean"):
        host.validate("iv_sweeep", {})


def test_points_come_as_they_are_taken(hosted):
    host = hosted(SWEEP, methods=("iv_sweep",))
    params = {"start_v": 0, "stop_v": 1, "points": 2, "compliance_a": 1}

    chunks = list(host.stream("iv_sweep", params))

    assert [chunk["voltage_v"].tolist() for chunk in chunks] == [[0.0], [1.0]]
    assert chunks[0]["in_compliance"].dtype == bool


def test_a_measurement_of_a_megabyte_a_chunk_arrives_whole(hosted):
    host = hosted(
        """
        @method("noise", columns=("x",))
        def noise(self, p):
            import numpy as np
            for n in range(5):
                yield {"x": np.full(131072, n, float)}
        """,
        methods=("noise",),
    )

    sums = [float(chunk["x"].sum()) for chunk in host.stream("noise", {})]

    assert sums == [131072.0 * n for n in range(5)]


def test_a_reader_that_waits_stops_the_driver_and_loses_nothing(hosted):
    host = hosted(
        """
        made = 0

        @method("noise", columns=("x",))
        def noise(self, p):
            import numpy as np
            for self.made in range(1, 101):
                yield {"x": np.full(131072, self.made, float)}
        """,
        methods=("noise",),
    )
    stream = host.stream("noise", {})

    first = next(stream)
    made = host.aside("made")
    rest = [float(chunk["x"][0]) for chunk in stream]

    # The pipe holds one of them, and one is in the making.
    assert made < 10
    assert [float(first["x"][0]), *rest] == [float(n) for n in range(1, 101)]


def test_a_seed_style_driver_gives_columns_and_values(hosted, driver_text):
    host = hosted(whole=driver_text([1.0, 2.0, 3.0]))
    host.connect()
    values: dict[str, object] = {}

    chunks = list(host.stream("answer", {"any": "thing"}, values))

    assert [chunk["answer"].tolist() for chunk in chunks] == [[1.0, 2.0, 3.0]]
    assert values == {}


def test_codes_for_no_number_of_a_seed_style_driver_are_no_numbers(hosted, driver_text):
    host = hosted(whole=driver_text([1.0, 9.91e37, 9.9e37, -9.9e37, 9.8e37]))
    host.connect()

    (chunk,) = host.stream("answer", {})

    assert chunk["answer"].tolist() == pytest.approx(
        [1.0, math.nan, math.inf, -math.inf, 9.8e37], nan_ok=True
    )


def test_values_of_a_seed_style_driver_that_cannot_cross_are_its_error(hosted, driver_text):
    source = driver_text(1).replace('{"answer": self.VALUE}', '{"answer": object()}')
    host = hosted(whole=source)

    with pytest.raises(DriverError, match=r"measure\(\) returned a value of type object"):
        list(host.stream("answer", {}))


def test_the_state_of_one_host_is_taken_over_by_another(hosted):
    source = """
        def export_state(self): return {"zero": self.zero}
        def resume(self, state): self.zero = state["zero"]
        zero = 0
        def tare(self, x): self.zero = x
    """
    old, new = hosted(source), hosted(source)
    old.call("tare", 2.5)

    new.call("resume", old.call("export_state"))

    assert new.call("zero") == 2.5


# -- what a driver raises --------------------------------------------------------------------------


def test_an_error_of_the_driver_has_its_line_and_its_traceback(hosted):
    host = hosted("def bad(self):\n    raise KeyError('volts')")

    with pytest.raises(DriverError) as caught:
        host.call("bad")

    error = caught.value
    assert "acme.bad raised KeyError: 'volts' (driver.py:15 in bad)" in str(error)
    assert "raise KeyError('volts')" in error.traceback
    assert (error.plugin, error.resource) == ("acme", "SIM::1")


def test_an_error_of_ours_crosses_as_itself_with_facts_and_notes(hosted):
    host = hosted(
        """
        def bad(self):
            from drivebay.driver import InstrumentError
            error = InstrumentError("no", resource="R", entries=[(-222, "range")])
            error.add_note("at the second point")
            raise error
        """
    )

    with pytest.raises(InstrumentError) as caught:
        host.call("bad")

    assert caught.value.entries == ((-222, "range"),)
    assert caught.value.__notes__ == ["at the second point"]
    assert "driver.py" in caught.value.traceback


@pytest.mark.parametrize(
    "what", ["import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise MemoryError"]
)
def test_whatever_a_driver_raises_is_its_error_and_it_can_be_asked_again(hosted, what):
    host = hosted(f"def bad(self):\n    {what}\ndef fine(self): return 1")

    with pytest.raises(DriverError, match=r"acme\.bad raised"):
        host.call("bad")
    assert host.call("fine") == 1


def test_text_that_cannot_be_spelt_does_not_silence_an_error(hosted):
    host = hosted(r"def bad(self): raise ValueError('\ud800')")

    with pytest.raises(DriverError, match="ud800"):
        host.call("bad")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import sys; sys.exit(3)", r"called sys.exit\(3\) while it was imported"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt while it was imported"),
        ("input()", "EOFError"),
        ("import nonsense_that_is_not", "ModuleNotFoundError"),
        ("class Driver: pass", "does not implement InstrumentDriver"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_a_load_error(hosted, line, message):
    with pytest.raises(LoadError, match=message):
        hosted(whole=line)


def test_a_constructor_that_raises_is_the_drivers_error(hosted):
    with pytest.raises(DriverError, match=r"acme\.__init__ raised ValueError: no"):
        hosted("def __init__(self, resource, config=None): raise ValueError('no')")


# -- beside the running call -----------------------------------------------------------------------

LONG = """
    @method("soak", columns=("x",))
    def soak(self, p):
        for n in range(100_000):
            yield {"x": [n]}
            self.sleep(0.01)
"""


def test_an_abort_ends_a_measurement_from_another_thread(hosted):
    host = hosted(LONG, methods=("soak",))
    stream = host.stream("soak", {})
    next(stream)

    aborting = threading.Thread(target=host.abort)
    aborting.start()
    with pytest.raises(AbortedError):
        for _ in stream:
            pass
    aborting.join()

    assert host.alive


DEAF = {
    "yields for ever": LONG.replace("self.sleep", "__import__('time').sleep")
    + "\n    def abort(self):\n        pass\n",
    "never yields": """
    @method("soak", columns=("x",))
    def soak(self, p):
        yield {"x": [0]}
        while True:
            __import__("time").sleep(0.01)

    def abort(self):
        pass
""",
}


@pytest.mark.parametrize("reader", ["goes on", "stops"])
@pytest.mark.parametrize("body", DEAF.values(), ids=DEAF)
def test_a_driver_that_heeds_no_abort_is_ended(hosted, body, reader):
    host = hosted(body, methods=("soak",), limits=Limits(stop_s=0.3))
    stream = host.stream("soak", {})
    next(stream)

    if reader == "stops":
        stream.close()
    else:
        host.abort()
        with pytest.raises(DriverHungError, match=r"did not end within .* after its abort"):
            for _ in stream:
                pass

    assert not host.alive


def test_control_an_abort_of_an_earlier_measurement_ends_no_later_one(hosted):
    host = hosted(LONG.replace("100_000", "100"), methods=("soak",), limits=Limits(stop_s=0.3))
    stream = host.stream("soak", {})
    next(stream)
    host.abort()
    with pytest.raises(AbortedError):
        list(stream)

    assert sum(1 for _ in host.stream("soak", {})) == 100  # takes a second at least


def test_status_is_asked_while_it_measures(hosted):
    host = hosted(LONG, methods=("soak",))
    stream = host.stream("soak", {})
    next(stream)

    assert host.aside("get_status")["measuring"] is True
    stream.close()
    assert host.aside("get_status")["measuring"] is False


def test_a_reader_that_stops_reading_ends_the_measurement(hosted):
    host = hosted(LONG, methods=("soak",))

    for _ in host.stream("soak", {}):
        break

    assert host.call("get_status")["measuring"] is False


def test_a_call_while_it_measures_is_refused_at_once(hosted):
    host = hosted(LONG, methods=("soak",))
    stream = host.stream("soak", {})
    next(stream)

    with pytest.raises(BusyError, match="in the middle of soak"):
        host.call("reset")
    stream.close()


def test_an_abort_that_blocks_is_not_waited_for(hosted):
    host = hosted(
        """
        def abort(self):
            import threading
            threading.Event().wait()

        def fine(self):
            return 1
        """
    )

    assert host.abort(wait_s=0.05) is False
    assert host.call("fine") == 1


def test_calls_from_many_threads_get_their_own_answers(hosted):
    host = hosted("def echo(self, x): return x")
    wrong = []

    def ask(base: int) -> None:
        wrong.extend(n for n in range(base, base + 200) if host.call("echo", n) != n)

    threads = [threading.Thread(target=ask, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


# -- what it says ----------------------------------------------------------------------------------


def test_what_a_driver_prints_arrives_line_by_line(hosted):
    lines: list[str] = []
    host = hosted(
        r"""
        def speak(self):
            import os
            print("one")
            os.write(1, b"two\nthr")
            os.write(2, b"ee")
        """,
        on_output=lines.append,
    )

    host.call("speak")
    host.close()

    assert lines == ["one", "two", "three"]
    assert host.output.text == "one\ntwo\nthree"


def test_log_records_of_a_driver_come_out_of_the_logger_of_the_same_name(hosted, caplog):
    host = hosted(
        """
        def speak(self):
            import logging
            logging.getLogger("acme.smu").warning("%d volts", 3)
        """
    )

    with caplog.at_level(logging.INFO):
        host.call("speak")
        host.close()

    assert ("acme.smu", logging.WARNING, "3 volts") in caplog.record_tuples


def test_a_listener_that_fails_does_not_stop_the_others(hosted, caplog):
    def fail(line: str) -> None:
        raise ValueError("listener")

    host = hosted("def speak(self): print('x')\ndef fine(self): return 1", on_output=fail)

    host.call("speak")

    assert host.call("fine") == 1
    host.close()
    assert host.exit is not None


# -- a new interpreter instead of a fork -----------------------------------------------------------


def test_where_nothing_can_be_forked_an_interpreter_is_started(hosted):
    host = hosted(
        SWEEP + "\n    def pid(self): import os; return os.getpid()",
        methods=("iv_sweep",),
        starter=interpreters(),
    )

    assert host.connect().identity["model"] == "Model 1"
    assert host.call("pid") == host.pid
    host.close()
    assert str(host.exit) == "exited with status 0"


def test_a_host_sees_the_world_as_its_owner_does_now(hosted, monkeypatch, tmp_path):
    monkeypatch.setenv("ACME_SETTING", "7")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path(tmp_path / "acme_library.py").write_text("ANSWER = 42\n")

    host = hosted(
        "def look(self):\n    import os, acme_library\n"
        "    return [os.environ['ACME_SETTING'], os.getcwd(), acme_library.ANSWER]"
    )

    assert host.call("look") == ["7", str(tmp_path), 42]


def test_an_environment_with_bytes_that_are_no_text_keeps_no_host_from_starting(
    hosted, monkeypatch
):
    monkeypatch.setenv("ACME_BYTES", "\udcff")

    host = hosted("def look(self):\n    import os\n    return 'ACME_BYTES' in os.environ")

    assert host.call("look") is False


def test_two_hosts_draw_different_random_numbers(hosted):
    source = """
        def draw(self):
            import random, numpy
            return [random.random(), float(numpy.random.random())]
    """

    one, two = hosted(source).call("draw"), hosted(source).call("draw")

    assert one[0] != two[0]
    assert one[1] != two[1]


def test_a_plugin_uses_another_one(code_of, tmp_path, write_plugin):
    base = code_of(
        write_plugin(tmp_path / "b", "base_smu", driver_source="VOLTS = 5\n" + HOST_BASE)
    )
    above = code_of(
        write_plugin(
            tmp_path / "a",
            "above",
            uses=["base_smu"],
            supported_methods=[],
            driver_source=HOST_ABOVE,
        )
    )
    host = Host.start("above")

    host.load(above, [base])
    host.create("SIM::1")

    assert host.call("volts") == 5
    host.close()


HOST_BASE = """
from drivebay.driver import ScpiDriver, method

class Driver(ScpiDriver):
    @method("answer")
    def answer(self, p):
        yield {}
"""

HOST_ABOVE = """
from base_smu.driver import VOLTS, Driver as Base

class Driver(Base):
    volts = VOLTS
"""
