"""NetCDF files, as xarray, erlab and peaks write them: NetCDF4 through h5netcdf, classic NetCDF through SciPy."""

import struct
from pathlib import Path

import xarray as xr

from bandjax.io.choose import choose, describe, looks_like_map
from bandjax.io.formats import broken

_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError, MemoryError, struct.error)


def read(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a NetCDF file with its own names; attributes of the file and of the variable together.

    Where both state the same attribute, the variable's is kept as `<variable>_<attribute>`.
    """
    with path.open("rb") as file:
        engine = "scipy" if file.read(3) == b"CDF" else "h5netcdf"
    try:
        with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
            everything = {str(name): array for name, array in dataset.data_vars.items()}
            maps = {
                name: array
                for name, array in everything.items()
                if looks_like_map(array.dims, array.shape, array.dtype.kind)
            }
            others = {name: describe(array, name) for name, array in everything.items()}
            failure = None
            try:
                chosen = choose(maps, variable, f"File {path}", others)
            except ValueError as error:
                failure = error
            else:
                name = chosen.name
                chosen = chosen.load()
                whole = dict(dataset.attrs)
    except _ERRORS as error:
        raise broken(path, "a complete NetCDF file", error) from error
    if failure is not None:
        raise failure
    for key, value in chosen.attrs.items():
        whole[f"{name}_{key}" if key in whole else key] = value
    chosen.attrs = whole
    return chosen
