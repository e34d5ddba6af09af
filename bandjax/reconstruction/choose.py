"""Numbers that are not seen by eye: smoothness by held-out counts, offset, energy and momentum scale of a start by likelihood.

Binomial thinning splits counts into two independent Poisson maps, one to reconstruct from and one to judge by. Counting posterior: the
judge is the held-out log-likelihood. Published posterior: the judge is the held-out intensity on the surface, Σ_k (G * I_held)(k, E_k) with
G a Gaussian about as wide as the line; its expectation falls from its maximum at the true band as −½ Σ |I″| (E_k − truth)², so its
maximum over sigma_pair is where the (intensity-weighted) error of the band is least.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls

from bandjax.reconstruction.published import filled_spectra, published_posterior
from bandjax.reconstruction.volumes import Volume, scaled_surfaces

HELD_OUT = 0.2  # part of the counts that judges
WINDOW = 0.5  # a surface that leaves the energies of the map at more than this part of its points is no candidate
PIXELS, ENERGIES = 400, 96  # of the map, for the search of offset and scales


class Scan(NamedTuple):
    """Values that were tried, and how the held-out counts judged them (larger is better)."""

    values: np.ndarray
    scores: np.ndarray

    @property
    def best(self) -> float:
        """The value of the highest score."""
        return float(self.values[int(np.argmax(self.scores))])

    @property
    def at_end(self) -> bool:
        """Whether it lies at an end of what was tried."""
        return int(np.argmax(self.scores)) in (0, len(self.scores) - 1)


def thinned(counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two independent maps from one of whole counts (NaN stays), the second with the part `HELD_OUT`.

    Raises:
        ValueError: The values are not whole.
    """
    missing = np.isnan(counts)
    whole = np.where(missing, 0, counts)
    if np.any(whole != np.round(whole)):
        raise ValueError(
            "The smoothness can be chosen from whole counts only, but the map holds fractions; give `sigma_pair` or `sigma_curvature`, "
            "or `noise_scale` (the variance of a value over its mean), by which the values are divided and rounded."
        )
    held = np.random.default_rng(seed).binomial(whole.astype(np.int64), HELD_OUT).astype(counts.dtype)
    held[missing] = np.nan
    return counts - held, held


def scan_sigma_pair(
    train: np.ndarray, held: np.ndarray, energy: np.ndarray, start: np.ndarray, values: Sequence[float], *,
    anneal: Sequence[float],
) -> Scan:  # fmt: skip
    """Judge the published posterior at every sigma_pair.

    Args:
        train: Preprocessed part of the counts, (nx, ny, energy).
        held: The other part as it is.
        energy: eV, equidistant.
        start: (band, nx, ny).
        values: sigma_pair in eV.
        anneal: Stages, see `published_posterior`.
    """
    filled, seen = filled_spectra(held, energy)
    step = energy[1] - energy[0]
    scores = []
    smooth: np.ndarray | None = None
    for sigma in values:
        found = published_posterior(train, energy, start, sigma, anneal=anneal, errors=False).energy
        if smooth is None:  # the first surface tells how wide the line is
            smooth = gaussian_filter1d(filled, _line_width(filled, energy, found) / step, axis=-1, mode="nearest")
        place = np.clip((found - energy[0]) / step, 0, energy.size - 1.001)
        low = place.astype(int)
        part = place - low
        at = np.take_along_axis(smooth[None], low[..., None], axis=-1)[..., 0] * (1 - part)
        at += np.take_along_axis(smooth[None], low[..., None] + 1, axis=-1)[..., 0] * part
        scores.append(float(np.sum(seen * at)))
    return Scan(np.asarray(values, float), np.asarray(scores))


def _line_width(intensity: np.ndarray, energy: np.ndarray, surfaces: np.ndarray) -> float:
    """Standard deviation of a Gaussian as wide (at half height) as the mean spectrum about the surfaces, eV."""
    reach = np.linspace(-0.25, 0.25, 101) * (energy[-1] - energy[0])
    step = energy[1] - energy[0]
    total = np.zeros(reach.size)
    flat = intensity.reshape(-1, energy.size)
    chosen = np.linspace(0, flat.shape[0] - 1, min(PIXELS, flat.shape[0])).astype(int)
    for surface in surfaces.reshape(len(surfaces), -1):
        for i in chosen:
            total += np.interp(surface[i] + reach, energy, flat[i])
    total -= total.min()
    above = reach[total > 0.5 * total[abs(reach) < 0.05 * np.ptp(energy)].max()]
    half = min(-above[above <= 0].min(initial=0), above[above >= 0].max(initial=0))
    return float(np.clip(half / 1.18, step, 0.1 * np.ptp(energy)))


