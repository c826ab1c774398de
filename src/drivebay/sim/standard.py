"""The commands every SCPI instrument has: IEEE 488.2's, its status registers, its error queue.

Promises: what SCPI-99 volume 1, chapters 4 and 5, and IEEE 488.2 chapter 10 require, for any
``ScpiInstrument``. Never holds state: that is in the instrument's ``status``.

An instrument takes the groups its manual lists, and overrides by declaring first: of two commands
with one header a tree keeps the one that came first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivebay.sim.declaring import action, none, only, query
from drivebay.sim.parameters import bounded
from drivebay.sim.syntax import Command


def _clear(inst: Any, arguments: list[str]) -> None:
    none(arguments)
    inst.status.clear()


def _set_event_enable(inst: Any, arguments: list[str]) -> None:
    inst.status.standard.enable = int(bounded(only(arguments), 0, 255, 0))


def _set_service_enable(inst: Any, arguments: list[str]) -> None:
    inst.status.service_enable = int(bounded(only(arguments), 0, 255, 0)) & ~64


def _take_standard_event(inst: Any, arguments: list[str]) -> str:
    none(arguments)
    return str(inst.status.standard.take_event())


def _operation_complete(inst: Any, arguments: list[str]) -> None:
    none(arguments)
    inst.operation_complete()


def reset(inst: Any, arguments: list[str]) -> None:
    """Calls the instrument's ``reset``."""
    none(arguments)
    inst.reset()


def _wait(inst: Any, arguments: list[str]) -> None:
    none(arguments)


def common(*, reset_is_urgent: bool = True) -> tuple[Command, ...]:
    """``*CLS`` to ``*WAI``.

    Args:
        reset_is_urgent: whether ``*RST`` is obeyed while the instrument is busy.
    """
    return (
        Command(("*CLS",), write=_clear),
        Command(
            ("*ESE",),
            write=_set_event_enable,
            query=lambda inst, arguments: str(inst.status.standard.enable),
        ),
        Command(("*ESR",), query=_take_standard_event),
        Command(("*IDN",), query=lambda inst, arguments: inst.identity),
        Command(
            ("*OPC",),
            write=_operation_complete,
            query=lambda inst, arguments: "1",
            when_idle=True,
        ),
        Command(("*RST",), write=reset, urgent=reset_is_urgent),
        Command(
            ("*SRE",),
            write=_set_service_enable,
            query=lambda inst, arguments: str(inst.status.service_enable),
        ),
        Command(("*STB",), query=lambda inst, arguments: str(inst.status_byte)),
        Command(("*TST",), query=lambda inst, arguments: "0"),
        Command(("*WAI",), write=_wait, when_idle=True),
    )


def next_error(inst: Any, arguments: list[str]) -> str:
    """Answers with the oldest error, and forgets it."""
    none(arguments)
    return str(inst.error_entry(inst.status.errors.take()))


def all_errors(inst: Any, arguments: list[str]) -> str:
    """Answers with every error, and forgets them; the empty queue's entry if there is none."""
    none(arguments)
    errors = inst.status.errors
    return ",".join(inst.error_entry(errors.take()) for _ in range(max(len(errors), 1)))


def error_queue(version: str = "1999.0") -> tuple[Command, ...]:
    """``:SYSTem:ERRor`` with its count and its version.

    Args:
        version: the answer to ``:SYSTem:VERSion?``.
    """
    return (
        Command((":SYSTem:ERRor[:NEXT]",), query=next_error),
        Command((":SYSTem:ERRor:ALL",), query=all_errors),
        query(":SYSTem:ERRor:COUNt", lambda inst, arguments: str(len(inst.status.errors))),
        action(":SYSTem:CLEar", lambda inst: inst.status.errors.clear()),
        query(":SYSTem:VERSion", lambda inst, arguments: version),
    )


def _register_commands(pattern: str, register: Callable[[Any], Any]) -> tuple[Command, ...]:
    def set_enable(inst: Any, arguments: list[str]) -> None:
        register(inst).enable = int(bounded(only(arguments), 0, 65535, 0)) & 0x7FFF

    return (
        query(f"{pattern}[:EVENt]", lambda inst, arguments: str(register(inst).take_event())),
        query(f"{pattern}:CONDition", lambda inst, arguments: str(register(inst).condition)),
        Command(
            (f"{pattern}:ENABle",),
            write=set_enable,
            query=lambda inst, arguments: str(register(inst).enable),
        ),
    )


def status_registers(*, measurement: bool = False) -> tuple[Command, ...]:
    """``:STATus``: the operation and questionable registers, and ``:STATus:PRESet``.

    Args:
        measurement: also the measurement register that some instruments have.
    """
    commands = (
        *_register_commands(":STATus:OPERation", lambda inst: inst.status.operation),
        *_register_commands(":STATus:QUEStionable", lambda inst: inst.status.questionable),
        action(":STATus:PRESet", lambda inst: inst.status.preset()),
    )
    if not measurement:
        return commands
    own = _register_commands(":STATus:MEASurement", lambda inst: inst.status.measurement)
    return (*commands, *own)
