"""NetCDF-4, through h5netcdf, as xarray would write it and reads it.

``xarray.open_dataset`` of the file is ``run.to_xarray()``: one dimension, ``point``, what was swept
and the time as coordinates, ``units`` and ``long_name`` as CF has them, booleans as xarray stores
them. A name that NetCDF does not allow is changed, and stands unchanged in ``long_name``.
h5netcdf writes block by block, which xarray itself would do only with dask.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any, Final

from drivebay._core.runs import frames
from drivebay._core.runs.export import hdf5
from drivebay._core.runs.extract import Extract, distinct, needed

_DTYPES: Final = {"float": "<f8", "int": "<i8", "bool": "i1"}


def write(extract: Extract, path: Path) -> None:
    """Write a run.

    Raises:
        RunError: h5netcdf or h5py is not installed.
    """
    h5netcdf = needed("h5netcdf", "a NetCDF file")
    names = distinct(extract.units, clean_name)
    dimension = frames.dimension({*extract.units, *names.values()})
    coordinates = frames.coordinates(extract.units, extract.kinds)
    with h5netcdf.File(path, "w") as file:
        # NetCDF takes a length of zero for a dimension that may grow; there is no other empty one.
        file.dimensions = {dimension: extract.rows or None}
        packed = hdf5.storage(extract.rows)
        for name, unit in extract.units.items():
            variable = file.create_variable(
                names[name],
                (dimension,),
                _DTYPES[extract.kinds[name]],
                **packed,
            )
            variable.attrs.update(frames.column_attributes(name, unit))
            if extract.kinds[name] == "bool":
                variable.attrs["dtype"] = "bool"  # xarray's own mark
            if name not in coordinates and coordinates:
                variable.attrs["coordinates"] = " ".join(names[n] for n in coordinates)
        file.attrs.update(frames.global_attributes(extract.about))
        _write_rows(file, extract, names)


def _write_rows(file: Any, extract: Extract, names: dict[str, str]) -> None:
    at = 0
    for block in extract.blocks():
        rows = len(next(iter(block.values())))
        for name, array in block.items():
            values = array.astype("i1") if extract.kinds[name] == "bool" else array
            file.variables[names[name]][at : at + rows] = values
        at += rows


def clean_name(name: str) -> str:
    """Return a name that NetCDF and CF allow: letters, digits and underscores.

    >>> clean_name("current/area [A/m2]"), clean_name("2nd"), clean_name("_x"), clean_name("größe")
    ('current_area__A_m2_', 'v2nd', 'v_x', 'größe')
    """
    cleaned = re.sub(r"\W", "_", unicodedata.normalize("NFC", name))
    return cleaned if cleaned[0].isalpha() else f"v{cleaned}"
