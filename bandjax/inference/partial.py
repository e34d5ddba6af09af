"""Part of a map: the energies near the Fermi level, and a window or a random choice of its wave vectors."""

import numpy as np
import xarray as xr

from bandjax import checks
from bandjax.photoemission.pixels import as_axes

PATTERNS = ("window", "random")


def part_of_map(
    data: xr.DataArray,
    fraction: float = 1.0,
    *,
    pattern: str = "window",
    energy: tuple[float, float] | None = None,
    margin: float = 0.0,
    seed: int = 0,
) -> xr.DataArray:
    """A part of a map's wave vectors and energies; what is not taken is cut off or masked by NaN.

    Args:
        data: The map.
        fraction: Part of the wave vectors, in (0, 1].
        pattern: "window": one rectangle. Axes are halved in turn, ky (deflector) first; of a halved axis the upper half stays, of
            one that is halved again the part next to its middle: of a map around Γ 1/4 is the quadrant kx, ky > 0, 1/16
            the quarter of it next to Γ. "random": spectra drawn at random.
        energy: (low, high) in eV, E − E_F; None: all.
        margin: "window": width (1/Å or degrees) of masked pixels that are kept around the window, so that a model's momentum
            resolution may draw on what lies there.
        seed: Of the random choice.

    Raises:
        ValueError: `fraction` is not in (0, 1], the pattern is not known, or no pixel is left.
    """
    if not (np.isscalar(fraction) and 0 < float(fraction) <= 1):
        raise ValueError(f"Argument `fraction` must be a number in (0, 1], but is {fraction!r}.")
    checks.one_of("pattern", pattern, PATTERNS)
    axes = as_axes(data)
    if energy is not None:
        checks.shape_is("energy", energy, (2,))
        low, high = energy
        data = data.sel(energy=slice(low, high))
        if not data.sizes["energy"]:
            raise ValueError(
                f"Argument `energy` must hold energies of the map, {axes.energy[0]:g} … {axes.energy[-1]:g} eV, but is {tuple(energy)}."
            )
    lateral = [name for name, _ in axes.lateral]
    if fraction == 1 or not lateral:
        return data
    if pattern == "random":
        shape = tuple(data.sizes[n] for n in lateral)
        kept = round(fraction * int(np.prod(shape)))
        if not kept:
            raise ValueError(
                f"Argument `fraction` must leave a spectrum, but {fraction:g} of {np.prod(shape)} leaves none."
            )
        chosen = np.zeros(int(np.prod(shape)), bool)
        chosen[np.random.default_rng([seed, 2]).permutation(chosen.size)[:kept]] = True
        return data.where(xr.DataArray(chosen.reshape(shape), dims=lateral, coords={n: data[n] for n in lateral}))
    for name, (low, high) in zip(lateral, window_limits(fraction, len(lateral)), strict=True):
        values = data[name].values
        at = (np.arange(values.size) + 0.5) / values.size
        inside = (at > low) & (at < high)
        if not inside.any():
            raise ValueError(f"Argument `fraction` must leave pixels along {name}, but {fraction:g} leaves none.")
        first, last = np.flatnonzero(inside)[[0, -1]]
        around = (values >= values[first] - margin) & (values <= values[last] + margin)
        data = data.where(xr.DataArray(inside, dims=name, coords={name: data[name]})).isel({name: around})
    return data


def window_limits(fraction: float, axes: int) -> list[tuple[float, float]]:
    """Which part of each axis a window of that fraction takes, (low, high) of its length."""
    share, rest, axis = [1.0] * axes, float(fraction), 0
    while rest < 1:
        step = max(rest, 0.5)
        share[axis % axes] *= step
        rest, axis = rest / step, axis + 1
    return [(1 - s, 1.0) if s >= 0.5 else (0.5, 0.5 + s) for s in share]
