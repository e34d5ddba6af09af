"""The map that bands are read from, and the surfaces that a reconstruction starts from, on one grid.

A volume has the axis `energy` and one or two others, in any order: (kx, ky, energy), (angle, energy), … Inside, everything is
an array (nx, ny, energy), a cut (n, 1, energy). Energies are those of the map's axis (E − E_F where it says so).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from bandjax import checks

Bands = xr.DataArray | xr.Dataset | np.ndarray | str | os.PathLike[str]
SAMPLES_PER_BAND = (
    4  # height, two sides of a line and its background: fewer energies than this a band determine nothing
)


class Volume(NamedTuple):
    """A map as arrays.

    Attributes:
        counts: (nx, ny, energy), NaN where missing.
        energy: eV, increasing, (energy,).
        axes: The other axes' values, one or two.
        names: Their names.
        units: Their units, "" where not stated.
    """

    counts: np.ndarray
    energy: np.ndarray
    axes: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along the two axes; the second is 1 for a cut."""
        return self.counts.shape[0], self.counts.shape[1]

    def surfaces(self, values: np.ndarray, name: str, **attributes: object) -> xr.DataArray:
        """Values (band, nx, ny) as a DataArray on the map's axes."""
        values = values if len(self.names) == 2 else values[..., 0]
        coords: dict = {"band": np.arange(len(values))}
        for axis, label, unit in zip(self.axes, self.names, self.units, strict=True):
            coords[label] = (label, axis, {"units": unit} if unit else {})
        return xr.DataArray(values, dims=("band", *self.names), coords=coords, name=name, attrs=attributes)


def volume_of(data: xr.DataArray, *, mask: np.ndarray | xr.DataArray | None = None) -> Volume:
    """The map as arrays.

    Args:
        data: Counts ≥ 0 with a dimension `energy` and one or two others; NaN where missing.
        mask: True where a value counts: over the whole map, or over its axes without the energy.

    Raises:
        TypeError: `data` is not a DataArray.
        ValueError: Dimensions other than these, an axis that does not increase, negative or infinite values, a mask of another
            shape, or nothing left.
    """
    if not isinstance(data, xr.DataArray):
        raise TypeError(f"Argument `data` must be an xarray.DataArray, but is a {type(data).__name__}.")
    names = tuple(str(d) for d in data.dims if d != "energy")
    if "energy" not in data.dims or len(names) not in (1, 2):
        found = ", ".join(map(repr, map(str, data.dims)))
        raise ValueError(f"Argument `data` must have the axis 'energy' and one or two others, but has {found}.")
    data = data.transpose(*names, "energy")
    for label in (*names, "energy"):
        if label not in data.coords:
            raise ValueError(f"Argument `data` must have values on its axis {label!r}, but has none.")
        checks.increasing(label, data[label].values)
    values = np.array(data.values, np.float32 if data.dtype == np.float32 else np.float64)
    if np.isinf(values).any():
        raise ValueError(
            f"Argument `data` must be finite or NaN, but {int(np.isinf(values).sum())} values are infinite."
        )
    if (values < 0).any():
        raise ValueError(
            f"Argument `data` must hold counts ≥ 0, but {int((values < 0).sum())} of its {values.size} values are negative, "
            f"the lowest {np.nanmin(values):g}; mask them, or leave the background in."
        )
    if mask is not None:
        values[~_mask(mask, values.shape, names)] = np.nan
    if not np.nansum(values) > 0:
        raise ValueError("Argument `data` must hold counts, but all its values are zero, NaN or masked.")
    energy = np.asarray(data["energy"].values, values.dtype)
    axes = tuple(np.asarray(data[label].values, float) for label in names)
    units = tuple(str(data[label].attrs.get("units", "")) for label in names)
    values = values if len(names) == 2 else values[:, None]
    return Volume(values, energy, axes, names, units)


