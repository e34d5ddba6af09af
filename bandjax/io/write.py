"""Writing maps so that a full disk or a killed run leaves the old file as it was."""

import os
from pathlib import Path

import numpy as np
import xarray as xr

from bandjax.files import write_atomically


def write_map(path: str | os.PathLike[str], data: xr.DataArray) -> Path:
    """Write a map to NetCDF4; `read` gives it back as it was.

    Args:
        path: The file; an older one is replaced only when the new one is complete.
        data: The map. Attributes must be text, numbers, truth values or lists of these; None is left out.

    Returns:
        The path.

    Raises:
        TypeError: `data` is not a DataArray, or an attribute is of another kind.
        OSError: The file could not be written; what stood there before is untouched.
    """
    if not isinstance(data, xr.DataArray):
        raise TypeError(f"Argument `data` must be an xarray.DataArray, but is a {type(data).__name__}.")
    plain = data.copy(deep=False)
    plain.attrs = _attributes(data.attrs, "data")
    for name in plain.coords:
        plain = plain.assign_coords({name: plain[name].variable.copy(deep=False)})
        plain[name].attrs = _attributes(plain[name].attrs, str(name))
    dataset = plain.rename("intensity").to_dataset()
    content = dataset.to_netcdf(engine="h5netcdf", encoding={"intensity": {"zlib": True, "complevel": 4}})
    return write_atomically(path, bytes(content))


def _attributes(attributes: dict, owner: str) -> dict:
    out = {}
    for key, value in attributes.items():
        if value is None:
            continue
        if isinstance(value, (bool, np.bool_)):
            value = int(value)
        fits = isinstance(value, (str, int, float, np.integer, np.floating)) or (
            isinstance(value, (list, tuple, np.ndarray))
            and np.asarray(value).dtype.kind in "iufUO"
            and np.asarray(value).ndim == 1
            and all(isinstance(v, (str, int, float, np.number)) for v in value)
        )
        if not fits:
            raise TypeError(
                f"Attribute `{key}` of `{owner}` must be text, a number or a list of these, "
                f"but is a {type(value).__name__}."
            )
        out[str(key)] = value
    return out
