"""Scienta SES: the text export of spectra, and the zip archive of a DA30 deflector volume.

Text: sections [Region n] (name, size and scale of each dimension), [Info n] (key=value) and [Data n] or, for a third
dimension, [Data n:m]; a row of data is the energy and then one value for each slice.
Zip: for each region Spectrum_<region>.ini (width, height, depth with offset, step and label), <region>.ini (settings)
and Spectrum_<region>.bin, little-endian float32 with the width (energy) running fastest.
"""

import configparser
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bandjax.io.choose import choose, describe, looks_like_map
from bandjax.io.formats import broken

_ZIP_ERRORS = (zipfile.BadZipFile, configparser.Error, zlib.error, OSError, EOFError)
_ZIP_ERRORS += (ValueError, KeyError, RuntimeError, NotImplementedError, OverflowError)
_SETTINGS_LIMIT = 10_000_000  # bytes; a settings file has a few thousand


def read_text(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a text file with its own names; `variable` is a region's name."""
    sections = _sections(decode(path.read_bytes()))
    arrays: dict[str, xr.DataArray] = {}
    try:
        for title in sections:
            match = re.fullmatch(r"Region (\d+)", title)
            if match:
                array = _region(sections, match[1])
                name = str(array.name)
                arrays[name if name not in arrays else f"{name} {match[1]}"] = array
    except (ValueError, KeyError, IndexError) as error:
        raise broken(path, "a complete SES text file", error) from error
    return _one(arrays, variable, path)


def read_zip(path: Path, variable: str | None) -> xr.DataArray:
    """The volume of a DA30 archive with its own names; `variable` is a region's name."""
    arrays: dict[str, xr.DataArray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                match = re.fullmatch(r"(.*/)?Spectrum_(.+)\.bin", name)
                if match:
                    arrays[match[2]] = _volume(archive, match[1] or "", match[2])
    except _ZIP_ERRORS as error:
        raise broken(path, "a complete zip archive of a DA30 volume", error) from error
    return _one(arrays, variable, path)


def decode(content: bytes) -> str:
    """Text in UTF-8, or where it is not, in Latin-1 (as Windows programs wrote it)."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _one(arrays: dict[str, xr.DataArray], variable: str | None, path: Path) -> xr.DataArray:
    others = {name: describe(array, name) for name, array in arrays.items()}
    maps = {name: array for name, array in arrays.items() if looks_like_map(array.dims, array.shape, array.dtype.kind)}
    return choose(maps, variable, f"File {path}", others)


def _sections(text: str) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        match = re.fullmatch(r"\s*\[([A-Za-z][^\]=]*)\]\s*", line)
        if match:
            lines = out.setdefault(match[1].strip(), [])
        elif line.strip():
            lines.append(line)
    return out


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _region(sections: dict[str, list[str]], number: str) -> xr.DataArray:
    region = _pairs(sections[f"Region {number}"])
    dims, coords, shape = [], {}, []
    for d in range(1, 4):
        if f"Dimension {d} size" not in region:
            break
        scale = np.array(region[f"Dimension {d} scale"].split(), dtype=np.float64)
        size = int(region[f"Dimension {d} size"])
        if len(scale) != size:
            raise ValueError(f"dimension {d} of region {number} has size {size} but {len(scale)} values")
        name = region.get(f"Dimension {d} name", f"dimension {d}")
        dims.append(name)
        coords[name] = scale
        shape.append(size)
    blocks = [title for title in sections if re.fullmatch(rf"Data {number}(:\d+)?", title)]
    expected = shape[2] if len(shape) > 2 else 1
    if not shape or len(blocks) != expected:
        raise ValueError(f"region {number} has {len(blocks)} data blocks where {expected} belong")
    slices = [_block(sections[title], shape, title) for title in blocks]
    values = np.stack(slices, axis=-1) if len(shape) > 2 else slices[0]
    notes = _pairs(sections.get(f"Info {number}", []))
    for key, value in _pairs(sections.get(f"Run Mode Information {number}", [])).items():
        notes.setdefault(key, value)
    notes = {key: value for key, value in notes.items() if value}
    return xr.DataArray(values, dims=dims, coords=coords, attrs=notes, name=region.get("Region Name") or number)


def _block(lines: list[str], shape: list[int], title: str) -> np.ndarray:
    columns = 1 + (shape[1] if len(shape) > 1 else 1)
    numbers = np.array(" ".join(lines).split(), dtype=np.float64)
    if numbers.size != shape[0] * columns:
        raise ValueError(f"[{title}] has {numbers.size} numbers where {shape[0]} rows of {columns} belong")
    values = numbers.reshape(shape[0], columns)[:, 1:]
    return values if len(shape) > 1 else values[:, 0]


def _volume(archive: zipfile.ZipFile, folder: str, region: str) -> xr.DataArray:
    spectrum = _settings(archive, f"{folder}Spectrum_{region}.ini")["spectrum"]
    notes: dict[str, Any] = {}
    if f"{folder}{region}.ini" in archive.namelist():
        for section in _settings(archive, f"{folder}{region}.ini").values():
            notes |= {key: value for key, value in section.items() if value}
    dims, coords, shape = [], {}, []
    for part in ("depth", "height", "width"):
        size = int(spectrum[part])
        name = spectrum[f"{part}label"]
        grid = float(spectrum[f"{part}offset"]) + float(spectrum[f"{part}delta"]) * np.arange(size)
        dims.append(name)
        coords[name] = grid
        shape.append(size)
    member = archive.getinfo(f"{folder}Spectrum_{region}.bin")
    wanted = 4 * int(np.prod(shape))
    if min(shape) < 1 or member.file_size != wanted:
        raise ValueError(f"{member.filename} has {member.file_size} bytes where {shape} float32 values take {wanted}")
    values = np.frombuffer(archive.read(member), dtype="<f4").reshape(shape).astype(np.float64)
    return xr.DataArray(values, dims=dims, coords=coords, attrs=notes, name=spectrum.get("name", region))


def _settings(archive: zipfile.ZipFile, name: str) -> dict[str, dict[str, str]]:
    size = archive.getinfo(name).file_size
    if size > _SETTINGS_LIMIT:
        raise ValueError(f"{name} has {size} bytes, too many for settings")
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(decode(archive.read(name)))
    return {section: dict(parser[section]) for section in parser.sections()}
