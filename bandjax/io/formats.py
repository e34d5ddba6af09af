"""Which file format a path holds, told by its first bytes and not by its name.

Only Igor's formats have no signature of their own and are told by their suffix.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import h5py

FORMATS = {
    "netcdf4": "NetCDF4 (.nc, .h5)",
    "netcdf3": "classic NetCDF (.nc)",
    "nexus": "NeXus: NXmpes, NXarpes, NXdata (.nxs, .h5)",
    "hdf5": "plain HDF5 (.h5)",
    "igor-wave": "Igor binary wave (.ibw)",
    "igor-packed": "Igor packed experiment (.pxt, .pxp)",
    "ses-text": "Scienta SES text (.txt)",
    "ses-zip": "Scienta DA30 volume (.zip)",
    "specs-xy": "SPECS Prodigy text (.xy)",
    "text": "text grid (.csv, .txt, .dat)",
}

_SUFFIXES = {  # formats that a suffix promises
    ".nc": ("netcdf4", "netcdf3", "hdf5", "nexus"),
    ".nc4": ("netcdf4", "netcdf3", "hdf5", "nexus"),
    ".cdf": ("netcdf4", "netcdf3"),
    ".nxs": ("nexus", "hdf5", "netcdf4"),
    ".h5": ("hdf5", "nexus", "netcdf4"),
    ".hdf5": ("hdf5", "nexus", "netcdf4"),
    ".zip": ("ses-zip",),
    ".ibw": ("igor-wave",),
    ".bwav": ("igor-wave",),
    ".pxt": ("igor-packed",),
    ".pxp": ("igor-packed",),
}


def recognise(path: str | os.PathLike[str]) -> str:
    """Name of the format of a file, one of `FORMATS`.

    Args:
        path: The file.

    Returns:
        A key of `FORMATS`.

    Raises:
        FileNotFoundError: There is no such file.
        IsADirectoryError: `path` is a folder.
        ValueError: The file is empty, broken, or none of the formats read here.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"Argument `path` must be a file, but {path} is a folder.")
    if not path.exists():
        raise FileNotFoundError(f"File {path} must exist, but there is no such file.")
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise broken(path, "a map", "it is empty")
    promised = _SUFFIXES.get(path.suffix.lower(), ())
    found = _by_content(path, start)
    if promised and found not in promised:
        if promised[0].startswith("igor"):
            return promised[0]
        wanted = " or ".join(FORMATS[name].split(" (")[0] for name in promised)
        raise broken(path, f"{wanted}, as its suffix says", "it does not begin like one")
    if found is None:
        raise broken(path, "a map in a known format", "its first bytes belong to none")
    return found


def broken(path: str | os.PathLike[str], wanted: str, found: str | BaseException) -> ValueError:
    """The error for a file that is not what it should be: one sentence with the formats read here."""
    if isinstance(found, BaseException):
        found = f"reading it stopped with: {' '.join(str(found).split()).rstrip('.') or type(found).__name__}"
    return ValueError(f"File {path} must be {wanted}, but {found}; formats read here: {', '.join(FORMATS.values())}.")


def _by_content(path: Path, start: bytes) -> str | None:
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return _kind_of_hdf5(path)
    if start.startswith((b"CDF\x01", b"CDF\x02")):
        return "netcdf3"
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if b"\x00" in start:
        return None
    return _kind_of_text(start.decode("latin-1"))


def _kind_of_hdf5(path: Path) -> str:
    try:
        with h5py.File(path, "r") as file:
            items: list[Any] = [file.get(name) for name in file]
            if any(_text(item.attrs.get("NX_class", "")).startswith("NX") for item in items if item is not None):
                return "nexus"
            if "_NCProperties" in file.attrs:
                return "netcdf4"
            arrays = [item for item in items if isinstance(item, h5py.Dataset)]
            maps = [item for item in arrays if item.ndim > 1]
            return "netcdf4" if maps and all(len(dim) for item in maps for dim in item.dims) else "hdf5"
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise broken(path, "a complete HDF5 or NetCDF4 file", error) from error


def _kind_of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rsplit("/", 1)[-1] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise broken(path, "a complete zip archive of a DA30 volume", error) from error
    return "ses-zip" if any(name.startswith("Spectrum_") and name.endswith(".bin") for name in names) else None


def _kind_of_text(start: str) -> str:
    first = next((line.strip() for line in start.lstrip("\ufeffï»¿").splitlines() if line.strip()), "")
    if first.lower() == "[info]":
        return "ses-text"
    if first.startswith("#") and "prodigy" in start.lower():
        return "specs-xy"
    return "text"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
