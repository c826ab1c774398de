"""Whether a class is a driver: checked before it is put in service, not when it is first used.

Promises: concrete, of this platform's contract, callable as the contract calls it, and nothing in
the manifest that the class cannot do. Never constructs the class: that may touch hardware.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from drivebay._core.contract import InstrumentDriver, ScpiDriver, SteppedSource, plugin_metadata
from drivebay._core.errors import LoadError, nearest
from drivebay._core.manifest import PluginMetadata, canonical_name

_CALLS: Final[dict[str, tuple[Any, ...]]] = {
    # What the platform passes; a driver may take more, as long as it has defaults.
    "__init__": (None, "resource", None),
    "connect": (None,),
    "disconnect": (None,),
    "reset": (None,),
    "get_identity": (None,),
    "get_capabilities": (None,),
    "configure": (None, "method", {}),
    "measure": (None, "method", {}),
    "abort": (None,),
    "get_status": (None,),
}


_PACED: Final = ("begin_steps", "step_to", "step_read", "end_steps")
"""What the platform calls on each of two instruments in step."""


def verify_driver(found: type, metadata: PluginMetadata) -> None:
    """Check a class against the contract and its manifest.

    Raises:
        LoadError: with everything that is missing named at once.
    """
    name = found.__qualname__
    if not issubclass(found, InstrumentDriver):
        raise LoadError(_wrong_base(found), plugin=metadata.name)
    if found in {InstrumentDriver, ScpiDriver}:
        raise LoadError(f"{name} is the contract itself, not a driver", plugin=metadata.name)
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise LoadError(f"{name} does not implement: {', '.join(missing)}", plugin=metadata.name)
    for method, arguments in _CALLS.items():
        problem = _call_problem(getattr(found, method), arguments)
        if problem:
            raise LoadError(f"{name}.{method} {problem}", plugin=metadata.name)
    if issubclass(found, ScpiDriver):
        _verify_methods(found, metadata)
    if metadata.paired_methods:
        _verify_paced(found, metadata)


def _wrong_base(found: type) -> str:
    for base in found.__mro__:
        if base.__name__ == InstrumentDriver.__name__ and base is not InstrumentDriver:
            return (
                f"{found.__qualname__} derives from InstrumentDriver of {base.__module__!r}; "
                "the platform's is drivebay.InstrumentDriver, import it from drivebay"
            )
    return f"{found.__qualname__} does not implement InstrumentDriver interface"


def _call_problem(function: Any, arguments: tuple[Any, ...]) -> str | None:
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__wrapped__"):
        # The common case, about a hundred times cheaper than a Signature.
        required = code.co_argcount - len(function.__defaults__ or ())
        room = len(arguments) <= code.co_argcount or code.co_flags & inspect.CO_VARARGS
        keywords = code.co_kwonlyargcount - len(function.__kwdefaults__ or {})
        if required <= len(arguments) and room and keywords <= 0:
            return None
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as exc:
        return f"cannot be called as the contract does: {exc}"
    except ValueError:
        return None  # a builtin without a signature: only a call can tell
    return None


def _verify_methods(found: type[ScpiDriver], metadata: PluginMetadata) -> None:
    has = found.supported_methods()
    absent = [method for method in metadata.supported_methods if method not in has]
    if absent:
        hints = "".join(nearest(method, has) for method in absent[:1])
        raise LoadError(
            f"manifest declares {', '.join(map(repr, absent))}, {found.__qualname__} has no such "
            f"@method{hints} (has: {', '.join(has) or 'none'})",
            plugin=metadata.name,
        )


def _verify_paced(found: type, metadata: PluginMetadata) -> None:
    absent = [name for name in _PACED if not callable(getattr(found, name, None))]
    if absent:
        raise LoadError(
            f"manifest declares paired_methods, {found.__qualname__} cannot be paced: it has no "
            f"{', '.join(absent)} (derive it from SteppedSource)",
            plugin=metadata.name,
        )


def drift(found: type, metadata: PluginMetadata) -> tuple[str, ...]:
    """Return where a class, or its own ``@driver_plugin``, contradicts the manifest it is of."""
    paced: tuple[str, ...] = ()
    if issubclass(found, SteppedSource) and not metadata.paired_methods:
        paced = (f"{found.__qualname__} can be paced, the manifest has no paired_methods",)
    said = plugin_metadata(found)
    if said is None:
        return paced
    pairs: list[tuple[str, object, object]] = [
        (key, getattr(said, key), getattr(metadata, key))
        for key in ("version", "supported_methods", "supported_models")
    ]
    pairs.append(("name", canonical_name(said.name), canonical_name(metadata.name)))
    return paced + tuple(
        f"@driver_plugin says {key} {mine!r}, plugin.yaml says {theirs!r}"
        for key, mine, theirs in pairs
        if mine != theirs
    )
