"""The root command: names, exit codes, JSON of errors, and what it costs to start."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import click
import pytest

import drivebay as package
from drivebay.cli import failures, root

HEAVY = {"numpy", "pyvisa", "msgspec", "rich", "yaml", "matplotlib", "scipy", "drivebay._core"}


@pytest.fixture
def command_that_raises(monkeypatch):
    """Add a command ``crash`` that raises what it is told to."""

    def add(exc: BaseException) -> None:
        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def crash(as_json: bool) -> None:
            raise exc

        module = ModuleType("crashing")
        module.crash = crash
        monkeypatch.setitem(sys.modules, "crashing", module)
        monkeypatch.setitem(root._COMMANDS, "crash", "crashing:crash")

    return add


def test_the_version_is_the_package_s(drivebay):
    assert drivebay("--version").out == f"drivebay {package.__version__}\n"


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["demo", "--help"], ["new", "--help"]]
)
def test_asking_for_help_imports_nothing_heavy(environment, words):
    program = (
        "import sys\n"
        "from drivebay.cli import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_help_names_every_command_with_a_sentence(drivebay):
    shown = drivebay("--help").out

    for name in root._COMMANDS:
        assert f"  {name} " in shown
    assert "..." not in shown.partition("Commands:")[2]  # whole sentences, not what fits on a line


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(drivebay):
    done = drivebay("mesure")

    assert done.code == failures.USAGE
    assert "Did you mean 'measure'?" in done.err


def test_a_usage_error_is_an_object_too(drivebay):
    done = drivebay("explain", "--json")

    assert done.code == failures.USAGE
    assert done.json["error"]["type"] == "MissingParameter"
    assert "IDN_OR_RESOURCE" in done.json["error"]["message"]
    assert done.json["error"]["problems"] == []


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (package.DrivebayError("x"), failures.FAILED),
        (package.InstrumentError("x"), failures.FAILED),
        (package.LinkTimeoutError("x"), failures.FAILED),
        (package.DriverError("x", plugin="p"), failures.FAILED),
        (package.ParameterError([package.Diagnostic("P001", "x", "/start_v")]), failures.USAGE),
        (package.MethodError("x", ["y"]), failures.USAGE),
        (package.ConfigError(["x"], plugin="p"), failures.USAGE),
        (package.LinkOpenError("x"), failures.NOT_FOUND),
        (package.NoDriverError("x"), failures.NOT_FOUND),
        (package.PluginNotFoundError("x", []), failures.NOT_FOUND),
        (package.RunNotFoundError("x"), failures.NOT_FOUND),
        (package.AbortedError("x"), failures.ABORTED),
        (KeyboardInterrupt(), failures.ABORTED),
        (package.LoadError("x", plugin="p"), failures.PLUGIN),
        (package.ManifestError([package.Diagnostic("M001", "x")], plugin="p"), failures.PLUGIN),
        (package.PluginStateError("x", plugin="p", status="disabled"), failures.PLUGIN),
        (ModuleNotFoundError("needs it: pip install 'drivebay[plot]'"), failures.FAILED),
        (ModuleNotFoundError("No module named 'gone'"), failures.INTERNAL),
        (ZeroDivisionError("x"), failures.INTERNAL),
    ],
    ids=lambda value: value if isinstance(value, int) else repr(value),
)
def test_each_kind_of_error_has_its_exit_code(drivebay, command_that_raises, exc, code):
    command_that_raises(exc)

    done = drivebay("crash")

    assert done.code == code
    assert "Traceback" not in done.err
    assert done.out == ""


def test_every_error_class_has_an_exit_code_of_its_own_choosing():
    classes = [
        value
        for value in vars(package).values()
        if isinstance(value, type) and issubclass(value, package.DrivebayError)
    ]

    named = {name for name, _ in failures._CODES}

    assert len(classes) > 5
    assert all(named & {base.__name__ for base in each.__mro__} for each in classes)


def test_a_bug_says_where_its_traceback_is_and_does_not_show_it(
    drivebay, command_that_raises, home
):
    command_that_raises(ZeroDivisionError("a division of ours"))

    done = drivebay("crash", "--json")

    (kept,) = (home / "crashes").iterdir()
    assert str(kept) in done.err
    assert "Traceback" not in done.err
    assert "ZeroDivisionError: a division of ours" in kept.read_text("utf-8")
    assert done.json["error"]["type"] == "ZeroDivisionError"
    assert done.json["error"]["traceback_file"] == str(kept)


def test_all_problems_of_an_error_are_told_with_their_places(drivebay, command_that_raises):
    found = [
        package.Diagnostic("M003", "unknown key 'naem'", "plugin.yaml", 3, 1),
        package.Diagnostic("M004", "version is missing", "plugin.yaml"),
    ]
    command_that_raises(package.ManifestError(found, plugin="acme"))

    done = drivebay("crash", "--json")

    assert "plugin.yaml:3:1: unknown key 'naem' [M003]" in done.err
    assert "version is missing [M004]" in done.err
    assert [each["code"] for each in done.json["error"]["problems"]] == ["M003", "M004"]
    assert done.json["error"]["problems"][0]["line"] == 3


def test_the_run_that_holds_the_points_is_named_with_the_error(drivebay, command_that_raises):
    error = package.InstrumentError("it refused")
    error.run_id = "20261122-231502-k3f9"
    command_that_raises(error)

    done = drivebay("crash", "--json")

    assert "drivebay runs show 20261122-231502-k3f9" in done.err
    assert done.json["error"]["run"] == "20261122-231502-k3f9"


def test_several_errors_at_once_are_all_told(drivebay, command_that_raises):
    errors = [package.LinkError("first link"), package.LinkError("second link")]
    command_that_raises(ExceptionGroup("closing", errors))

    done = drivebay("crash")

    assert done.code == failures.FAILED
    assert "first link" in done.err
    assert "second link" in done.err


def test_a_reader_that_has_seen_enough_is_no_error(start):
    running = start("plugins", "schema")
    running.stdout.readline()
    running.stdout.close()

    running.wait(timeout=60)

    assert running.returncode == failures.OK
    assert running.stderr.read() == ""


def test_the_log_is_one_line_a_record_and_ends_with_the_command(drivebay):
    import logging

    before = list(logging.getLogger("drivebay").handlers)

    done = drivebay("-v", "plugins", "list")

    assert "info: Discovered plugin: keithley_2400" in done.err
    assert logging.getLogger("drivebay").handlers == before
