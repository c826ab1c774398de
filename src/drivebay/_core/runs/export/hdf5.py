"""HDF5, through h5py: everything a run holds, for h5py and ``h5ls`` as they come.

``/columns/NAME`` are the points, each with the attributes ``unit`` and ``name``; ``/parameters``
has one attribute a parameter; ``/metadata`` is what is known of the run, whole, as JSON;
``/transcript`` the traffic with the instrument, ``/sources/PLUGIN`` the driver's files, byte for
byte.
A slash in a name, which HDF5 would take for a group, is written as a division slash; the attribute
``name`` has the name as it was. Traffic and files that are damaged are left out, and the attribute
``problems`` of their group says which.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from drivebay._core.errors import StoreError
from drivebay._core.runs import plain
from drivebay._core.runs.extract import BLOCK_ROWS, Extract, distinct, needed

if TYPE_CHECKING:
    from drivebay._core.runs.run import Run
    from drivebay._core.runs.transcript import Message

FORMAT: Final = "drivebay run, HDF5 layout 1"
_DTYPES: Final = {"float": "<f8", "int": "<i8", "bool": "?"}
_TOP: Final = ("run", "state", "reason", "method", "resource", "started_at", "ended_at")
_MESSAGES_A_STEP: Final = 10_000
_INT64: Final = range(-(2**63), 2**63)


def write(extract: Extract, path: Path) -> None:
    """Write a run.

    Raises:
        RunError: h5py is not installed.
    """
    h5py = needed("h5py", "an HDF5 file")
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        for key in _TOP:
            if extract.about[key] is not None:
                file.attrs[key] = _attribute(extract.about[key])
        file["metadata"] = extract.about_text()
        parameters = file.create_group("parameters")
        for key, value in extract.about["parameters"].items():
            if key.isprintable() and key:
                parameters.attrs[key] = _attribute(value)
        _write_columns(file.create_group("columns", track_order=True), extract)
        try:
            _write_transcript(h5py, file.create_group("transcript"), extract.run.messages())
        except StoreError:
            # Once more, with every block that is whole; a transcript that is has no second reading.
            del file["transcript"]
            messages, problems = extract.run.salvage_transcript()
            _write_transcript(h5py, file.create_group("transcript"), messages)
            file["transcript"].attrs["problems"] = list(problems)
        _write_sources(file.create_group("sources"), extract.run)


def storage(rows: int) -> dict[str, Any]:
    """Return how a column of so many rows is stored: in blocks, by the filters every HDF5 has."""
    if not rows:  # HDF5 has no chunks in what has no rows
        return {}
    chunks = (min(rows, BLOCK_ROWS),)
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}


def _write_columns(group: Any, extract: Extract) -> None:
    names = distinct(extract.units, _dataset_name)
    packed = storage(extract.rows)
    for name, unit in extract.units.items():
        dataset = group.create_dataset(
            names[name],
            (extract.rows,),
            _DTYPES[extract.kinds[name]],
            **packed,
        )
        dataset.attrs["name"], dataset.attrs["unit"] = name, unit
    at = 0
    for block in extract.blocks():
        rows = len(next(iter(block.values())))
        for name, array in block.items():
            group[names[name]][at : at + rows] = array
        at += rows


def _write_transcript(h5py: Any, group: Any, messages: Iterable[Message]) -> None:
    """One row a message; its bytes are ``data[start:start + length]``.

    All bytes in one piece, and not a type of variable length: that is compressed, and h5py takes
    messages of one length for a table.
    """
    import numpy as np

    integer, text, octet = np.dtype("<i8"), h5py.string_dtype(), np.dtype("u1")
    kinds = {"time_ns": integer, "phase": text, "direction": text, "instrument": text}
    kinds["start"] = integer
    for name, kind in {**kinds, "length": integer, "data": octet}.items():
        group.create_dataset(
            name, (0,), kind, maxshape=(None,), chunks=(BLOCK_ROWS if kind is octet else 1024,),
            compression="gzip", compression_opts=1,
        )  # fmt: skip
    group["time_ns"].attrs["unit"] = "ns"
    group["direction"].attrs["w"], group["direction"].attrs["r"] = "to instrument", "from it"
    remaining = iter(messages)
    while batch := list(itertools.islice(remaining, _MESSAGES_A_STEP)):
        lengths = np.array([len(message.data) for message in batch], integer)
        ends = np.cumsum(lengths) + len(group["data"])
        _add(group["time_ns"], np.array([message.time_ns for message in batch], integer))
        _add(group["phase"], np.array([message.phase for message in batch], object))
        _add(group["direction"], np.array([message.direction for message in batch], object))
        _add(group["instrument"], np.array([message.instrument for message in batch], object))
        _add(group["start"], ends - lengths)
        _add(group["length"], lengths)
        _add(group["data"], np.frombuffer(b"".join(message.data for message in batch), octet))


def _add(dataset: Any, values: Any) -> None:
    at = len(dataset)
    dataset.resize((at + len(values),))
    dataset[at:] = values


def _write_sources(group: Any, run: Run) -> None:
    """One group a plugin: that of the driver, and those it imports."""
    import numpy as np

    try:
        plugins = run.all_sources
    except StoreError as exc:
        group.attrs["problems"] = [str(exc)]
        return
    for plugin, files in plugins.items():
        for path, content in files.items():
            parts = (_dataset_name(part) for part in (plugin, *path.split("/")))
            group["/".join(parts)] = np.frombuffer(content, np.uint8)


def _dataset_name(name: str) -> str:
    """Return a name that HDF5 takes for a name: no path, and not the group itself."""
    return {".": "\u2024", "..": "\u2024\u2024", "": "_"}.get(name) or name.replace("/", "\u2215")


def _attribute(value: Any) -> Any:
    """Return what an attribute can hold; anything else as JSON."""
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value in _INT64:
        return value
    if isinstance(value, str) and "\0" not in value:
        return value
    return json.dumps(plain.strict(value), ensure_ascii=False)
