"""NeXus files: NXmpes, NXmpes_arpes, NXarpes and any NXdata with a signal and named axes.

The axes come from `@signal`, `@axes` and `@AXIS_indices` of the NXdata group, or in old files from the attributes
`signal` and `axis` of its fields. Photon energy: `incident_energy` of a beam or `energy` of a monochromator in the
instrument (a pump beam is left aside). Every single value of the entry becomes an attribute under its path, with dots.

Source: NeXus definitions manual, NXdata, NXmpes_arpes, NXarpes (https://manual.nexusformat.org).
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bandjax.io import hdf5
from bandjax.io.axes import factor
from bandjax.io.choose import choose, looks_like_map
from bandjax.io.formats import broken


def read(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a NeXus file with its own names."""
    try:
        with h5py.File(path, "r") as file:
            groups: dict[str, h5py.Group] = {}
            file.visititems(lambda name, item: groups.update({name: item}) if _class(item) == "NXdata" else None)
            parts = {name: _signal_and_axes(group) for name, group in groups.items()}
            default = _default(file)
    except hdf5.ERRORS as error:
        raise broken(path, "a complete NeXus file", error) from error
    maps = {
        name: name for name, found in parts.items() if found and looks_like_map(found.axes, found.shape, found.kind)
    }
    if variable is None and default in maps:
        maps = {default: default}
    others = {name: found.describe(name) if found else f"{name} (no signal)" for name, found in parts.items()}
    chosen = choose(maps, variable, f"File {path}", others)
    try:
        with h5py.File(path, "r") as file:
            return _load(file, chosen)
    except hdf5.ERRORS as error:
        raise broken(path, "a complete NeXus file", error) from error


class _Parts:
    """The signal of an NXdata group and the names of its axes, which outlive the open file."""

    def __init__(self, signal: Any, axes: list[str]):
        self.signal = signal.name.rsplit("/", 1)[-1]
        self.shape, self.kind, self.axes = signal.shape, signal.dtype.kind, axes

    def describe(self, name: str) -> str:
        sizes = ", ".join(f"{axis}: {size}" for axis, size in zip(self.axes, self.shape, strict=True))
        return f"{name} ({sizes})"


def _signal_and_axes(group: Any) -> _Parts | None:
    fields = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
    signal = _string(group.attrs.get("signal", ""))
    if signal not in fields:
        marked = [name for name, item in fields.items() if _string(item.attrs.get("signal", "")) == "1"]
        signal = marked[0] if marked else "data"
    if signal not in fields or fields[signal].ndim == 0:
        return None
    array = fields[signal]
    names = [f"axis {number}" for number in range(array.ndim)]
    listed = hdf5.names_in(group.attrs.get("axes")) or hdf5.names_in(array.attrs.get("axes"))
    for number, name in enumerate(listed[: array.ndim]):
        if name != ".":
            names[number] = name
    for name, item in fields.items():
        place: Any = group.attrs.get(f"{name}_indices")
        old = _string(item.attrs.get("axis", ""))
        if place is None and old.isdigit() and not listed:
            place = int(old) - 1
        if name != signal and place is not None and np.size(place) == 1 and item.ndim == 1:
            number = int(np.ravel(place)[0])
            listed_here = 0 <= number < array.ndim and names[number] in fields
            if 0 <= number < array.ndim and not listed_here:
                names[number] = name
    return _Parts(array, names)


def _load(file: Any, name: str) -> xr.DataArray:
    group = file[name]
    found = _signal_and_axes(group)
    assert found is not None
    coords = {axis: hdf5.coordinate(axis, group[axis]) for axis in found.axes if axis in group}
    notes = _entry_notes(group)
    notes |= {key: value for key, value in hdf5.attributes(group).items() if not key.endswith("_indices")}
    for key, value in hdf5.attributes(group[found.signal]).items():
        notes[f"{found.signal}_{key}" if key in notes else key] = value
    notes.pop("NX_class", None)
    return xr.DataArray(group[found.signal][()], dims=found.axes, coords=coords, attrs=notes)


def _entry_notes(group: Any) -> dict[str, Any]:
    entry = group
    while _class(entry) != "NXentry" and entry.name != "/":
        entry = entry.parent
    notes: dict[str, Any] = {}
    known: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.size != 1 or item.dtype.kind not in "iufSO":
            return
        value = np.ravel(np.asarray(item[()], dtype=object))[0]
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        notes[name.replace("/", ".")] = value
        meaning = _meaning(name.lower(), _class(item.parent))
        if meaning and meaning not in known:
            unit = _string(item.attrs.get("units", ""))
            if meaning in ("photon_energy", "work_function") and unit:
                scale = factor(unit, "eV")
                value = None if scale is None else float(value) * scale
            if value is not None:
                known[meaning] = value

    entry.visititems(visit)
    return notes | known


def _meaning(name: str, kind: str) -> str | None:
    """The canonical attribute that a field of the entry is, from its path and the class of its group."""
    *where, field = name.split("/")
    folder = where[-1] if where else ""
    if "pump" in folder:
        return None
    if field == "incident_energy" and (kind == "NXbeam" or folder.startswith("beam")):
        return "photon_energy"
    if field == "energy" and (kind == "NXmonochromator" or folder.startswith("monochromator")):
        return "photon_energy"
    if field == "work_function" and folder.startswith(("electronanal", "analy")):
        return "work_function"
    if field in ("temperature", "name") and (kind == "NXsample" or folder == "sample"):
        return "temperature" if field == "temperature" else "material"
    return None


def _default(file: h5py.File) -> str:
    """Path of the default NXdata group, '' where the file names none."""
    place: Any = file
    for _ in range(4):
        name = _string(place.attrs.get("default", ""))
        if not name or name not in place:
            break
        place = place[name]
    return place.name.strip("/") if _class(place) == "NXdata" else ""


def _class(item: Any) -> str:
    return _string(item.attrs.get("NX_class", "")) if isinstance(item, (h5py.Group, h5py.Dataset)) else ""


def _string(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
