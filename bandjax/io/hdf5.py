"""Plain HDF5: an array whose axes are attached scales, are listed in an attribute, or lie beside it."""

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bandjax.io.axes import label
from bandjax.io.choose import choose, looks_like_map
from bandjax.io.formats import broken

ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, OverflowError, struct.error)
_BOOKKEEPING = ("DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "CLASS", "NAME", "axes", "signal", "axis")


def read(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a plain HDF5 file with its own names; attributes of the file, its group and the array together."""
    try:
        with h5py.File(path, "r") as file:
            arrays: dict[str, h5py.Dataset] = {}
            file.visititems(lambda name, item: arrays.update({name: item}) if _is_array(item) else None)
            maps, others = [], {}
            for name, item in arrays.items():
                dims = [axis for axis, _ in axes_of(item)]
                sizes = ", ".join(f"{axis}: {size}" for axis, size in zip(dims, item.shape, strict=True))
                others[name] = f"{name} ({sizes})"
                if looks_like_map(dims, item.shape, item.dtype.kind):
                    maps.append(name)
    except ERRORS as error:
        raise broken(path, "a complete HDF5 file", error) from error
    chosen = choose(dict(zip(maps, maps, strict=True)), variable, f"File {path}", others)
    try:
        with h5py.File(path, "r") as file:
            return _load(file, chosen)
    except ERRORS as error:
        raise broken(path, "a complete HDF5 file", error) from error


def axes_of(array: Any) -> list[tuple[str, Any]]:
    """(name, dataset of values or range) of each axis of an array; one that nothing names is called "axis <number>".

    In this order: a dimension scale attached, the array's attribute `axes`, dimension labels, then a one-dimensional
    dataset in the same group with a known axis name and that length, where only one has it.
    """
    group = array.parent
    named = names_in(array.attrs.get("axes"))
    beside = {
        name: item
        for name, item in group.items()
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and label(name).name is not None
    }
    out: list[tuple[str, Any]] = []
    for number, (dim, size) in enumerate(zip(array.dims, array.shape, strict=True)):
        fitting = [name for name, item in beside.items() if len(item) == size]
        if len(dim) and dim[0].shape == (size,):
            out.append((dim[0].name.rsplit("/", 1)[-1], dim[0]))
        elif len(named) == array.ndim and named[number] in group and len(group[named[number]]) == size:
            out.append((named[number], group[named[number]]))
        elif dim.label in beside and len(beside[dim.label]) == size:
            out.append((dim.label, beside[dim.label]))
        elif len(fitting) == 1 and array.shape.count(size) == 1:
            out.append((fitting[0], beside[fitting[0]]))
        else:
            out.append((f"axis {number}", range(size)))
    return out


def names_in(value: Any) -> list[str]:
    """The names in an attribute `axes`: a list, or text such as "energy:angle" or "energy,angle"."""
    if value is None:
        return []
    if isinstance(value, (str, bytes)):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return [part.strip() for part in text.strip("[] ").replace(":", ",").split(",") if part.strip()]
    return [part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in np.ravel(value)]


def attributes(item: Any) -> dict[str, Any]:
    """The attributes of an HDF5 object without those that only hold the file together."""
    out = {}
    for key, value in item.attrs.items():
        plain = np.asarray(value).dtype.kind in "iufbSU"
        if key not in _BOOKKEEPING and not key.startswith("_N") and plain:
            out[key] = value
    return out


def coordinate(name: str, values: Any) -> tuple[str, Any, dict[str, Any]]:
    """An axis in the form that xarray takes."""
    return (name, values[()], attributes(values))


def _is_array(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "iufb"


def _load(file: Any, name: str) -> xr.DataArray:
    array = file[name]
    axes = axes_of(array)
    notes = attributes(file)
    if array.parent.name != "/":
        notes |= attributes(array.parent)
    for key, value in attributes(array).items():
        notes[f"{name.rsplit('/', 1)[-1]}_{key}" if key in notes else key] = value
    for key, item in array.parent.items():
        if isinstance(item, h5py.Dataset) and item.size == 1:
            notes.setdefault(key, item[()])
    coords = {axis: coordinate(axis, values) for axis, values in axes if isinstance(values, h5py.Dataset)}
    return xr.DataArray(array[()], dims=[axis for axis, _ in axes], coords=coords, attrs=notes)
