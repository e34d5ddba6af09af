"""The canonical map: an `xarray.DataArray` with known axes in known units, and the checks before a fit.

Dimensions among `hv`, `kz`, `deflector`, `ky`, `angle`, `kx`, `energy` in this order, ascending; float64 values;
attributes `photon_energy`, `work_function`, `fermi_level_kinetic` (eV), `temperature` (K), `normal_emission_angle`
(degree), `polarisation`, `material` where known, and `energy_reference` ("fermi" or "kinetic").
"""

import os
import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.io import axes, energies, metadata


def standardise(data: xr.DataArray, *, source: str = "Argument `data`") -> xr.DataArray:
    """Bring a map in memory (erlab's, peaks', anyone's) to the canonical form; a canonical map is left as it is.

    Args:
        data: The map, with axis names listed in `bandjax.io.axes`. Axes of length 1 become scalar coordinates.
        source: How error sentences call it.

    Returns:
        A new DataArray named "intensity".

    Raises:
        ValueError: An axis is unknown, doubled, without values, in an unknown unit, or neither ascends nor descends;
            the values are not numbers.
        TypeError: `data` is not a DataArray.
    """
    if not isinstance(data, xr.DataArray):
        raise TypeError(f"{source} must be an xarray.DataArray, but is a {type(data).__name__}.")
    if data.dtype.kind not in "iufb":
        raise ValueError(f"{source} must hold real numbers, but holds {data.dtype}.")
    out = axes.rename(data.astype(np.float64), source)
    single = {str(key): c for key, c in out.coords.items() if c.ndim == 0}
    scalars = {key: _with_unit(c) for key, c in single.items() if metadata.means(key)}
    _mention_offset(single, source)
    out = out.drop_vars(list(scalars))
    out.attrs = metadata.canonical({**scalars, **data.attrs})
    out = axes.convert(out, source)
    out = axes.sort(energies.find_reference(out, source), source)
    return out.rename("intensity")


def _with_unit(scalar: xr.DataArray) -> object:
    """A scalar coordinate's value, as text with its unit where it states one."""
    unit = str(scalar.attrs.get("units", scalar.attrs.get("unit", ""))).strip()
    value = scalar.values[()]
    return f"{value} {unit.replace(' ', '')}" if unit and scalar.dtype.kind in "iuf" else value


def _mention_offset(single: Mapping[str, xr.DataArray], source: str) -> None:
    """Warn of a cut that does not go through the origin of an axis which it has only one value of."""
    for key, c in single.items():
        name = axes.label(key).name
        if name in ("deflector", "angle", "kx", "ky") and c.dtype.kind in "iuf" and abs(float(c)) > 1e-9:
            warnings.warn(
                f"{source} is a cut at {name} = {float(c):g}; a model image of a cut is taken at {name} = 0 unless "
                "`tilt`, `polar` or `origin` of the instrument say otherwise.",
                UserWarning,
                stacklevel=4,
            )


def check_map(
    data: xr.DataArray,
    *,
    path: str | os.PathLike[str] | None = None,
    negative: str = "raise",
    photon_energy: float | None = None,
) -> xr.DataArray:
    """Check that a map can be fitted.

    Args:
        data: A canonical map (from `read` or `standardise`).
        path: Its file, for the error sentences; None takes the attribute `source_file`.
        negative: What to do with counts below zero (a background was subtracted): "raise", or "mask" them as NaN.
        photon_energy: In eV, for an angle map that does not state its own.

    Returns:
        The map; NaN marks pixels to leave out, `masked_pixels` says how many.

    Raises:
        ValueError: No known axis; an axis that does not increase, has fewer than two points or angles beyond
            ±90 degree; kinetic energies; values infinite, negative, all zero or all NaN; an angle map without
            photon energy.
        TypeError: `data` is not a DataArray.
    """
    checks.one_of("negative", negative, ("raise", "mask"))
    if not isinstance(data, xr.DataArray):
        raise TypeError(f"Argument `data` must be an xarray.DataArray, but is a {type(data).__name__}.")
    path = data.attrs.get("source_file") if path is None else path
    source = "Argument `data`" if path is None else f"File {path}"
    _check_axes(data, source)
    data = _check_photon_energy(data, source, photon_energy)
    return _check_counts(data, source, negative)


def _check_axes(data: xr.DataArray, source: str) -> None:
    known = [dim for dim in data.dims if dim in axes.ORDER]
    if not known or len(known) < data.ndim:
        found = ", ".join(repr(str(dim)) for dim in data.dims) or "none"
        raise ValueError(f"{source} must have axes among {', '.join(axes.ORDER)}, but has {found}; see `standardise`.")
    for dim in known:
        name = str(dim)
        if name not in data.coords or data.sizes[name] < 2:
            raise ValueError(f"{source} must have at least two values on its axis {name!r}, but has fewer.")
        values = np.asarray(data[name].values)
        try:
            checks.increasing(name, values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        if axes.UNITS[name] == "degree" and np.max(np.abs(values)) > 90:
            worst = values[np.argmax(np.abs(values))]
            raise ValueError(f"{source} must have its axis {name!r} within ±90 degree, but it reaches {worst:g}.")
    if "energy" in known and data.attrs.get("energy_reference") == "kinetic":
        raise ValueError(
            f"{source} must have energies E − E_F, but they are kinetic energies from {float(data['energy'][0]):g} "
            f"to {float(data['energy'][-1]):g} eV; convert them with `to_fermi`."
        )


def _check_photon_energy(data: xr.DataArray, source: str, photon_energy: float | None) -> xr.DataArray:
    if photon_energy is not None:
        checks.positive("photon_energy", photon_energy, "eV")
        data = data.assign_attrs(photon_energy=float(photon_energy))
    found = data.attrs.get("photon_energy")
    if "hv" not in data.dims and {"angle", "deflector"} & set(data.dims):
        if found is None:
            raise ValueError(
                f"{source} must state the photon energy of an angle map in eV, but has no attribute `photon_energy`; "
                "set it, or give `photon_energy=`."
            )
        if metadata.number(found, "eV") is None or not metadata.number(found, "eV") > 0:  # type: ignore[operator]
            raise ValueError(f"{source} must state a `photon_energy` > 0 (in eV), but states {found!r}.")
    return data


def _check_counts(data: xr.DataArray, source: str, negative: str) -> xr.DataArray:
    values = np.array(data.values, dtype=np.float64)
    if np.any(np.isinf(values)):
        raise ValueError(f"{source} must hold finite counts, but {int(np.sum(np.isinf(values)))} are infinite.")
    below = values < 0
    if np.any(below) and negative == "raise":
        raise ValueError(
            f"{source} must hold counts ≥ 0, but {int(below.sum())} of its {values.size} values are negative, "
            f'the lowest {np.nanmin(values):g}; negative="mask" leaves them out.'
        )
    values[below] = np.nan
    if np.all(np.isnan(values)):
        raise ValueError(f"{source} must hold counts, but all its {values.size} values are NaN or masked.")
    if not np.any(values > 0):
        raise ValueError(f"{source} must hold counts, but all its {values.size} values are zero.")
    checked = data.copy(data=values)
    return checked.assign_attrs(masked_pixels=int(np.isnan(values).sum()), masked_negative=int(below.sum()))
