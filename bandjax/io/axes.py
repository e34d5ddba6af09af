"""Names, units and order of a map's axes.

Canonical axes, always ascending and in this order: `hv` (eV), `kz`, `deflector` (degree, perpendicular to the slit),
`ky`, `angle` (degree, along the slit), `kx` (1/Å), `energy` (eV).

The names that erlab (eV, alpha, beta, kp), peaks (eV, theta_par, defl_perp, k_par), PyARPES (phi, psi), Scienta
("Kinetic Energy [eV]", "Y-Scale [deg]", "Thetay [deg]") and NXmpes (angular0, angular1) use are read as these.
"""

import math
import re
import unicodedata
import warnings
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import xarray as xr

from bandjax.units import BOHR

ORDER = ("hv", "kz", "deflector", "ky", "angle", "kx", "energy")
UNITS = {
    "hv": "eV",
    "kz": "1/angstrom",
    "deflector": "degree",
    "ky": "1/angstrom",
    "angle": "degree",
    "kx": "1/angstrom",
    "energy": "eV",
}

_NAMES = {
    "hv": ("hv", "hnu", "photonenergy", "excitationenergy", "incidentenergy"),
    "kz": ("kz", "kperp", "kperpendicular"),
    "deflector": ("deflector", "beta", "deflperp", "psi", "thetay", "angular1", "deflangles", "deflectorangle"),
    "ky": ("ky",),
    "angle": ("angle", "angles", "alpha", "theta", "thetapar", "phi", "thetax", "yscale", "angular0", "slitangle"),
    "kx": ("kx", "kp", "kpar", "kparallel"),
    "energy": (
        "energy",
        "energies",
        "ev",
        "e",
        "kineticenergy",
        "bindingenergy",
        "ekin",
        "eef",
        "eminusef",
        "ebin",
    ),
}
_CANONICAL = {alias: name for name, aliases in _NAMES.items() for alias in aliases}

_WAVE = ("1/angstrom", "angstrom-1", "1/angstroms", "angstroms-1", "1/å", "å-1", "1/a", "a-1", "1/ang", "ang-1")
_FACTORS = {
    "eV": {"ev": 1.0, "mev": 1e-3, "kev": 1e3, "electronvolt": 1.0, "electronvolts": 1.0},
    "degree": {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "o": 1.0}
    | {"rad": math.degrees(1), "radian": math.degrees(1), "radians": math.degrees(1), "mrad": math.degrees(1e-3)},
    "1/angstrom": dict.fromkeys((*_WAVE, "invangstrom", "inverseangstrom"), 1.0)
    | {"1/nm": 0.1, "nm-1": 0.1, "1/m": 1e-10, "m-1": 1e-10, "1/bohr": 1 / BOHR, "bohr-1": 1 / BOHR},
}


class Label(NamedTuple):
    """An axis label taken apart: the canonical name (None where unknown) and the unit it states ('' where none)."""

    name: str | None
    unit: str


def plain(text: object) -> str:
    """Letters and digits of a label in lower case: 'Kinetic Energy', 'kinetic_energy' -> 'kineticenergy'."""
    return re.sub(r"[^a-z0-9]", "", str(text).lower())


def label(text: Hashable) -> Label:
    """Take 'Kinetic Energy [eV]' apart into ('energy', 'eV')."""
    match = re.fullmatch(r"\s*(.*?)\s*[\[(]([^\[\]()]*)[\])]\s*", str(text))
    name, unit = match.groups() if match else (str(text), "")
    return Label(_CANONICAL.get(plain(name)), unit)


def known_names() -> str:
    """The axis names that are read, for error sentences."""
    return (
        "energy (or eV), angle (or alpha, theta_par, phi), deflector (or beta, defl_perp), "
        "kx (or kp, k_par), ky, kz and hv"
    )