class Alignment(NamedTuple):
    """Start as it explains the counts best: E = offset + energy_scale · E_start(momentum_scale · k)."""

    offset: float
    energy_scale: float
    momentum_scale: float

    def apply(self, surfaces: np.ndarray, volume: Volume) -> np.ndarray:
        """The start so moved."""
        return self.offset + self.energy_scale * scaled_surfaces(surfaces, volume, self.momentum_scale)


def align(
    volume: Volume, surfaces: np.ndarray, *, offset: float, energy_scale: float, momentum_scale: float = 1.0,
    refinements: int = 3,
) -> Alignment:  # fmt: skip
    """One offset and scales for all bands, by the least-squares misfit of blurred lines with one height a band.

    A grid over the given reach, then finer grids about the best; the lines narrow with the grid.

    Args:
        volume: The map.
        surfaces: Start, (band, nx, ny).
        offset: Largest shift that is tried, eV.
        energy_scale: Largest factor and 1/factor that is tried, ≥ 1.
        momentum_scale: The same of k.
        refinements: Finer grids after the first.
    """
    pixels, energy, spectra = _thin(volume)
    centre = np.array([0.0, 0.0, 0.0])
    reach = np.array([offset, np.log(energy_scale), np.log(momentum_scale)])
    counts = [11 if reach[0] else 1, 11 if reach[1] else 1, 7 if reach[2] else 1]
    height = max(float(np.abs(surfaces - surfaces.mean()).max()), 1e-9)
    for stage in range(refinements + 1):
        # As wide as the distance of two trials moves a band, so that none is missed in between
        width = max(2 * reach[0] / 10, 2 * reach[1] * height / 10, 1.5 * (energy[1] - energy[0]))
        trials = [np.linspace(-r, r, n) for r, n in zip(reach, counts, strict=True)]
        best = (np.inf, centre)
        for k in trials[2]:
            moved = scaled_surfaces(surfaces, volume, float(np.exp(centre[2] + k))).reshape(len(surfaces), -1)[
                :, pixels
            ]
            for s in trials[1]:
                for o in trials[0]:
                    at = centre + np.array([o, s, k])
                    best = min(best, (_misfit(at[0] + np.exp(at[1]) * moved, energy, spectra, width), tuple(at)))
        centre = np.asarray(best[1])
        reach = reach / (4 if stage else 3)
    return Alignment(float(centre[0]), float(np.exp(centre[1])), float(np.exp(centre[2])))


def _thin(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of some pixels, coarser energies, their spectra (pixel, energy), each blurred a little by the binning."""
    counts = np.nan_to_num(volume.counts).reshape(-1, volume.energy.size)
    stride = max(1, volume.energy.size // ENERGIES)
    count = volume.energy.size // stride
    kept = np.linspace(0, len(counts) - 1, min(PIXELS, len(counts))).astype(int)
    binned = counts[kept, : count * stride].reshape(len(kept), count, stride).sum(axis=-1)
    return kept, volume.energy[: count * stride].reshape(count, stride).mean(axis=-1), binned


def _misfit(bands: np.ndarray, energy: np.ndarray, spectra: np.ndarray, width: float) -> float:
    """Σ (spectra − Σ_b h_b G(E − E_b) − background)² with the best h ≥ 0, over Σ spectra²."""
    inside = (bands > energy[0]) & (bands < energy[-1])
    if inside.mean() < WINDOW:
        return np.inf
    lines = np.exp(-0.5 * ((energy - bands[..., None]) / width) ** 2).reshape(len(bands), -1)
    design = np.vstack([lines, np.ones(lines.shape[1])])
    gram, mixed = design @ design.T, design @ spectra.ravel()
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)))
    _, rest = nnls(root.T, np.linalg.solve(root, mixed))
    total = float(np.sum(spectra**2))
    return (total - mixed @ np.linalg.solve(gram + 1e-9 * np.trace(gram) * np.eye(len(gram)), mixed) + rest**2) / total
