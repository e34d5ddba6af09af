"""SPECS Prodigy's text export (.xy): for each angle "# NonEnergyOrdinate: value", then lines of energy and intensity.

Read where the lens is in an angular mode; in an imaging mode the ordinate is a length, and the file is refused.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from bandjax.io.choose import choose
from bandjax.io.formats import broken
from bandjax.io.ses import decode

_IMAGING = ("magnification", "transmission", "imaging", "spatial")


def read(path: Path, variable: str | None) -> xr.DataArray:
    """The map of a Prodigy text file, (angle, energy)."""
    notes: dict[str, str] = {}
    angles: list[float] = []
    curves: list[list[tuple[float, float]]] = []
    try:
        for line in decode(path.read_bytes()).splitlines():
            text = line.strip()
            if text.startswith("#"):
                key, _, value = text.lstrip("# ").partition(":")
                key, value = key.strip(), value.strip()
                if key == "NonEnergyOrdinate":
                    angles.append(float(value))
                    curves.append([])
                elif key and value and not curves:
                    notes.setdefault(key, value)
            elif text and curves:
                energy, intensity = (float(part) for part in text.replace(",", " ").split()[:2])
                curves[-1].append((energy, intensity))
        for key, found in (("Curves/Scan", len(curves)), ("Values/Curve", len(curves[-1]) if curves else 0)):
            if key in notes and int(notes[key]) != found:
                raise ValueError(f"its head says {key}: {notes[key]}, and {found} are there")
        table = np.array(curves, dtype=np.float64)
    except ValueError as error:
        raise broken(path, "a complete Prodigy text file", error) from error
    if len(set(angles)) < len(angles):
        raise ValueError(f"File {path} must hold one cycle of curves, but an angle comes up twice: sum or export each.")
    lens = notes.get("Analyzer Lens", "")
    if any(word in lens.lower() for word in _IMAGING):
        raise ValueError(f"File {path} must be measured in an angular lens mode, but its lens mode is {lens!r}.")
    if table.ndim != 3 or len(angles) < 2:
        return choose({}, variable, f"File {path}", {"": f"{len(angles)} curves against an angle"})
    energy = table[0, :, 0]
    if not np.allclose(table[:, :, 0], energy):
        raise ValueError(f"File {path} must have one energy axis for all angles, but its curves have different ones.")
    name = notes.get("Energy Axis", "energy")
    coords = {"angle": ("angle", angles, {"units": "degree"}), "energy": ("energy", energy, {"units": "eV"})}
    coords["energy"][2]["long_name"] = name
    return xr.DataArray(table[:, :, 1], dims=("angle", "energy"), coords=coords, attrs=notes)