def factor(unit: str, wanted: str) -> float | None:
    """The number that turns `unit` into `wanted` ('eV', 'degree', '1/angstrom'); None where the unit is another."""
    text = unicodedata.normalize("NFKC", unit).lower().replace("−", "-").replace("å", "å")
    return _FACTORS[wanted].get(re.sub(r"[\s^*_{}$·]", "", text))


def rename(data: xr.DataArray, source: str) -> xr.DataArray:
    """Give every dimension its canonical name; drop dimensions of length 1; note each label in the coordinate.

    Args:
        data: A map with the source's own names.
        source: "File …" or "Argument `data`", for the error sentences.

    Returns:
        The map, each coordinate with attributes `label` (the source's name) and `units` (as the source states them).

    Raises:
        ValueError: A dimension has an unknown name or no values, or two are the same axis.
    """
    data = data.squeeze()
    taken: dict[str, str] = {}
    for dim in data.dims:
        name, unit = label(dim)
        if name is None:
            raise ValueError(
                f"{source} must have axes named among {known_names()}, but has an axis {str(dim)!r} "
                f"of length {data.sizes[dim]}; select one of its values or rename it first."
            )
        if name in taken:
            raise ValueError(f"{source} must have one axis {name!r}, but both {taken[name]!r} and {dim!r} mean it.")
        if dim not in data.coords:
            raise ValueError(f"{source} must give the values of its axis {str(dim)!r}, but has none.")
        taken[name] = str(dim)
        notes = dict(data[dim].attrs)
        notes["units"] = str(notes.get("units") or notes.get("unit") or unit)
        notes.setdefault("label", str(dim))
        data = data.assign_coords({dim: data[dim].assign_attrs(notes)})
    return data.rename({dim: name for name, dim in taken.items() if dim != name})


def convert(data: xr.DataArray, source: str) -> xr.DataArray:
    """Bring each axis to its canonical unit; where the source states none it is assumed, with a warning.

    erlab and peaks files state no units: with an axis called `eV` their convention holds, and nothing is said.
    """
    labels = {str(data[dim].attrs["label"]) for dim in data.dims}
    convention = "eV" in labels
    missing = []
    for dim in data.dims:
        name = str(dim)
        axis = data[name]
        unit = axis.attrs["units"]
        scale = factor(unit, UNITS[name]) if unit else 1.0
        if scale is None:
            allowed = ", ".join(_FACTORS[UNITS[name]])
            raise ValueError(f"{source} must give its axis {name!r} in one of {allowed}, but gives it in {unit!r}.")
        if not unit and not convention:
            missing.append(name)
        values = np.asarray(axis.values)
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{source} must have numbers on its axis {name!r}, but has {values.dtype}.")
        notes = {**axis.attrs, "units": UNITS[name]}
        data = data.assign_coords({name: (name, values.astype(np.float64) * scale, notes)})
    if missing:
        assumed = ", ".join(f"{name}: {UNITS[name]}" for name in missing)
        data = data.assign_attrs(units_assumed=assumed)
        warnings.warn(f"{source} states no units for {assumed}; these are assumed.", UserWarning, stacklevel=4)
    return data


def sort(data: xr.DataArray, source: str) -> xr.DataArray:
    """Turn descending axes round (noted in `flipped_axes`) and put the axes into the canonical order.

    Raises:
        ValueError: An axis neither increases nor decreases strictly, or holds NaN.
    """
    flipped = []
    for dim in data.dims:
        steps = np.diff(data[dim].values)
        if np.all(steps < 0):
            data = data.isel({dim: slice(None, None, -1)})
            flipped.append(str(dim))
        elif not np.all(steps > 0):
            at = int(np.argmin(steps > 0)) if np.mean(steps > 0) >= 0.5 else int(np.argmin(steps < 0))
            low, high = data[dim].values[at : at + 2]
            raise ValueError(
                f"{source} must have an axis {str(dim)!r} that increases strictly, "
                f"but it goes from {low:g} to {high:g} at index {at}."
            )
    if flipped:
        data = data.assign_attrs(flipped_axes=",".join(flipped))
    return data.transpose(*[name for name in ORDER if name in data.dims])
