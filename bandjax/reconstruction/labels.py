"""Which band is which: the start's labels in the result, and a sentence where a surface may have left them.

Nothing in a map tells labels from one another; they are those of the start, carried by smoothness. Where a surface E_b ends nearer to another
band's start than to its own over a connected part, they may be swapped there. Starts are compared after each was moved and stretched to the result,
E_b ≈ α + β S_b with the median of all slopes as β (Theil, Sen), so that a start that is off as a whole is not taken for a swap.
A swap over most of a map is not seen: start and result are then alike.
"""

import numpy as np
import xarray as xr
from scipy.ndimage import label

from bandjax.reconstruction.volumes import Bands, Volume

LEAST_POINTS, LEAST_SHARE = 4, 0.02  # of a connected part that is told of: more than the pixels at a crossing
STRETCHED = 0.8, 1.25  # β at least and at most
SLOPES = 150  # points of a surface whose slopes are taken
NEARER = 2.0  # energy steps by which it must be nearer


def band_labels(surfaces: Bands) -> np.ndarray | None:
    """Values of the coordinate `band`, (band,); None where there is none.

    Raises:
        ValueError: two bands have one label.
    """
    if not isinstance(surfaces, xr.DataArray) or "band" not in surfaces.coords or "band" not in surfaces.dims:
        return None
    labels = surfaces["band"].values
    if len(set(labels.tolist())) < labels.size:
        raise ValueError(f"Axis `band` of surfaces must name every band differently, but holds {labels.tolist()}.")
    return labels


def in_order(surfaces: Bands, labels: np.ndarray | None, name: str) -> Bands:
    """Surfaces with the bands in the order of these labels; as they are where one side has no labels.

    Raises:
        ValueError: they have other bands.
    """
    own = band_labels(surfaces)
    if labels is None or own is None or not isinstance(surfaces, xr.DataArray):
        return surfaces
    if set(own.tolist()) != set(labels.tolist()):
        raise ValueError(
            f"Argument `{name}` must have the bands {_listed(labels)} of `initial` in its coordinate `band`, but has {_listed(own)}."
        )
    return surfaces.sel(band=labels)


def label_sentences(
    start: np.ndarray, found: np.ndarray, volume: Volume, labels: np.ndarray | None = None
) -> list[str]:
    """What a reader should know of the labels: starts beyond the window, and surfaces nearer to another band's start.

    Args:
        start, found: Surfaces, (band, nx, ny) in eV.
        volume: The map.
        labels: Names of the bands; None: their numbers.
    """
    names = np.arange(len(start)) if labels is None else labels
    low, high = float(volume.energy[0]), float(volume.energy[-1])
    out = []
    for name, surface in zip(names, start, strict=True):
        outside = (surface < low) | (surface > high)
        if outside.any():
            out.append(
                f"The start of band {name} lies outside the energy window at {int(outside.sum())} of {outside.size} points: its line is not seen there, "
                "and what is found beside them may be another band's."
            )
    moved = np.stack([_stretched(s, f) for s, f in zip(start, found, strict=True)])
    own = np.abs(found - moved)
    nearer = NEARER * float(np.mean(np.diff(volume.energy)))
    least = max(LEAST_POINTS, LEAST_SHARE * found[0].size)
    for b, surface in enumerate(found):
        for c in range(len(found)):
            parts = np.zeros(1, int) if c == b else np.asarray(label(np.abs(surface - moved[c]) < own[b] - nearer)[0])
            sizes = np.bincount(parts.ravel(), minlength=1)[1:]
            if sizes.size and sizes.max() >= least:
                where = np.argwhere(parts == 1 + int(sizes.argmax()))
                ends = ", ".join(
                    f"{n} = {a[i.min()]:.3g} to {a[i.max()]:.3g}"
                    for n, a, i in zip(volume.names, volume.axes, where.T, strict=False)
                )
                out.append(
                    f"Band {names[b]} ends nearer to the start of band {names[c]} than to its own over {int(sizes.max())} connected points ({ends}): "
                    "their labels may be swapped there, or the start is of another shape."
                )
    return out


def _stretched(start: np.ndarray, found: np.ndarray) -> np.ndarray:
    s, f = start.ravel(), found.ravel()
    at = np.linspace(0, s.size - 1, min(SLOPES, s.size)).astype(int)
    apart, gone = s[at][:, None] - s[at], f[at][:, None] - f[at]
    slopes = gone[apart > 0] / apart[apart > 0]
    factor = float(np.clip(np.median(slopes), *STRETCHED)) if slopes.size else 1.0
    return factor * start + np.median(f - factor * s)


def _listed(labels: np.ndarray) -> str:
    return ", ".join(map(str, labels.tolist()))
