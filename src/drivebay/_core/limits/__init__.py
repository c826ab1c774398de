"""Limits: every command is judged before it is sent; pure code without input or output.

The process that owns a link holds a :class:`Guard`, asks it about each message, sends what passes
and then says so. Commands are read by the manifest's ``dialect``, in any spelling that SCPI allows.
Imports no numpy and no plugin code: it runs in a process that must stay small.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivebay._core.limits.dialect import faults_of
    from drivebay._core.limits.effect import ALL_CHANNELS, Effect, Level, Mark
    from drivebay._core.limits.guard import Guard
    from drivebay._core.limits.proof import Asked

COMMAND_KEYS = ("energise", "off", "harmless", "recall", "select")
"""Keys of a dialect that list commands."""
SETTING_KEYS = ("levels", "clamps")
"""Keys of a dialect that map headers to what they set."""
LANGUAGES = ("scpi", "tsp")

CODES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "L001": ("a value beyond a limit", "stay within it, or change it where it stands"),
        "L002": (
            "a value that cannot be known for certain",
            "write a number; `MAX`, `MIN` and `DEF` only where the dialect gives their value",
        ),
        "L003": (
            "a command that the dialect of a limited instrument does not list",
            "use the one it names, or list it in the manifest",
        ),
        "L004": (
            "an output would go on before its protection was set",
            "set the protection that it names first, after each connection and reset",
        ),
        "L005": (
            "a command that brings back levels from elsewhere",
            "set the levels one by one",
        ),
        "L006": (
            "a message that could be read in two ways",
            "one message at a time, in plain ASCII, strings and blocks whole",
        ),
        "L007": (
            "a statement in a language that cannot be followed",
            "list it word for word, or set levels by plain assignments",
        ),
        "L008": (
            "a protection that the instrument did not take",
            "look into its list of errors; set the protection again, within its range",
        ),
        "L009": (
            "a command for the selected channel while it is not known which one that is",
            "select one first, after each connection and reset, or name the channel",
        ),
    }
)
"""Every code a refusal can have: what is wrong, and what to do about it."""

__all__ = [
    "ALL_CHANNELS",
    "CODES",
    "COMMAND_KEYS",
    "LANGUAGES",
    "SETTING_KEYS",
    "Asked",
    "Effect",
    "Guard",
    "Level",
    "Mark",
    "faults_of",
]

_HOMES = {
    "ALL_CHANNELS": "effect",
    "Asked": "proof",
    "Effect": "effect",
    "Guard": "guard",
    "Level": "effect",
    "Mark": "effect",
    "faults_of": "dialect",
}


def __getattr__(name: str) -> Any:
    """Nothing is imported before it is used: manifests without a dialect are read without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
