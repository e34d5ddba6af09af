"""Reading a measured map, whatever the format, into one canonical `xarray.DataArray`."""

import os
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from bandjax.io import hdf5, igor, maps, netcdf, nexus, ses, specs, text
from bandjax.io.formats import recognise

_READERS: dict[str, Callable[[Path, str | None], xr.DataArray]] = {
    "netcdf4": netcdf.read,
    "netcdf3": netcdf.read,
    "nexus": nexus.read,
    "hdf5": hdf5.read,
    "igor-wave": igor.read_wave,
    "igor-packed": igor.read_packed,
    "ses-text": ses.read_text,
    "ses-zip": ses.read_zip,
    "specs-xy": specs.read,
    "text": text.read,
}


def read(path: str | os.PathLike[str], *, variable: str | None = None) -> xr.DataArray:
    """Read a map from a file.

    Args:
        path: The file; its format is recognised from its content (see `bandjax.io.FORMATS`).
        variable: Which map, where the file holds several: a variable, region, wave or NXdata group by name.

    Returns:
        The map: dimensions among `hv`, `kz`, `deflector`, `ky`, `angle`, `kx`, `energy`, ascending, in eV, degree and
        1/Å; float64. Attributes as `bandjax.io.maps` lists them, with `source_file` and `source_format`; everything
        else that the file says keeps its own name. Kinetic energies stay kinetic (`energy_reference`); see `to_fermi`.
        Counts are not judged here; see `check_map`.

    Raises:
        FileNotFoundError, IsADirectoryError: There is no such file, or it is a folder.
        ValueError: The file is broken, of no known format, holds no map or several, or an axis is not usable.
        ImportError: An Igor file, and igor2 is not installed.
    """
    found = recognise(path)
    data = _READERS[found](Path(path), variable)
    data = maps.standardise(data, source=f"File {path}")
    return data.assign_attrs(source_file=str(path), source_format=found)
