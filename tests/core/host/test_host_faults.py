"""Whatever a driver does to its process, the owner gets an error that says so, and lives on."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from drivebay import DriverError, LoadError
from drivebay._core.errors import DriverCrashedError, DriverHungError
from drivebay._core.host import Host, Limits, interpreters, zygote

SHORT = Limits(hang_s=0.5, load_s=1.0)

CRASHES = {
    "SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "SIGABRT": "import os; os.abort()",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "SIGFPE": "import os, signal; os.kill(os.getpid(), signal.SIGFPE)",
}


@pytest.mark.parametrize("start", [zygote, interpreters])
@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_names_plugin_version_method_and_signal(hosted, name, start):
    host = hosted(f"def crash(self):\n    {CRASHES[name]}", starter=start())

    with pytest.raises(DriverCrashedError) as caught:
        host.call("crash")

    error = caught.value
    assert str(error) == f"acme 2.1.0 on SIM::1: its process was ended by {name} during crash"
    assert (error.plugin, error.version, error.method) == ("acme", "2.1.0", "crash")
    assert (error.signal, error.exit_code, error.resource) == (name, None, "SIM::1")


def test_a_crash_in_c_code_tells_the_line_of_the_driver(hosted):
    host = hosted(f"def crash(self):\n    {CRASHES['SIGSEGV']}")

    with pytest.raises(DriverCrashedError) as caught:
        host.call("crash")

    assert "Segmentation fault" in caught.value.traceback
    assert 'driver.py", line 15 in crash' in caught.value.traceback


def test_a_driver_that_leaves_says_with_which_status(hosted):
    host = hosted("def leave(self):\n    import os\n    os._exit(3)")

    with pytest.raises(DriverCrashedError) as caught:
        host.call("leave")

    assert (caught.value.exit_code, caught.value.signal) == (3, "")


@pytest.mark.parametrize("line", ["import os; os._exit(3)", CRASHES["SIGSEGV"]])
def test_a_crash_while_it_is_imported_is_told_as_one(hosted, line):
    with pytest.raises(DriverCrashedError) as caught:
        hosted(whole=line)

    assert caught.value.method == "load"


def test_a_kill_from_outside_is_told_to_whoever_waits_and_to_the_listener(hosted):
    ended = threading.Event()
    exits = []
    host = hosted(
        """
        @method("soak", columns=("x",))
        def soak(self, p):
            yield {"x": [1]}
            self.sleep(3600)
        """,
        methods=("soak",),
        on_death=lambda how: (exits.append(how), ended.set()),
    )
    stream = host.stream("soak", {})
    next(stream)

    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(DriverCrashedError, match="SIGKILL during soak"):
        next(stream)

    assert ended.wait(20)
    assert exits[0].signal == "SIGKILL"
    assert not host.alive


def test_a_call_to_a_host_that_has_ended_is_the_same_error(hosted):
    host = hosted("def crash(self):\n    import os\n    os._exit(3)\ndef fine(self): return 1")
    with pytest.raises(DriverCrashedError):
        host.call("crash")

    for ask in (lambda: host.call("fine"), lambda: host.aside("fine"), host.abort):
        with pytest.raises(DriverCrashedError, match="status 3"):
            ask()


def test_one_that_crashes_leaves_the_others_alone(hosted):
    good, bad = hosted("def fine(self): return 1"), hosted(f"def x(self): {CRASHES['SIGSEGV']}")

    with pytest.raises(DriverCrashedError):
        bad.call("x")

    assert good.call("fine") == 1


def test_what_it_said_before_it_died_is_not_lost(hosted):
    lines: list[str] = []
    host = hosted(
        "def x(self):\n    print('last words')\n    import os\n    os.abort()",
        on_output=lines.append,
    )

    with pytest.raises(DriverCrashedError):
        host.call("x")

    assert lines == ["last words"]


# -- hanging ---------------------------------------------------------------------------------------

HANGS = {
    "sleep": "import time; time.sleep(3600)",
    "busy": "\n    while True: pass",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "regex": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "interpreter held in C": "import ctypes; ctypes.PyDLL(None).sleep(3600)",
    "deaf to SIGTERM": (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    ),
}


@pytest.mark.parametrize("name", HANGS)
def test_a_driver_that_hangs_is_ended_and_named(hosted, name):
    host = hosted(f"def hang(self): {HANGS[name]}", limits=SHORT)

    with pytest.raises(DriverHungError) as caught:
        host.call("hang")

    error = caught.value
    assert "acme 2.1.0 on SIM::1: hang gave no sign of life for" in str(error)
    assert (error.version, error.method) == ("2.1.0", "hang")
    assert error.waited_s > SHORT.hang_s
    assert not host.alive
    if name != "stopped":
        assert 'driver.py", line' in error.traceback


def test_a_new_interpreter_that_hangs_is_ended_as_well(hosted):
    host = hosted(f"def hang(self): {HANGS['sleep']}", limits=SHORT, starter=interpreters())

    with pytest.raises(DriverHungError):
        host.call("hang")

    assert host.exit is not None
    assert host.exit.signal == "SIGTERM"


def test_a_measurement_that_hangs_between_its_points_is_ended(hosted):
    host = hosted(
        """
        @method("soak", columns=("x",))
        def soak(self, p):
            import time
            yield {"x": [1]}
            time.sleep(3600)
        """,
        methods=("soak",),
        limits=SHORT,
    )
    stream = host.stream("soak", {})
    next(stream)

    with pytest.raises(DriverHungError, match="soak gave no sign of life"):
        next(stream)


def test_control_a_driver_that_says_how_long_it_waits_is_waited_for(hosted):
    host = hosted("def wait(self):\n    self.sleep(1.2)\n    return 1", limits=SHORT)

    assert host.call("wait") == 1


def test_control_a_sleep_of_up_to_a_minute_is_waited_for(hosted):
    host = hosted(
        "def wait(self):\n    import time\n    time.sleep(1.2)\n    return 1", limits=SHORT
    )

    assert host.call("wait") == 1


def test_a_listener_that_takes_its_time_does_not_make_others_hang(hosted):
    first, second = threading.Event(), threading.Event()

    def listen(line: str) -> None:
        first.set()
        second.wait(20)

    talker = hosted("def speak(self): print('x')", on_output=listen, limits=SHORT)
    worker = hosted("def wait(self):\n    self.sleep(1.5)\n    return 1", limits=SHORT)

    talker.call("speak")
    assert first.wait(20)

    assert worker.call("wait") == 1
    second.set()


def test_control_a_driver_that_computes_and_shows_it_is_waited_for(hosted):
    host = hosted(
        """
        def work(self):
            import time
            end = time.monotonic() + 1.2
            while time.monotonic() < end:
                self.checkpoint()
            return 1
        """,
        limits=SHORT,
    )

    assert host.call("work") == 1


@pytest.mark.parametrize("line", ["while True: pass", "import time; time.sleep(3600)"])
def test_a_plugin_whose_import_does_not_end_is_a_load_error(hosted, line):
    with pytest.raises(LoadError, match="not imported within 1") as caught:
        hosted(whole=line, limits=SHORT)

    assert 'driver.py", line 1 in <module>' in caught.value.traceback


# -- greed -----------------------------------------------------------------------------------------


def test_a_driver_that_takes_too_much_memory_is_ended_for_it(hosted):
    limits = Limits(memory_bytes=200 << 20, hang_s=30.0)
    host = hosted(
        """
        def grow(self):
            held = []
            while True:
                held.append(bytearray(b"x") * (1 << 20))
                self.sleep(0.005)
        """,
        limits=limits,
    )

    with pytest.raises(DriverCrashedError, match="for its use of memory") as caught:
        host.call("grow")

    assert caught.value.limit == "memory"


def test_memory_taken_in_one_piece_is_an_error_of_the_driver(hosted):
    host = hosted(
        "def grow(self): return len(bytearray(b'x') * (1 << 30))\ndef fine(self): return 1",
        limits=Limits(memory_bytes=200 << 20),
    )

    with pytest.raises(DriverError, match="MemoryError"):
        host.call("grow")
    assert host.call("fine") == 1


def test_control_an_ordinary_amount_of_memory_is_given(hosted):
    host = hosted(
        "def grow(self): return len(bytearray(b'x') * (50 << 20))",
        limits=Limits(memory_bytes=200 << 20),
    )

    assert host.call("grow") == 50 << 20


def test_a_driver_that_opens_too_many_files_is_told_the_limit(hosted):
    host = hosted(
        "def grow(self):\n    import os\n    return [os.open('/dev/null', 0) for _ in range(99)]",
        limits=Limits(open_files=50),
    )

    with pytest.raises(DriverError, match="Too many open files") as caught:
        host.call("grow")

    assert caught.value.__notes__ == ["limit: files"]


def test_a_driver_that_prints_without_end_is_cut_short(hosted):
    lines: list[str] = []
    host = hosted(
        "def spam(self):\n    for _ in range(40): print('x' * 99_999)", on_output=lines.append
    )

    host.call("spam")
    host.close()

    assert len(host.output.text) <= 1 << 20
    assert host.output.dropped_bytes > 2 << 20
    assert any("left out" in line for line in lines)


# -- closing ---------------------------------------------------------------------------------------


def test_close_ends_a_host_that_is_busy(hosted):
    begun = threading.Event()
    host = hosted(
        "def wait(self):\n    print('begun')\n    self.sleep(3600)",
        on_output=lambda line: begun.set(),
    )
    failed: list[BaseException] = []

    def call() -> None:
        try:
            host.call("wait")
        except DriverError as exc:
            failed.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(20)
    host.close(0.0)
    thread.join()

    assert isinstance(failed[0], DriverCrashedError)
    assert failed[0].signal == "SIGTERM"


def test_close_twice_is_close(hosted):
    host: Host = hosted("")

    host.close()
    host.close()

    assert str(host.exit) == "exited with status 0"
