"""``check_driver``: a whole driver is gold, and each hole in one fails exactly the check for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivebay import Bay, LeaseError, LimitError, LinkOpenError, PluginNotFoundError
from drivebay.cli.scaffold import write_plugin as write_scaffold
from drivebay.driver import open_link
from drivebay.sim import Diode, Keithley2400Server, Resistor
from drivebay.testing import LEVELS, Check, Report, check_driver

MANY = {"bronze": 4, "silver": 4, "gold": 3}


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(Diode(), time_scale=0) as running:
        yield running


class Folder:
    """A driver that is whole, to be given a hole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        write_scaffold(
            path,
            name="my_smu",
            model="2400",
            manufacturer="KEITHLEY INSTRUMENTS",
            author="A. Tester",
            overrides=[],
        )

    def edit(self, *changes: tuple[str, str], file: str = "driver.py") -> None:
        path = self.path / file
        text = path.read_text("utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    def manifest(self, **keys: Any) -> None:
        path = self.path / "plugin.yaml"
        found = yaml.safe_load(path.read_text("utf-8")) | keys
        kept = {key: value for key, value in found.items() if value is not None}
        path.write_text(yaml.safe_dump(kept), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "my_smu")


def outcomes(report: Report, outcome: str) -> list[str]:
    return [each.name for each in report.checks if each.outcome == outcome]


# -- whole drivers ---------------------------------------------------------------------------------


def test_the_built_in_keithley_is_gold_on_the_simulator(server: Keithley2400Server) -> None:
    report = check_driver("keithley_2400", server.resource)

    assert report.level == "gold", str(report)
    assert server.instrument.output_on is False


def test_control_a_driver_without_a_hole_is_gold(
    folder: Folder, server: Keithley2400Server
) -> None:
    told: list[Check] = []

    report = check_driver(folder.path, server.resource, on_check=told.append)

    assert report.level == "gold", str(report)
    assert tuple(told) == report.checks
    assert {level: sum(c.level == level for c in told) for level in LEVELS} == MANY
    assert report.identity["serial"] == "1234567"
    assert len(report.sha256) == 64


@pytest.mark.parametrize("which", ["new", "keithley_2400"])
def test_it_is_gold_on_an_instrument_that_takes_its_time(folder: Folder, which: str) -> None:
    with Keithley2400Server(Resistor(1e3), time_scale=1) as slow:
        report = check_driver(folder.path if which == "new" else which, slow.resource)

    assert report.level == "gold", str(report)


# -- one hole each ---------------------------------------------------------------------------------

CLASS = "class MySmu(ScpiDriver):\n"
MORE = """\
    @method("more")
    def more(self, p):
        yield {"x": [1.0]}

"""
IMPORTS = "from drivebay.driver import IVSweep, ScpiDriver, method\n"


def undeclared_method(folder: Folder) -> None:
    folder.edit((CLASS, CLASS + MORE))
    folder.manifest(methods={"more": {"parameters": {"additionalProperties": False}}})


def forged_identity(folder: Folder) -> None:
    body = '{**super().get_identity(), "model": "MODEL 9999"}'
    folder.edit((CLASS, CLASS + f"    def get_identity(self):\n        return {body}\n\n"))


def identity_without_serial(folder: Folder) -> None:
    body = '{**super().get_identity(), "serial": ""}'
    folder.edit((CLASS, CLASS + f"    def get_identity(self):\n        return {body}\n\n"))


def safe_state_that_is_refused(folder: Folder) -> None:
    folder.edit(('writes: [":OUTP OFF"]', 'writes: [":OUTP OFF", ":NONSENSE"]'), file="plugin.yaml")


def safe_state_that_nobody_confirms(folder: Folder) -> None:
    folder.edit(('equals: "0"', 'equals: "OFF"'), file="plugin.yaml")


def takes_any_parameters(folder: Folder) -> None:
    folder.edit((CLASS, CLASS + MORE))
    folder.manifest(supported_methods=["iv_sweep", "more"])


def gives_not_a_number(folder: Folder) -> None:
    folder.edit(('"current_a": amp,', '"current_a": amp * float("nan"),'))


def fails_to_measure(folder: Folder) -> None:
    folder.edit(('"time_s": seconds,', '"time_s": [],'))


def leaves_the_output_on(folder: Folder) -> None:
    folder.edit(
        (
            'with self.output(on=":OUTP ON", off=":OUTP OFF"):',
            'self.write(":OUTP ON")\n        if True:',
        )
    )


def leaves_an_error_behind(folder: Folder) -> None:
    folder.edit(("        self.check_errors()\n", ""), ("  # did the instrument", "  #"))
    folder.edit(("self.check_errors()", 'self.write(":SYST:NONSENSE")'))
    folder.edit(
        ('    - ":SYSTem:RSENse"', '    - ":SYSTem:NONSENSE"\n    - ":SYSTem:RSENse"'),
        file="plugin.yaml",
    )


def does_not_hear_an_abort(folder: Folder) -> None:
    folder.edit(
        (IMPORTS, "import threading\n\n" + IMPORTS),
        ('"in_compliance": (status', '"in_compliance": (status'),
        (
            "                yield {",
            "                if len(p.levels) > 100:\n"
            "                    yield dict(zip(\n"
            '                        ("voltage_v", "current_a", "time_s"),\n'
            "                        (volt, amp, seconds)), in_compliance=status > 1e9)\n"
            "                    threading.Event().wait(4)\n"
            "                yield {",
        ),
    )


def cannot_go_on_from_its_state(folder: Folder) -> None:
    folder.edit(
        (
            CLASS,
            CLASS + "    def export_state(self):\n        return {}\n\n"
            "    def resume(self, state):\n        raise ValueError('no such state')\n\n",
        )
    )


def sends_what_its_dialect_does_not_list(folder: Folder) -> None:
    folder.edit(('    - ":SYSTem:RSENse"\n', ""), file="plugin.yaml")


def switches_on_before_the_protection(folder: Folder) -> None:
    line = '        self.write(f":SENS:CURR:PROT'
    folder.edit((line, '        self.write(":OUTP ON", ":OUTP OFF")\n' + line))


def safe_state_that_switches_nothing_off(folder: Folder) -> None:
    folder.edit(('writes: [":OUTP OFF"]', 'writes: ["*CLS"]'), file="plugin.yaml")


HOLES: list[tuple[Callable[[Folder], None], str, str]] = [
    (undeclared_method, "loads", "'more' is in the class and not in the manifest"),
    (forged_identity, "identity", "MODEL 9999"),
    (identity_without_serial, "identity", "no serial"),
    (safe_state_that_is_refused, "safe_state", "-113"),
    (safe_state_that_nobody_confirms, "safe_state", "expected 'OFF'"),
    (takes_any_parameters, "parameters", "takes any parameters"),
    (gives_not_a_number, "methods", "current_a not finite"),
    (fails_to_measure, "methods", "different length"),
    (leaves_the_output_on, "output", "on after iv_sweep"),
    (leaves_an_error_behind, "errors", "-113"),
    (does_not_hear_an_abort, "abort", "went on for more than"),
    (cannot_go_on_from_its_state, "reload", "no such state"),
    (sends_what_its_dialect_does_not_list, "limits", ":SYST:RSEN"),
    (switches_on_before_the_protection, "limits", "L004"),
    (safe_state_that_switches_nothing_off, "killed", "on"),
]


@pytest.mark.parametrize(("hole", "check", "why"), HOLES, ids=[h.__name__ for h, _, _ in HOLES])
def test_a_driver_with_one_hole_fails_exactly_the_check_for_it(
    folder: Folder,
    server: Keithley2400Server,
    hole: Callable[[Folder], None],
    check: str,
    why: str,
) -> None:
    hole(folder)

    report = check_driver(folder.path, server.resource)

    assert outcomes(report, "failed") == [check], str(report)
    assert why in report[check].why
    assert not report.ok
    assert report.level != "gold"


def test_there_is_a_hole_for_every_check(folder: Folder, server: Keithley2400Server) -> None:
    report = check_driver(folder.path, server.resource)

    assert {check for _, check, _ in HOLES} == {each.name for each in report.checks}


# -- what cannot be judged -------------------------------------------------------------------------


def test_nothing_is_switched_on_where_the_safe_state_does_not_work(
    folder: Folder, server: Keithley2400Server
) -> None:
    safe_state_that_nobody_confirms(folder)

    report = check_driver(folder.path, server.resource)

    assert "abort" in outcomes(report, "not judged")
    assert server.log.named("output_on") == []


def test_without_a_safe_state_nothing_is_killed_in_the_middle(
    folder: Folder, server: Keithley2400Server
) -> None:
    folder.manifest(safe_state=None)

    report = check_driver(folder.path, server.resource)

    assert outcomes(report, "failed") == ["safe_state"]
    assert outcomes(report, "not judged") == ["output", "abort", "killed"]
    assert report.level is None
    assert server.instrument.output_on is False


def test_a_method_whose_parameters_nobody_knows_is_said_not_to_have_been_run(
    folder: Folder, server: Keithley2400Server
) -> None:
    parameters = {
        "required": ["ohms"],
        "additionalProperties": False,
        "properties": {"ohms": {"type": "number"}},
    }
    folder.edit((CLASS, CLASS + MORE))
    folder.manifest(
        supported_methods=["iv_sweep", "more"], methods={"more": {"parameters": parameters}}
    )

    without = check_driver(folder.path, server.resource)
    given = check_driver(folder.path, server.resource, parameters={"more": {"ohms": 50}})

    assert outcomes(without, "not judged") == ["methods"]
    assert "more was not run: no parameters are known that fit (ohms" in without["methods"].why
    assert without.ok
    assert without.level == "bronze"
    assert given.level == "gold", str(given)


def test_inline_there_is_no_process_to_kill(folder: Folder, server: Keithley2400Server) -> None:
    report = check_driver(folder.path, server.resource, isolation="inline")

    assert outcomes(report, "not judged") == ["killed"]
    assert report.ok
    assert report.level == "silver"


@pytest.mark.parametrize(
    ("line", "check"),
    [("import no_such_module", "loads"), ("def broken(:", "loads")],
)
def test_a_driver_that_does_not_load_fails_and_nothing_else_is_judged(
    folder: Folder, server: Keithley2400Server, line: str, check: str
) -> None:
    folder.edit((IMPORTS, f"{line}\n{IMPORTS}"))

    report = check_driver(folder.path, server.resource)

    assert outcomes(report, "failed") == [check]
    assert len(outcomes(report, "not judged")) == sum(MANY.values()) - 1
    assert report.level is None


def test_a_driver_that_cannot_connect_is_told_with_the_reason(
    folder: Folder, server: Keithley2400Server
) -> None:
    folder.edit((CLASS, CLASS + "    def connect(self):\n        return False\n\n"))

    report = check_driver(folder.path, server.resource)

    assert "connect() on" in report["identity"].why
    assert report["loads"].outcome == "passed"
    assert report.level is None


def test_a_driver_of_the_original_contract_is_checked_as_well(
    tmp_path: Path, server: Keithley2400Server, write_plugin: Any
) -> None:
    write_plugin(
        tmp_path,
        "oldtimer",
        driver_source=OLDTIMER,
        supported_methods=["voltage"],
        supported_models=["2400"],
        safe_state={"writes": [":OUTP OFF"], "verify": {"query": ":OUTP?", "equals": "0"}},
    )

    report = check_driver(tmp_path / "oldtimer", server.resource)

    assert outcomes(report, "failed") == ["parameters", "limits"], str(report)
    assert "check_errors" in report["errors"].why
    assert "declare them" in report["parameters"].why


OLDTIMER = """\
import pyvisa
from drivebay import InstrumentDriver


class Driver(InstrumentDriver):
    def __init__(self, resource_name, config=None):
        self.resource_name = resource_name

    def connect(self):
        self.visa = pyvisa.ResourceManager().open_resource(
            self.resource_name, read_termination="\\n", write_termination="\\n"
        )
        return True

    def disconnect(self):
        self.visa.close()
        return True

    def reset(self):
        self.visa.write("*RST")

    def get_identity(self):
        names = ("manufacturer", "model", "serial", "firmware")
        return dict(zip(names, self.visa.query("*IDN?").split(",")))

    def get_capabilities(self):
        return ["voltage"]

    def configure(self, method, params):
        pass

    def measure(self, method, params):
        self.visa.write(":OUTP ON")
        volt = float(self.visa.query(":READ?").split(",")[0])
        self.visa.write(":OUTP OFF")
        return {"voltage_v": [volt, volt]}

    def abort(self):
        pass

    def get_status(self):
        return {}
"""


# -- what is not the driver's fault ----------------------------------------------------------------


def test_an_address_where_nothing_is_is_an_error_and_no_verdict(folder: Folder) -> None:
    with Keithley2400Server(Diode()) as gone:
        address = gone.resource

    with pytest.raises(LinkOpenError):
        check_driver(folder.path, address)


def test_an_instrument_that_somebody_holds_is_left_alone(
    folder: Folder, server: Keithley2400Server
) -> None:
    with open_link(server.resource), pytest.raises(LeaseError):
        check_driver(folder.path, server.resource)


def test_a_plugin_that_is_not_there_is_named(server: Keithley2400Server) -> None:
    with pytest.raises(PluginNotFoundError, match="keithley_2400"):
        check_driver("keithley_2401", server.resource)


def test_a_check_leaves_nothing_in_the_users_store(
    folder: Folder, server: Keithley2400Server, home: Path
) -> None:
    check_driver(folder.path, server.resource)

    with Bay() as bay:
        assert list(bay.runs.list()) == []


# -- the verdict on limits is that of a bench with limits ------------------------------------------


@pytest.mark.parametrize("hole", [None, sends_what_its_dialect_does_not_list])
def test_what_it_says_of_limits_is_what_a_bench_with_limits_does(
    folder: Folder,
    server: Keithley2400Server,
    home: Path,
    hole: Callable[[Folder], None] | None,
) -> None:
    if hole is not None:
        hole(folder)
    entry = {"resource": server.resource, "limits": {"voltage_v": [-5, 5], "current_a": [-1, 1]}}
    bench = home / "bench.yaml"
    bench.write_text(yaml.safe_dump({"instruments": {"smu1": entry}}), encoding="utf-8")
    sweep = {"start_v": 0, "stop_v": 0.1, "points": 3, "compliance_a": 0.01}

    said = check_driver(folder.path, server.resource, bench=_without_limits(home, server))

    with Bay(plugin_dirs=[folder.path]) as bay, bay.open("smu1") as smu:
        if hole is None:
            assert smu.measure("iv_sweep", **sweep).state == "done"
            assert said["limits"].outcome == "passed"
        else:
            with pytest.raises(LimitError, match="SYST:RSEN"):
                smu.measure("iv_sweep", **sweep)
            assert said["limits"].outcome == "failed"


def _without_limits(home: Path, server: Keithley2400Server) -> Path:
    path = home / "free.yaml"
    text = yaml.safe_dump({"instruments": {"smu1": {"resource": server.resource}}})
    path.write_text(text, encoding="utf-8")
    return path
