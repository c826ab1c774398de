"""A run as a pandas DataFrame and as an xarray Dataset, with its units.

Promises: values and kinds as measured, and what is written down of them the same in both and in
the exports. The libraries (the extra ``[export]``) are imported when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from drivebay._core.runs import plain
from drivebay._core.runs.extract import about, needed

if TYPE_CHECKING:
    from drivebay._core.runs.run import Run

_TOLD: Final = ("run", "state", "reason", "method", "resource", "started_at", "ended_at")
_CONVENTIONS: Final = "CF-1.11"


def to_pandas(run: Run) -> Any:
    """Return the columns as a DataFrame; what is known of the run is in its ``attrs``.

    Raises:
        RunError: pandas is not installed.
        StoreError: the run is damaged.
    """
    pandas = needed("pandas", "to_pandas()")
    frame = pandas.DataFrame({name: array.copy() for name, array in run.columns.items()})
    frame.attrs.update(attributes(run))
    return frame


def to_xarray(run: Run) -> Any:
    """Return the run as a Dataset over one dimension, ``point``.

    What was swept and the time are coordinates, not an index, since a sweep that goes up and comes
    back meets every level twice: ``swap_dims(point="voltage_v")`` makes one an index. Every
    variable has ``units`` and ``long_name``; the attributes of the whole can be stored by
    ``to_netcdf``.

    Raises:
        RunError: xarray is not installed.
        StoreError: the run is damaged.
    """
    xarray = needed("xarray", "to_xarray()")
    columns, units = run.columns, run.units
    over = (dimension(units),)
    variables = {
        name: xarray.Variable(over, array.copy(), column_attributes(name, units[name]))
        for name, array in columns.items()
    }
    along = coordinates(units, run.kinds)
    return xarray.Dataset(
        {name: variable for name, variable in variables.items() if name not in along},
        {name: variables[name] for name in along},
        global_attributes(about(run)),
    )


def attributes(run: Run) -> dict[str, Any]:
    """Return what a DataFrame says of its run: plain data, which Parquet can keep."""
    known = run.to_summary()
    told = ("run", "state", "method", "resource", "started_at", "units", "parameters")
    return {key: known[key] for key in told}


def abscissa(units: Mapping[str, str], kinds: Mapping[str, str]) -> str | None:
    """Return the column that the others are functions of: the first one that is not a time.

    A method declares first what it sets. Time is a fact about each point, and the abscissa only
    where there is nothing else.

    >>> abscissa({"time_s": "s", "voltage_v": "V", "current_a": "A"}, {})
    'voltage_v'
    >>> abscissa({"current_a": "A", "time_s": "s"}, {}), abscissa({"current_a": "A"}, {})
    ('time_s', None)
    """
    numbers = [name for name in units if kinds.get(name) != "bool"]
    plainly = [name for name in numbers if not is_time(name, units[name])]
    if len(plainly) >= 2:
        return plainly[0]
    times = [name for name in numbers if name not in plainly]
    return times[0] if times and plainly else None


def is_time(name: str, unit: str) -> bool:
    """Whether a column says when a point was taken."""
    return unit == "s" and "time" in name


def coordinates(units: Mapping[str, str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that say where and when a point was taken; the rest is data."""
    along = abscissa(units, kinds)
    return tuple(name for name in units if name == along or is_time(name, units[name]))


def dimension(names: Iterable[str]) -> str:
    """Return the name of the dimension: ``point``, or that with underscores if a column has it."""
    found = "point"
    while found in names:
        found += "_"
    return found


def column_attributes(name: str, unit: str) -> dict[str, str]:
    """Return a variable's attributes as CF has them; without ``units`` it is a pure number."""
    return {"long_name": name} | ({"units": unit} if unit else {})


def global_attributes(known: Mapping[str, Any]) -> dict[str, str]:
    """Return a data set's attributes: only texts, which every format can keep.

    Args:
        known: what :func:`drivebay._core.runs.extract.about` gave.
    """
    found = {
        "Conventions": _CONVENTIONS,
        "title": f"{known['method']} {known['run']}",
        "source": instrument(known["identity"]) or known["resource"],
    }
    found |= {key: known[key] for key in _TOLD if known[key] is not None}
    found["parameters"] = _json(known["parameters"])
    found["metadata"] = _json(known)
    return {key: text.replace("\0", "") for key, text in found.items()}  # HDF5 texts have none


def instrument(identity: object) -> str:
    """Return maker, model and serial number of what was measured with, as far as it said them."""
    if not isinstance(identity, Mapping):
        return str(identity or "")
    said = (identity.get(key) for key in ("manufacturer", "model", "serial"))
    return " ".join(str(part) for part in said if part)


def _json(value: Any) -> str:
    return json.dumps(plain.strict(value), ensure_ascii=False)