def _mask(mask: np.ndarray | xr.DataArray, shape: tuple[int, ...], names: tuple[str, ...]) -> np.ndarray:
    if isinstance(mask, xr.DataArray):
        order = [*names, "energy"] if "energy" in mask.dims else list(names)
        if set(mask.dims) != set(order):
            raise ValueError(
                f"Argument `mask` must have the axes {', '.join(order)} of the map, but has {', '.join(map(str, mask.dims))}."
            )
        mask = mask.transpose(*order)
    found = np.asarray(mask)
    if found.dtype != bool or found.shape not in (shape, shape[:-1]):
        raise ValueError(
            f"Argument `mask` must hold True or False in the shape {shape} or {shape[:-1]}, but holds {found.dtype} in the "
            f"shape {found.shape}."
        )
    return np.broadcast_to(found if found.shape == shape else found[..., None], shape)


def equidistant(volume: Volume) -> Volume:
    """The same with equidistant energies (linear interpolation at the finest distance), where they are not already."""
    steps = np.diff(volume.energy)
    if np.allclose(steps, steps.mean(), rtol=1e-3):
        return volume
    count = round(float((volume.energy[-1] - volume.energy[0]) / steps.min())) + 1
    energy = np.linspace(volume.energy[0], volume.energy[-1], count, dtype=volume.energy.dtype)
    flat = volume.counts.reshape(-1, volume.energy.size)
    out = np.stack([np.interp(energy, volume.energy, spectrum) for spectrum in flat]).astype(flat.dtype)
    return volume._replace(counts=out.reshape(*volume.counts.shape[:2], count), energy=energy)


def check_columns(volume: Volume, *, filled: bool) -> np.ndarray:
    """True where a spectrum has data, (nx, ny).

    Raises:
        ValueError: A spectrum has none, and it was not said that the prior shall fill it.
    """
    seen = ~np.isnan(volume.counts).all(axis=-1)
    if not seen.all() and not filled:
        at = np.argwhere(~seen)[0]
        where = ", ".join(f"{n} = {a[i]:.4g}" for n, a, i in zip(volume.names, volume.axes, at, strict=False))
        raise ValueError(
            f"Argument `data` must have numbers in every spectrum, but {int((~seen).sum())} of {seen.size} are all NaN or masked, "
            f"the first at {where}; fill_missing=True lets the prior fill them."
        )
    return seen


def surfaces_on(bands: Bands, volume: Volume, name: str = "initial", *, inside: bool = True) -> np.ndarray:
    """Surfaces (band, nx, ny) in eV on the volume's own grid.

    Args:
        bands: A DataArray with the volume's axes and, unless there is one band, `band`; a Dataset or a NetCDF file with one such
            variable (`band_energy` or `energy` where there are several); or an array in this order.
        volume: The map.
        name: How error sentences call it.
        inside: Whether they must lie in the window of the map.

    Raises:
        ValueError: Another grid, NaN, more bands than the energies of the map can tell apart, or energies outside its window.
    """
    found = _as_array(bands, volume, name)
    steps = volume.energy.size
    if len(found) * SAMPLES_PER_BAND > steps:
        raise ValueError(
            f"Argument `{name}` must have at most {steps // SAMPLES_PER_BAND} bands for a map of {steps} energies "
            f"({SAMPLES_PER_BAND} a band), but has {len(found)}."
        )
    checks.finite(name, found)
    if inside:
        check_window(found, volume, name)
    return found


def check_window(found: np.ndarray, volume: Volume, name: str) -> None:
    """Refuse surfaces that lie outside the map's energies at more than half of their points."""
    low, high = float(volume.energy[0]), float(volume.energy[-1])
    for band, surface in enumerate(found):
        outside = (surface < low) | (surface > high)
        if outside.mean() > 0.5:
            raise ValueError(
                f"Argument `{name}` must lie in the energy window of the map, {low:.4g} to {high:.4g} eV, but band {band} lies "
                f"outside at {int(outside.sum())} of {outside.size} points ({surface.min():.4g} to {surface.max():.4g} eV)."
            )


def mode_on(mode: Bands, volume: Volume, bands: int) -> np.ndarray:
    """One of the prior's modes, (band, nx, ny) on the volume's grid.

    Raises:
        ValueError: Another grid, NaN, or another number of bands.
    """
    found = _as_array(mode, volume, "prior_modes")
    if len(found) != bands:
        raise ValueError(
            f"Every one of `prior_modes` must have the {bands} bands of `initial`, but one has {len(found)}."
        )
    checks.finite("prior_modes", found)
    return found


