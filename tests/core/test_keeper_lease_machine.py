"""At most one holder of a lease, whatever the order of taking, letting go and dying.

Twelve examples of thirty steps and four processes that race; ``HYPOTHESIS_PROFILE=soak`` makes it
2,000 of fifty, and fifty processes that take it 1,000 times each.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from drivebay._core.errors import LeaseError
from drivebay._core.keeper.records import Lease, key_of, lock_owner, read_holder

SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
RACERS, TURNS = (50, 1000) if SOAK else (4, 100)
RESOURCES = ["GPIB0::1::INSTR", "GPIB0::2::INSTR"]
NAMES = ["ada", "eve", "bob"]

HOLDER = """\
import os, sys
from pathlib import Path
from drivebay._core.errors import LeaseError
from drivebay._core.keeper.records import Lease
held = {}
for line in sys.stdin:
    what, folder, resource, name = line.rstrip("\\n").split("\\t")
    try:
        if what == "take":
            held[resource] = Lease.take(Path(folder), resource, {"user": name, "pid": os.getpid()})
        else:
            held.pop(resource).release()
        print("done", flush=True)
    except LeaseError as exc:
        print("held by " + str(exc.holder.get("user")), flush=True)
"""


class Other:
    """Another process that takes leases."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def say(self, *words: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class Leases(RuleBasedStateMachine):
    """Takers in this process (a descriptor each) and in others, against a model of one holder."""

    others: dict[str, Other]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="leases-"))
        self.holder: dict[str, str] = {}
        self.mine: dict[tuple[str, str], Lease] = {}
        self.others = {}

    @rule(resource=st.sampled_from(RESOURCES), name=st.sampled_from(NAMES))
    def take_here(self, resource: str, name: str) -> None:
        facts: dict[str, Any] = {"user": name}
        if resource in self.holder:
            with pytest.raises(LeaseError) as caught:
                Lease.take(self.folder, resource, facts)
            assert caught.value.holder["user"] == self.holder[resource]
        else:
            self.mine[resource, name] = Lease.take(self.folder, resource, facts)
            self.holder[resource] = name

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def let_go_here(self, data: st.DataObject) -> None:
        resource, name = data.draw(st.sampled_from(sorted(self.mine)))
        lease = self.mine.pop((resource, name))
        lease.release()
        lease.release()
        del self.holder[resource]

    @rule(resource=st.sampled_from(RESOURCES), name=st.sampled_from(["p1", "p2"]))
    def take_there(self, resource: str, name: str) -> None:
        if name not in self.others:
            self.others[name] = Other()
        said = self.others[name].say("take", str(self.folder), resource, name)
        if resource in self.holder:
            assert said == f"held by {self.holder[resource]}"
        else:
            assert said == "done"
            self.holder[resource] = name

    @precondition(lambda self: set(self.holder.values()) & set(self.others))
    @rule(data=st.data())
    def let_go_there(self, data: st.DataObject) -> None:
        theirs = [(r, n) for r, n in self.holder.items() if n in self.others]
        resource, name = data.draw(st.sampled_from(sorted(theirs)))
        assert self.others[name].say("release", str(self.folder), resource, name) == "done"
        del self.holder[resource]

    @precondition(lambda self: self.others)
    @rule(data=st.data())
    def kill_there(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.others)))
        self.others.pop(name).kill()
        self.holder = {r: n for r, n in self.holder.items() if n != name}

    @invariant()
    def the_system_agrees_with_the_model(self) -> None:
        for resource in RESOURCES:
            path = self.folder / f"{key_of(resource)}.lease"
            if resource not in self.holder:
                if path.exists():
                    with path.open("r+b") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or it raises
                continue
            holder = self.holder[resource]
            other = self.others.get(holder)
            assert read_holder(self.folder, resource)["user"] == holder
            assert lock_owner(self.folder, resource) in {
                other.process.pid if other else os.getpid(), 0
            }  # fmt: skip

    def teardown(self) -> None:
        for lease in self.mine.values():
            lease.release()
        for other in self.others.values():
            other.kill()
        shutil.rmtree(self.folder)


TestLeases = Leases.TestCase
TestLeases.settings = settings(
    max_examples=2000 if SOAK else 12, stateful_step_count=50 if SOAK else 30
)


RACER = """\
import sys
from pathlib import Path
from drivebay._core.errors import LeaseError
from drivebay._core.keeper.records import Lease
folder, count = Path(sys.argv[1]), int(sys.argv[2])
inside = folder / "inside"
won = 0
while won < count:
    try:
        lease = Lease.take(folder, "GPIB0::1::INSTR", {"user": "racer"})
    except LeaseError:
        continue
    inside.touch(exist_ok=False)  # nobody else may be in here
    inside.unlink()
    won += 1
    lease.release()
"""


def test_racing_processes_are_never_two_at_a_time(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), str(TURNS)], env=environment)
        for _ in range(RACERS)
    ]

    assert [racer.wait(1800 if SOAK else 120) for racer in racers] == [0] * RACERS
