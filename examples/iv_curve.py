"""Sweep whatever is connected and can do it; keep the run, the numbers as CSV and the plot.

Set DRIVEBAY_RESOURCES to the address of an instrument, or of a simulated one:
``drivebay sim keithley2400 --device diode`` prints it.
"""

from drivebay import Bay


def main() -> None:
    with Bay() as bay:
        usable = [found for found in bay.find() if found.plugin]
        if not usable:
            raise SystemExit("no instrument with a driver; see `drivebay find`")
        print(f"using {usable[0].resource} through {usable[0].plugin}")

        with bay.open(usable[0].resource) as smu:
            run = smu.iv_sweep(start_v=0, stop_v=0.8, points=81, compliance_a=0.1)

        print(f"run {run.id}: {run.state}, {len(run)} points")
        run.plot("iv_curve.png")
        for voltage_v, current_a in zip(
            run["voltage_v"][::10], run["current_a"][::10], strict=True
        ):
            print(f"{voltage_v:8.3f} V {current_a:12.4e} A")


if __name__ == "__main__":
    main()
