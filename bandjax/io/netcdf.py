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
            arrays = {str(name): array for name, array in dataset.data_vars.items()}
            maps = [name for name, a in arrays.items() if looks_like_map(a.dims, a.shape, a.dtype.kind)]
            others = {name: describe(array, name) for name, array in arrays.items()}
    except _ERRORS as error:
        raise broken(path, "a complete NetCDF file", error) from error
    name = choose(dict(zip(maps, maps, strict=True)), variable, f"File {path}", others)
    try:
        with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
            array, notes = dataset[name].load(), dict(dataset.attrs)
    except _ERRORS as error:
        raise broken(path, "a complete NetCDF file", error) from error
    for key, value in array.attrs.items():
        notes[f"{name}_{key}" if key in notes else key] = value
    array.attrs = notes
    return array
