"""A run for other people's programs: CSV, JSON, Parquet, HDF5, NetCDF.

Promises: every number comes out as it was measured, kinds, units, not-a-number and infinities
included; a file appears whole or not at all; one that exists is not replaced unasked; memory does
not grow with the run. Never writes to the run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from drivebay._core.errors import RunError
from drivebay._core.runs import fileformat
from drivebay._core.runs.export import hdf5, netcdf, parquet, text
from drivebay._core.runs.export.placing import placed
from drivebay._core.runs.extract import Extract

if TYPE_CHECKING:
    from drivebay._core.runs.run import Run

__all__ = ["ENDINGS", "KINDS", "export_run"]

_BINARY: Final[dict[str, Callable[[Extract, Path], None]]] = {
    "parquet": parquet.write,
    "hdf5": hdf5.write,
    "netcdf": netcdf.write,
}
KINDS: Final = ("csv", "json", *_BINARY)
ENDINGS: Final = {
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".nc": "netcdf",
    ".nc4": "netcdf",
}


def export_run(
    run: Run,
    target: Path | str | TextIO,
    kind: str | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write a run and return the files written.

    A CSV file gets its metadata beside it: ``sweep.csv`` and ``sweep.csv.json``. Written to an
    open text stream, it is the CSV alone and no file is returned.

    Args:
        run: the run, also one that is still being measured: the rows there are now.
        target: a path, or an open text stream for ``csv`` and ``json``.
        kind: one of ``csv``, ``json``, ``parquet``, ``hdf5``, ``netcdf``; None takes it from the
            path's ending.
        overwrite: replace files that exist.

    Raises:
        RunError: no such kind, a file exists already, or the library for the kind is missing.
        StoreError: the run is damaged, or the target cannot be written.
    """
    if not isinstance(target, str | Path):
        if kind not in {"csv", "json"}:
            raise RunError(f"a stream takes csv or json, not {kind!r}; give the name of a file")
        _stream(Extract.of(run), target, kind)
        return ()
    path = Path(target)
    kind = kind or ENDINGS.get(path.suffix.lower(), path.suffix[1:])
    if kind not in KINDS:
        raise RunError(f"cannot export a run as {kind!r}; kinds are {', '.join(KINDS)}")
    extract = Extract.of(run)
    files = (path, path.with_name(f"{path.name}.json")) if kind == "csv" else (path,)
    with (
        fileformat.store_errors(path, "write"),
        placed(files, overwrite=overwrite) as building,
    ):
        if kind in _BINARY:
            _BINARY[kind](extract, building[0])
        else:
            with building[0].open("w", encoding="utf-8", newline="") as stream:
                _stream(extract, stream, kind)
        if kind == "csv":
            building[1].write_text(extract.about_text(indent=2) + "\n", encoding="utf-8")
    return files


def _stream(extract: Extract, stream: Any, kind: str) -> None:
    if kind == "csv":
        text.write_csv(extract, stream)
    else:
        text.write_json(extract, stream)
