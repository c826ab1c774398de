"""The program of an owner in the crash laboratory: it measures when it is told to, and says so.

Reads orders and writes facts as lines of JSON. What it says of points it says after they were
handed out, so what was heard of it must be on disk whatever becomes of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from drivebay import Bay


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    with Bay() as bay:
        smu = bay.open(order["resource"], **order.get("options", {}))
        say(keeper=smu.keeper_pid, host=smu.host_pid)
        for line in sys.stdin:
            stream = smu.stream("iv_sweep", **json.loads(line)["sweep"])
            points = 0
            for chunk in stream:
                points += len(chunk["voltage_v"])
                say(run=stream.run.id, points=points)
            say(run=stream.run.id, points=points, state=stream.run.state)


if __name__ == "__main__":
    main()
