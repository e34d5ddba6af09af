"""A measured map as a reverse network sees it: checked against what was trained, binned down where it is finer, thinned
where it has more counts.

Counts are added up over whole numbers of pixels and kept each with one probability, which keeps them Poisson; nothing is
interpolated. The physics that refines the answer always takes the map as it is.
"""

import math

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.learning.family import Family
from bandjax.learning.reverse import Seen, Shape
from bandjax.units import INVERSE_ANGSTROM

EVEN = 0.02  # part of a step by which an even axis may vary
COARSEST = 1.3  # times the coarsest trained step


def check_image(image: xr.DataArray, family: Family, shape: Shape) -> xr.DataArray:
    """The map with dimensions (kx, energy) and the photon energy among its attributes, in the family's ranges.

    Args:
        image: Counts on `kx` (1/Å) and `energy` (E − E_F, eV), NaN where a pixel is dead; attributes `photon_energy` and
            `fwhm_energy` in eV.
        family: What can be inverted.
        shape: Of the network, for the plane that it covers.

    Raises:
        TypeError: it is no DataArray.
        ValueError: axes, units, counts or attributes are others, or lie outside what was trained.
    """
    if not isinstance(image, xr.DataArray):
        raise TypeError(f"Argument `image` must be an xarray.DataArray, but is a {type(image).__name__}.")
    if set(image.dims) != {"kx", "energy"}:
        raise ValueError(
            f"Argument `image` must have the axes kx (1/Å) and energy (E − E_F, eV), but has {', '.join(map(str, image.dims))}."
        )
    for name, unit in (("kx", INVERSE_ANGSTROM), ("energy", ("eV",))):
        told = image[name].attrs.get("units")
        if told is not None and told not in unit:
            raise ValueError(f"Axis `{name}` must be in {unit[0]}, but is in {told!r}.")
    image = image.transpose("kx", "energy").astype(float)
    values = image.values
    if np.isinf(values).any() or (values < 0).any() or not np.nansum(values) > 0:
        raise ValueError("Argument `image` must hold counts ≥ 0, some of them > 0 (NaN: dead pixel), but does not.")
    r = family.ranges
    for name in ("photon_energy", "fwhm_energy"):
        _inside(name, image.attrs.get(name), getattr(r, name), family)
    steps, points = r.steps, {"kx": r.kx_points, "energy": r.energy_points}
    for name, ends in (("kx", shape.reach_k), ("energy", shape.reach_energy)):
        axis = np.asarray(image[name].values, float)
        checks.increasing(name, axis)
        if axis.size < 3 or np.abs(np.diff(axis, 2)).max() > EVEN * np.diff(axis).mean():
            raise ValueError(f"Axis `{name}` must have at least three even steps, but has {axis.size} values or uneven ones.")  # fmt: skip
        if axis[0] < ends[0] or axis[-1] > ends[1]:
            raise ValueError(
                f"Axis `{name}` must lie within {ends[0]:g} … {ends[1]:g}, what the network was trained on, but reaches "
                f"from {axis[0]:.3g} to {axis[-1]:.3g}; select that part."
            )
        least = (round(r.crop * points[name]) - 1) * steps[name][0]
        if axis[-1] - axis[0] < least - 1e-6:
            raise ValueError(
                f"Axis `{name}` must be at least {least:.3g} long, what the network was trained on, but reaches "
                f"from {axis[0]:.3g} to {axis[-1]:.3g}."
            )
        if np.diff(axis).mean() > COARSEST * steps[name][1]:
            raise ValueError(
                f"Axis `{name}` must have steps up to {COARSEST * steps[name][1]:.3g}, but has {np.diff(axis).mean():.3g}."
            )
    return image


def as_seen(image: xr.DataArray, family: Family, *, seed: int = 0) -> tuple[Seen, float]:
    """A checked map as the network's input in float32, and how many of its counts stand for one of a pixel of the map.

    Args:
        image: From `check_image`.
        family: What was trained.
        seed: Of the counts that are kept where the map has more than were trained; numbers are rounded then.
    """
    by = bins(image, family)
    alive = image.notnull()
    coarse = image.fillna(0.0).coarsen(by, boundary="trim").sum()  # type: ignore[attr-defined]
    mask = alive.coarsen(by, boundary="trim").min()  # type: ignore[attr-defined]
    counts, part = coarse.values * mask.values, 1.0
    level, most = counts.sum() / max(mask.values.sum(), 1), family.ranges.counts[1]
    if level > most:
        part = float(most / level)
        counts = np.random.default_rng(seed).binomial(np.round(counts).astype(int), part)
    numbers = (counts, mask.values, coarse["kx"].values, coarse["energy"].values)
    told = (image.attrs["photon_energy"], image.attrs["fwhm_energy"])
    seen = Seen(*(jnp.asarray(np.asarray(x, np.float32)) for x in (*numbers, *told)))
    return seen, part * math.prod(by.values())


def bins(image: xr.DataArray, family: Family) -> dict[str, int]:
    """Pixels of each axis that are added up, so that a step is at least the finest that was trained."""
    steps = {name: float(np.mean(np.diff(image[name].values))) for name in ("kx", "energy")}
    return {n: max(1, int(np.ceil(finest / steps[n] - 1e-6))) for n, (finest, _) in family.ranges.steps.items()}


def _inside(name: str, value: object, ends: tuple[float, float], family: Family) -> None:
    if not isinstance(value, int | float | np.number):
        raise ValueError(f"Argument `image` must have the attribute `{name}` in eV, but has {value!r}.")
    if not ends[0] <= float(value) <= ends[1]:
        raise ValueError(
            f"Argument `image` must have `{name}` within {ends[0]:g} … {ends[1]:g} eV, the range that family "
            f"{family.name!r} was trained on, but has {float(value):g}."
        )
