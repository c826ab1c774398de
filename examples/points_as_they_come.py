"""Watch a sweep while it runs and stop it when enough is seen; the points so far are kept.

Set DRIVEBAY_RESOURCES to the address of an instrument, or of a simulated one:
``drivebay sim keithley2400 --device diode`` prints it.
"""

from drivebay import AbortedError, Bay


def main() -> None:
    with Bay() as bay, bay.open(bay.find()[0].resource) as smu:
        stream = smu.stream("iv_sweep", start_v=0, stop_v=0.8, points=401, compliance_a=0.1)
        try:
            for chunk in stream:
                highest_a = float(chunk["current_a"].max())
                print(f"{len(chunk['current_a'])} points, up to {highest_a:.3e} A")
                if highest_a > 1e-3:
                    smu.abort()
        except AbortedError:
            print("stopped; the output is off")
        run = bay.runs.open("last")
        print(f"run {run.id}: {run.state}, {len(run)} points")


if __name__ == "__main__":
    main()
