"""What tests of limited drivers share: a class, a guard's word, all that a simulator takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import drivebay
from drivebay import LimitError
from drivebay._core.limits import Guard
from drivebay.driver import ScpiDriver


def load_driver(name: str, class_name: str) -> type[ScpiDriver]:
    """The class as the loader would give it: from the file, without a package."""
    file = Path(drivebay.__file__).parent / "drivers" / name / "driver.py"
    spec = importlib.util.spec_from_file_location(f"{name}_driver", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[ScpiDriver] = getattr(module, class_name)
    return found


def send(judge: Guard, *commands: str) -> None:
    for command in commands:
        judge.committed(judge.check(command.encode("latin-1")))


def code_of(judge: Guard, command: str) -> str:
    """The code of the refusal, empty if the command passes."""
    try:
        judge.check(command.encode("latin-1"))
    except LimitError as refused:
        return refused.code
    return ""


def commands_of(tree: Any) -> list[str]:
    """Everything that a simulator takes and that is no question, in its own notation."""
    seen: list[str] = []
    pending = [tree.root]
    while pending:
        node = pending.pop()
        if node.command is not None and node.command.write is not None:
            seen += [p for p in node.command.patterns if p not in seen]
        pending += list(dict.fromkeys(node.children.values()))
    return sorted(seen)


def spelled(pattern: str) -> str:
    """The longest spelling of a header in the simulator's notation."""
    return pattern.replace("[1]", "").replace("[", "").replace("]", "")


class Nobody:
    """A client that wants no answers."""

    name = "nobody"

    def send(self, data: bytes) -> None:
        pass

    def flush(self) -> None:
        pass
