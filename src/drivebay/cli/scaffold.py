"""The files `drivebay new` writes: the smallest driver that is whole.

Only text with holes in it; what goes into the holes was checked before.
"""

from __future__ import annotations

from pathlib import Path
from string import Template

_MANIFEST = """\
# What the plugin is and what it serves: all that Drivebay reads before the driver is used.
# Every key is described in docs/reference/manifest.md; `drivebay plugins check $name` judges it.
name: $name
version: 0.1.0
author: $author
description: I-V sweeps with a $model, point by point
driver_class: driver.$class_name
supported_methods: [iv_sweep]
supported_models: ["$model"]
$manufacturer$overrides
# Limits of the model. Parameters beyond them are refused before anything is sent.
ranges:
  "$model":
    voltage_v: [-210, 210]
    current_a: [-1.05, 1.05]
    delay_s: [0, 999]
    nplc: [0.01, 10]

# What makes the instrument harmless: sent whenever a measurement does not end well, driver or not.
safe_state:
  interrupt: [":ABOR"]
  writes: [":OUTP OFF"]
  verify: {query: ":OUTP?", equals: "0"}

# What the commands do, so that a bench can hold its own limits: under them only these are sent.
# docs/reference/limits.md has the grammar; `drivebay check` names a command that is missing.
dialect:
  energise: [":OUTPut[:STATe] ON", ":READ?"]
  "off": [":OUTPut[:STATe] OFF", "*RST"]
  levels:
    ":SOURce:VOLTage[:LEVel]": {quantity: voltage_v, unit: V}
  clamps:
    ":SENSe:CURRent:PROTection[:LEVel]": {quantity: current_a, unit: A}
  harmless:
    - ":SOURce:FUNCtion VOLTage"
    - ":SOURce:VOLTage:RANGe"
    - ":SOURce:DELay"
    - ":SENSe:FUNCtion:CONCurrent"
    - ':SENSe:FUNCtion "VOLT"'
    - ':SENSe:FUNCtion "CURR"'
    - ":SENSe:CURRent:NPLCycles"
    - ":SYSTem:RSENse"
    - ":SYSTem:TIME:RESet"
    - ":FORMat:*"
    - ":ABORt"
"""

_DRIVER = '''\
"""I-V sweeps with a $model, point by point.

Change this file while a program that uses it is running: the next sweep runs the new code.
"""

from drivebay.driver import IVSweep, ScpiDriver, method


class $class_name(ScpiDriver):
    output_query = ":OUTP?"

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep):  # p is checked: SI units, within the ranges of plugin.yaml
        self.write("*CLS", "*RST")  # a sweep that was stopped may have left an error behind
        self.write(":SOUR:FUNC VOLT", f":SOUR:VOLT:RANG {p.max_abs_v:g}")
        self.write(":SENS:FUNC:CONC ON", ':SENS:FUNC "VOLT","CURR"', f":SENS:CURR:NPLC {p.nplc:g}")
        self.write(f":SENS:CURR:PROT {p.compliance_a:g}", f":SOUR:DEL {p.delay_s:g}")
        self.write(f":SYST:RSEN {'ON' if p.four_wire else 'OFF'}", ":SYST:TIME:RES")
        self.write(":FORM:ELEM VOLT,CURR,TIME,STAT")
        self.check_errors()  # did the instrument take all of it?
        with self.output(on=":OUTP ON", off=":OUTP OFF"):  # off again whatever happens in here
            for level_v in p.levels:
                self.write(f":SOUR:VOLT {level_v:g}")
                volt, amp, seconds, status = self.query_numbers(":READ?", columns=4, rows=1)
                yield {
                    "voltage_v": volt,
                    "current_a": amp,
                    "time_s": seconds,
                    "in_compliance": (status.astype(int) & 8) > 0,  # bit 3 of the status word
                }
        self.check_errors()
'''

_README = """\
# $name

I-V sweeps with a $model, point by point.

| file | is |
| --- | --- |
| `plugin.yaml` | what it serves, its limits, its safe state |
| `driver.py` | the driver |
| `test_driver.py` | `pytest` runs the driver on a simulated 2400; `drivebay check` any instrument |

Say here which manual the commands are from (title, revision, pages), on which instruments it was
proven, and what it does not do.
"""

_TEST = '''\
"""The driver on a simulated Keithley 2400: run `pytest` in this folder."""

from pathlib import Path

import pytest

from drivebay import Bay
from drivebay.sim import Diode, Keithley2400Server
from drivebay.testing import check_driver

HERE = Path(__file__).parent


@pytest.fixture
def smu(tmp_path):
    with (
        Keithley2400Server(device=Diode(), time_scale=0) as server,
        Bay(home=tmp_path, plugin_dirs=[HERE]) as bay,
        bay.open(server.resource, plugin="$name") as instrument,
    ):
        yield instrument


def test_a_sweep_takes_each_level_once_and_leaves_the_output_off(smu):
    run = smu.iv_sweep(start_v=0, stop_v=0.6, points=13, compliance_a=0.01)

    assert run.state == "done"
    assert run["voltage_v"] == pytest.approx([0.05 * step for step in range(13)], abs=1e-3)
    assert run["current_a"][-1] > run["current_a"][0]
    assert smu.query(":OUTP?") == "0"


def test_the_current_never_exceeds_the_compliance(smu):
    run = smu.iv_sweep(start_v=0, stop_v=2, points=5, compliance_a=0.001)

    assert run["in_compliance"][-1]
    assert abs(run["current_a"]).max() <= 0.0011


def test_it_can_be_stopped_killed_edited_and_limited():
    with Keithley2400Server(device=Diode(), time_scale=0) as server:
        report = check_driver(HERE, server.resource)

    assert report.level == "gold", str(report)
'''

_FILES = {
    "plugin.yaml": _MANIFEST,
    "driver.py": _DRIVER,
    "README.md": _README,
    "test_driver.py": _TEST,
}


def write_plugin(
    folder: Path, *, name: str, model: str, manufacturer: str, author: str, overrides: list[str]
) -> list[Path]:
    """Write the files into a folder, which is made; return their paths.

    Args:
        folder: an empty or a new folder.
        name: the plugin's name.
        model: the model it serves.
        manufacturer: the maker, empty for any.
        author: who to ask.
        overrides: plugins it stands in for.
    """
    holes = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "model": model,
        "author": _quoted(author),
        "manufacturer": f"manufacturer: [{_quoted(manufacturer)}]\n" if manufacturer else "",
        "overrides": f"overrides: [{', '.join(overrides)}]\n" if overrides else "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in _FILES.items():
        path = folder / file
        path.write_text(Template(text).substitute(holes), encoding="utf-8")
        written.append(path)
    return written


def _quoted(text: str) -> str:
    return f'"{text}"'
