"""Watch a sweep while it runs and stop it when enough is seen; the points so far are kept.

``python examples/points_as_they_come.py RESOURCE``; see ``iv_curve.py``.
"""

import sys

from drivebay import AbortedError, Bay


def main(resource: str) -> None:
    with Bay() as bay, bay.open(resource) as smu:
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
    main(sys.argv[1])