def scaled_surfaces(surfaces: np.ndarray, volume: Volume, momentum: float) -> np.ndarray:
    """E(momentum · k) of surfaces on the volume's grid, linear in between, the edge's value outside; k = 0 stays where it is."""
    if momentum == 1:
        return surfaces
    axes = volume.axes if len(volume.axes) == 2 else (volume.axes[0], np.zeros(1))
    at = np.meshgrid(*(np.clip(momentum * a, a[0], a[-1]) for a in axes), indexing="ij")
    if len(volume.axes) == 1:
        return np.stack([np.interp(at[0][:, 0], axes[0], s[:, 0])[:, None] for s in surfaces])
    points = np.stack(at, axis=-1)
    return np.stack([RegularGridInterpolator(axes, s)(points) for s in surfaces])


def in_memory(bands: Bands, volume: Volume, name: str = "initial") -> xr.DataArray | np.ndarray:
    """Surfaces out of a file or dataset; a DataArray or an array as it is.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no such surfaces.
    """
    if isinstance(bands, str | os.PathLike):
        bands = _from_file(Path(bands), name)
    return _variable(bands, volume.names, name) if isinstance(bands, xr.Dataset) else bands


def _as_array(bands: Bands, volume: Volume, name: str) -> np.ndarray:
    bands = in_memory(bands, volume, name)
    if isinstance(bands, xr.DataArray):
        return _on_axes(bands, volume, name)
    found = np.asarray(bands, float)
    wanted = tuple(len(a) for a in volume.axes)
    if found.shape[-len(wanted) :] != wanted or found.ndim not in (len(wanted), len(wanted) + 1):
        raise ValueError(
            f"Argument `{name}` must have the shape {wanted} of the map's grid, with bands before it if there are several, but has "
            f"shape {found.shape}."
        )
    return found.reshape(-1, *volume.shape)


def _from_file(path: Path, name: str) -> xr.Dataset:
    if not path.exists():
        raise FileNotFoundError(f"File {path} does not exist.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as found:
            return found.load()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"File {path} must be a NetCDF4 file of surfaces (`{name}`), but cannot be read ({error})."
        ) from error


def _variable(found: xr.Dataset, names: Sequence[str], name: str) -> xr.DataArray:
    able = [str(v) for v in found.data_vars if set(names) <= set(found[v].dims) <= {"band", *names}]
    for wanted in ("band_energy", "energy", *able[: len(able) == 1]):
        if wanted in able:
            return found[wanted]
    raise ValueError(
        f"Argument `{name}` must hold one variable over {', '.join(names)} (and band), or `band_energy`, but holds "
        f"{', '.join(map(repr, map(str, found.data_vars))) or 'none'}."
    )


def _on_axes(bands: xr.DataArray, volume: Volume, name: str) -> np.ndarray:
    extra = [str(d) for d in bands.dims if d not in volume.names]
    missing = [n for n in volume.names if n not in bands.dims]
    if missing or extra not in ([], ["band"]):
        raise ValueError(
            f"Argument `{name}` must have the axes {', '.join(volume.names)} of the map (and band), but has "
            f"{', '.join(map(str, bands.dims))}."
        )
    for label, axis in zip(volume.names, volume.axes, strict=True):
        own = (
            np.asarray(bands[label].values, float)
            if label in bands.coords
            else np.arange(bands.sizes[label], dtype=float)
        )
        step = np.diff(axis).min() if axis.size > 1 else 1.0
        if own.size != axis.size or np.abs(own - axis).max() > 0.01 * step:
            raise ValueError(
                f"Argument `{name}` must lie on the grid of the map, but its axis {label!r} has {own.size} values from {own[0]:.4g} "
                f"to {own[-1]:.4g}, that of the map {axis.size} from {axis[0]:.4g} to {axis[-1]:.4g}; interpolate it first."
            )
    ordered = bands.transpose(*extra, *volume.names)
    return np.asarray(ordered.values, float).reshape(-1, *volume.shape)
