"""Attributes of a map: the few with a meaning here get one name each, all others stay as they are in the file."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from bandjax.io.axes import factor, plain

# canonical name: (unit or None for text, the names it is known by, the most trusted first)
CANONICAL: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "photon_energy": (
        "eV",
        ("photonenergy", "photonenergyev", "hv", "hnu", "blenergy", "incidentenergy", "excitationenergy"),
    ),
    "work_function": (
        "eV",
        (
            "workfunction",
            "workfunctionev",
            "analyzerworkfunction",
            "analyserworkfunction",
            "sampleworkfunction",
            "effworkfunction",
            "workfunctionassumedev",
        ),
    ),
    "temperature": ("K", ("temperature", "temperaturek", "sampletemperature", "sampletemp", "tempsample", "tsample")),
    "normal_emission_angle": ("degree", ("normalemissionangle", "normalemissionangledeg")),
    "fermi_level_kinetic": ("eV", ("fermilevelkinetic", "fermilevelkineticev")),
    "polarisation": (None, ("polarisation", "polarization", "pol")),
    "material": (None, ("material", "samplename", "sample")),
}


def canonical(attributes: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Rename the attributes that mean something here; numbers come out in eV, K and degree.

    A value that is NaN, empty or no number where one is needed is left under its own name. Where two attributes mean
    the same, the more trusted name wins and the other stays. A name with "assumed" in it stays beside the canonical.
    """
    rest = {str(key): _simple(value) for key, value in attributes.items()}
    out: dict[str, Any] = {}
    for name, (unit, aliases) in CANONICAL.items():
        by_alias: dict[str, str] = {}
        for key in rest:
            by_alias.setdefault(plain(key), key)
        for alias in aliases:
            key = by_alias.get(alias)
            value = None if key is None else (_string(rest[key]) if unit is None else number(rest[key], unit))
            if key is not None and value is not None:
                out[name] = value
                if "assumed" not in alias:
                    del rest[key]
                break
    return out | {key: value for key, value in rest.items() if key not in out}


def number(value: Any, unit: str) -> float | None:
    """A finite number in `unit` out of 36, "36", "36 eV" or [36.0]; None where there is none."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)\s*", value)
        if match is None:
            return None
        try:
            found = float(match[1])
        except ValueError:
            return None
        stated = match[2]
        if stated and stated.lower() != unit.lower():
            scale = None if unit == "K" else factor(stated, unit)
            if scale is None:
                return None
            found *= scale
    elif np.size(value) == 1 and np.asarray(value).dtype.kind in "iuf":
        found = float(np.asarray(value).reshape(()))
    else:
        return None
    return found if np.isfinite(found) else None


def _simple(value: Any) -> Any:
    """bytes -> text, NumPy scalars and arrays of one -> Python's."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    return value.item() if isinstance(value, np.generic) else value


def _string(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and value.strip() else None


def means(name: object) -> bool:
    """Whether an attribute or scalar coordinate of this name has a canonical meaning."""
    return any(plain(name) in aliases for _, aliases in CANONICAL.values())
