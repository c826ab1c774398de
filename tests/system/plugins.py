"""A driver for the simulated instrument, written on the spot, with one thing of it broken.

It is written as somebody in a hurry would: point by point, its output on in between, so that all
that keeps the instrument safe is the platform.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final

import yaml

NAME: Final = "lab"
VERSION: Final = "1.2.3"
SAFE_STATE: Final[dict[str, Any]] = {
    "interrupt": [":ABOR"],
    "writes": [":OUTP OFF"],
    "verify": {"query": ":OUTP?", "equals": "0"},
}

DRIVER: Final = """\
import ctypes, os, signal, socket, sys, threading, time

from drivebay.driver import IVSweep, ScpiDriver, method


class Driver(ScpiDriver):
    output_query = ":OUTP?"
    binary_has_length = False
    served = 0

    @method("iv_sweep")
    def iv_sweep(self, p: IVSweep):
        self.write(":SOUR:FUNC VOLT", ":SENS:CURR:PROT 0.01", ":SENS:CURR:NPLC 0.01")
        self.write(":SOUR:DEL 0", ":FORM:ELEM VOLT,CURR,TIME,STAT")
        self.write(":OUTP ON")
        for number, level in enumerate(p.levels):
            if number == 2:
                self.third_point()
            self.write(f":SOUR:VOLT {level:.7g}")
            v, i, t, status = self.query_numbers(":READ?", columns=4, rows=1)
            yield {"voltage_v": v, "current_a": i, "time_s": t + number,
                   "in_compliance": status < 0}
        self.write(":OUTP OFF")
        self.query(":OUTP?")
        self.served += 1

    def third_point(self):
        pass

    def edition(self):
        return EDITION

    def export_state(self):
        return {"served": self.served}

    def resume(self, state):
        self.served = state["served"]
"""


def write_driver(
    folder: Path,
    *,
    edition: int = 0,
    third_point: str = "pass",
    before: str = "",
    extra: str = "",
    source: str = "",
    **manifest: Any,
) -> Path:
    """Write the plugin ``lab`` and return its folder.

    Args:
        folder: of the plugins.
        edition: what its ``edition()`` gives.
        third_point: statements that run before the third point of a sweep, with the output on.
        before: statements that run when it is imported.
        extra: more of the class; what is named twice is what is named here.
        source: the whole text instead.
        **manifest: other keys of the manifest; None leaves one out.
    """
    home = folder / NAME
    home.mkdir(parents=True, exist_ok=True)
    keys: dict[str, Any] = {
        "name": NAME,
        "version": VERSION,
        "author": "A. Tester",
        "description": "a driver of the crash laboratory",
        "driver_class": "driver.Driver",
        "supported_methods": ["iv_sweep"],
        "supported_models": ["2400"],
        "safe_state": SAFE_STATE,
    } | manifest
    keys = {key: value for key, value in keys.items() if value is not None}
    (home / "plugin.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    hook = textwrap.indent(textwrap.dedent(third_point), 8 * " ")
    text = DRIVER.replace("EDITION", str(edition)).replace("        pass\n", hook + "\n", 1)
    text += textwrap.indent(textwrap.dedent(extra), 4 * " ")
    (home / "driver.py").write_text(source or f"{before}\n{text}", encoding="utf-8")
    return home
