"""Igor Pro files: binary waves (.ibw) and packed experiments (.pxt, .pxp), through igor2.

A wave names its axes by its dimension units ("Kinetic Energy [eV]" from SES) or labels. Where only a unit stands there,
eV is the energy, degree the angle and then the deflector, 1/Å kx and then ky (noted in `axes_assumed`).
The wave's note, lines of key=value, becomes attributes.

Source: WaveMetrics Technical Note 003, Igor Binary Format (as igor2 implements it).
"""

import logging
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

from bandjax.io.axes import factor, label
from bandjax.io.choose import choose, describe, looks_like_map
from bandjax.io.formats import broken

_ERRORS = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError),
    *(AssertionError, NotImplementedError, struct.error),
)


def read_wave(path: Path, variable: str | None) -> xr.DataArray:
    """The wave of a binary wave file with its own names."""
    binarywave = _igor2(path).binarywave
    try:
        array = _array(binarywave.load(str(path))["wave"])
    except _ERRORS as error:
        raise broken(path, "a complete Igor binary wave", error) from error
    return _one({str(array.name): array}, variable, path)


def read_packed(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a packed experiment with its own names; `variable` is a wave's name, or folder/name."""
    packed = _igor2(path).packed
    try:
        _, tree = packed.load(str(path))
        arrays = dict(_waves(tree["root"], ""))
    except _ERRORS as error:
        raise broken(path, "a complete Igor packed experiment", error) from error
    return _one(arrays, variable, path)


def _igor2(path: Path) -> ModuleType:
    try:
        import igor2.binarywave
        import igor2.packed
    except ModuleNotFoundError as error:
        raise ImportError(f"File {path} needs the package igor2: install it with `pip install bandjax[io]`.") from error
    logging.getLogger("igor2").addHandler(logging.NullHandler())  # it prints whole broken files; the error says enough
    return igor2


def _one(arrays: dict[str, xr.DataArray], variable: str | None, path: Path) -> xr.DataArray:
    others = {name: describe(array, name) for name, array in arrays.items()}
    maps = {name: array for name, array in arrays.items() if looks_like_map(array.dims, array.shape, array.dtype.kind)}
    return choose(maps, variable, f"File {path}", others)


def _waves(folder: dict[Any, Any], prefix: str) -> list[tuple[str, xr.DataArray]]:
    found = []
    for key, item in folder.items():
        name = prefix + _text(key)
        if isinstance(item, dict):
            found += _waves(item, f"{name}/")
        elif hasattr(item, "wave"):
            found.append((name, _array(item.wave["wave"])))
    return found


def _array(wave: dict[str, Any]) -> xr.DataArray:
    """A DataArray out of igor2's dictionary: axis value = offset + step × index."""
    header = wave["wave_header"]
    values = np.asarray(wave["wData"])
    notes: dict[str, Any] = {}
    for line in _text(wave.get("note", b"")).replace("\r", "\n").split("\n"):
        key, equals, value = line.partition("=")
        if equals and key.strip() and value.strip():
            notes.setdefault(key.strip(), value.strip())
    if "nDim" not in header:  # versions 1 to 3 know one axis only
        return xr.DataArray(values, dims=["x"] if values.ndim == 1 else None, attrs=notes, name=_text(header["bname"]))
    stated = _stated_labels(wave, values.ndim)
    dims, assumed = _names(stated)
    coords = {}
    for number, dim in enumerate(dims):
        grid = float(header["sfB"][number]) + float(header["sfA"][number]) * np.arange(values.shape[number])
        unit = label(stated[number]).unit or (stated[number] if dim in assumed else "")
        coords[dim] = (dim, grid, {"units": unit})
    if assumed:
        notes["axes_assumed"] = "; ".join(f"{name} from the unit {stated[dims.index(name)]!r}" for name in assumed)
    return xr.DataArray(values, dims=dims, coords=coords, attrs=notes, name=_text(header["bname"]))


def _stated_labels(wave: dict[str, Any], ndim: int) -> list[str]:
    """What the wave says of each axis: its label if that is a known name, else its (long or short) unit."""
    sizes, long_units = wave["bin_header"]["dimEUnitsSize"], bytes(wave["dimension_units"])
    out, start = [], 0
    for number in range(ndim):
        long_unit = _text(long_units[start : start + int(sizes[number])])
        start += int(sizes[number])
        short_unit = _text(b"".join(np.asarray(wave["wave_header"]["dimUnits"][number]).tolist()))
        labels = wave["labels"][number] if number < len(wave["labels"]) else []
        title = _text(labels[0]) if labels else ""
        unit = long_unit or short_unit
        if label(title).name and label(title).unit == "" and unit and label(unit).name is None:
            title = f"{title} [{unit}]"
        out.append(title if label(title).name else unit)
    return out


def _names(stated: list[str]) -> tuple[list[str], list[str]]:
    """A name for each axis, and those that only a unit suggested."""
    dims: list[str] = []
    assumed = []
    taken = {label(text).name for text in stated}
    for number, text in enumerate(stated):
        if label(text).name and text != "eV":
            dims.append(text)
            continue
        guesses = [
            *(["energy"] if text and factor(text, "eV") is not None else []),
            *(["angle", "deflector"] if text and factor(text, "degree") is not None else []),
            *(["kx", "ky"] if text and factor(text, "1/angstrom") is not None else []),
        ]
        free = [name for name in guesses if name not in dims and (name not in taken or text == "eV")]
        dims.append(free[0] if free else f"{text or 'unnamed'} ({number})")
        assumed += free[:1]
    return dims, assumed


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    value = value.split(b"\x00", 1)[0]
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
