"""Collections of fingerprints in files: NetCDF4 with the settings as attributes."""

import os
from pathlib import Path

import xarray as xr

from bandjax.io.write import write_atomically

NEEDED = ("fingerprint", "step")
NOTED = "window"  # the attribute that only collections have


def write_collection(path: str | os.PathLike[str], collection: xr.Dataset) -> Path:
    """Write a collection; an older file is replaced only when the new one is complete.

    Raises:
        OSError: the file could not be written; what stood there before is untouched.
    """
    encoding = {"fingerprint": {"zlib": True, "complevel": 4}}
    return write_atomically(path, bytes(collection.to_netcdf(engine="h5netcdf", encoding=encoding)))


def read_collection(path: str | os.PathLike[str]) -> xr.Dataset:
    """A collection that `write_collection` or `bandjax fingerprint` wrote, in memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, of another format, or no collection of fingerprints.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"File {path} does not exist.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as found:
            collection = found.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"File {path} must be a complete NetCDF4 file of `bandjax fingerprint`, but cannot be read ({error})."
        ) from error
    missing = [n for n in NEEDED if n not in collection] + [NOTED] * (NOTED not in collection.attrs)
    if missing:
        raise ValueError(
            f"File {path} must be a collection of fingerprints, but has no {', '.join(map(repr, missing))}."
        )
    return collection
