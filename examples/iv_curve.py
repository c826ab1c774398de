"""Sweep an instrument, whichever it is; keep the run, some numbers and the plot.

``python examples/iv_curve.py RESOURCE``, where ``drivebay find`` lists the resources, and
``drivebay sim keithley2400 --device diode`` plays an instrument and prints its own.
"""

import sys

from drivebay import Bay


def main(resource: str) -> None:
    with Bay() as bay:
        found = bay.find([resource])[0]
        for candidate in found.candidates:
            print(candidate.plugin, *candidate.why, *candidate.why_not, sep="; ")
        with bay.open(resource) as smu:
            run = smu.iv_sweep(start_v=0, stop_v=0.8, points=81, compliance_a=0.1)

        print(f"run {run.id}: {run.state}, {len(run)} points")
        for voltage_v, current_a in zip(
            run["voltage_v"][::10], run["current_a"][::10], strict=True
        ):
            print(f"{voltage_v:8.3f} V {current_a:12.4e} A")
        run.plot("iv_curve.png")


if __name__ == "__main__":
    main(sys.argv[1])
