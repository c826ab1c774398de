"""Sweep, and hand the numbers to people who do not have Drivebay: Parquet, HDF5 and NetCDF.

``python examples/numbers_for_others.py RESOURCE``; see ``iv_curve.py``. The second half reads the
files back with nothing but pandas, h5py and xarray (``pip install 'drivebay[export]'``).
"""

import json
import sys

import h5py
import pandas
import xarray

from drivebay import Bay


def measure(resource: str) -> None:
    with Bay() as bay, bay.open(resource) as smu:
        run = smu.iv_sweep(start_v=0, stop_v=0.8, points=81, compliance_a=0.1)
        run.tag("example")
        for file in ("iv.parquet", "iv.h5", "iv.nc"):
            bay.runs.export(run, file, overwrite=True)


def read() -> None:
    frame = pandas.read_parquet("iv.parquet")
    print(f"pandas  {len(frame)} rows of {', '.join(frame)}")
    print(f"        in {frame.attrs['units']}")

    with h5py.File("iv.h5") as file:
        amps = file["columns/current_a"]
        print(f"h5py    up to {amps[:].max():.3e} {amps.attrs['unit']}")
        print(f"        set as {dict(file['parameters'].attrs)}")
        print(f"        by the code in {', '.join(file['sources']) or 'no file'}")

    with xarray.open_dataset("iv.nc") as data:
        at_half_a_volt = data.swap_dims(point="voltage_v").sel(voltage_v=0.5, method="nearest")
        print(f"xarray  {at_half_a_volt['current_a'].item():.3e} A at 0.5 V")
        print(f"        tags {json.loads(data.attrs['metadata'])['tags']}")


if __name__ == "__main__":
    measure(sys.argv[1])
    read()
