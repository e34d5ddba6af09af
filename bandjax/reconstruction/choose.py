"""Numbers that are not seen by eye: smoothness by held-out counts, offset, energy and momentum scale of a start by least squares.

Binomial thinning splits counts into two independent Poisson maps, one to reconstruct from and one to judge by. The judge is the
held-out log-likelihood of lines at the surfaces, for the published posterior too: its own intensity would reward a surface that runs into a
brighter band beside it. Give the published posterior all bands of the map when it is to choose: the judge knows only those.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls
from scipy.special import erf

from bandjax.reconstruction import counting, fields
from bandjax.reconstruction.published import published_posterior
from bandjax.reconstruction.volumes import Volume, scaled_surfaces

HELD_OUT = 0.2  # part of the counts that judges
WINDOW = 0.5  # a surface that leaves the energies of the map at more than this part of its points is no candidate
JUDGED = 2500  # spectra at most, by which sigma_pair is judged
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


def climb(
    judge: Callable[[float], float], first: float, *, factor: float = 2.0, halvings: int = 1, trials: int = 10
) -> Scan:
    """Scores uphill from `first` by factors, until both neighbours of the best are known; then by √factor beside it, and so on."""
    known: dict[float, float] = {0.0: judge(first)}
    step = 1.0
    for _ in range(halvings + 1):
        while len(known) < trials:
            best = max(known, key=lambda i: known[i])
            unknown = [i for i in (best + step, best - step) if i not in known]
            if not unknown:
                break
            known[unknown[0]] = judge(first * factor ** unknown[0])
        step /= 2
    order = sorted(known)
    return Scan(first * factor ** np.array(order), np.array([known[i] for i in order]))


def judge_surfaces(
    train: np.ndarray, held: np.ndarray, energy: np.ndarray, surfaces: np.ndarray, line: counting.Line
) -> tuple[float, counting.Line]:
    """Held-out log-likelihood of lines at given surfaces, their heights and a constant background fitted to the other counts.

    Args:
        train: Counts of at most some thousand spectra, (n, 1, energy).
        held: The held-out counts of the same spectra.
        energy: eV.
        surfaces: (band, n, 1).
        line: Widths to begin with.

    Returns:
        The log-likelihood, and the widths as they fit here.
    """
    bands = len(surfaces)
    data, other = (counting.counts_of(part, energy) for part in (train, held))
    level = max(float(np.nanpercentile(train, 99)), 1.0)
    x = np.concatenate(
        [surfaces, np.full_like(surfaces, np.log(0.5 * level)), np.full_like(surfaces[:1], np.log(0.01 * level))]
    )
    x = jnp.asarray(x)
    zero, fixed = np.zeros(bands), np.full(bands, 1e12)  # energies stay where they are: 1/σ² of a millionth of an eV
    prior = fields.Smoothness(
        jnp.asarray([*fixed, *zero + 0.1, 0.1]), jnp.zeros(2 * bands + 1), jnp.zeros(2 * bands + 1), jnp.zeros(())
    )
    longest = jnp.ones(2 * bands + 1)
    for _ in range(3):
        x = counting.descend(data, line, prior, x, x, longest, steps=12, tolerance=1.0).x
        line, change = counting.better_line(data, line, x, jax.jit(counting.data_term)(data, line, x))
        if float(change) < 0.02:
            break
    lift = jnp.asarray([*zero, *zero + np.log(HELD_OUT / (1 - HELD_OUT)), np.log(HELD_OUT / (1 - HELD_OUT))])
    return -float(jax.jit(counting.cost)(other, line, x + lift[:, None, None])), line


def scan_sigma_pair(
    train: Volume,
    held: Volume,
    prepare: Callable[[Volume], Volume],
    start: np.ndarray,
    first: float,
    *,
    anneal: Sequence[float],
) -> Scan:
    """Judge the published posterior at widths of the prior of neighbours, uphill from `first`.

    Args:
        train: Part of the counts.
        held: The other part.
        prepare: Preprocessing of the train part.
        start: (band, nx, ny).
        first: sigma_pair to begin with, eV.
        anneal: Stages, see `published_posterior`.
    """
    prepared = prepare(train)
    energy = train.energy
    flat = [v.counts.reshape(-1, 1, energy.size) for v in (train, held)]
    seen = np.flatnonzero(~np.isnan(flat[0]).all(axis=(1, 2)))
    kept = seen[np.linspace(0, seen.size - 1, min(JUDGED, seen.size)).astype(int)]
    span = float(energy[-1] - energy[0])
    line = counting.Line(jnp.asarray(span / 60), jnp.asarray(span / 60))

    def judge(sigma: float) -> float:
        nonlocal line
        found = published_posterior(prepared.counts, energy, start, sigma, anneal=anneal, errors=False).energy
        surfaces = found.reshape(len(found), -1)[:, kept, None]
        score, line = judge_surfaces(flat[0][kept], flat[1][kept], energy, surfaces, line)
        return score

    return climb(judge, first)


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
        misfit = _misfit(energy, spectra, width)
        trials = [np.linspace(-r, r, n) for r, n in zip(reach, counts, strict=True)]
        best = (np.inf, centre)
        for k in trials[2]:
            moved = scaled_surfaces(surfaces, volume, float(np.exp(centre[2] + k))).reshape(len(surfaces), -1)[
                :, pixels
            ]
            for s in trials[1]:
                for o in trials[0]:
                    at = centre + np.array([o, s, k])
                    best = min(best, (misfit(at[0] + np.exp(at[1]) * moved), tuple(at)))
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


def _misfit(energy: np.ndarray, spectra: np.ndarray, width: float) -> Callable[[np.ndarray], float]:
    """bands → Σ (spectra − Σ_b h_b G(E − E_b) − background)² with the best h ≥ 0, over Σ spectra².

    Sums over the energies are integrals: of two lines a Gaussian of their distance, cut at the ends of the window, and of a line and a
    spectrum the blurred spectrum at the line, from a table.
    """
    step, beyond = energy[1] - energy[0], 5 * width
    fine = np.arange(energy[0] - beyond, energy[-1] + beyond, width / 8)
    blurred = spectra @ np.exp(-0.5 * ((energy[:, None] - fine) / width) ** 2)
    total, flat = float(np.sum(spectra**2)), float(np.sum(spectra))
    low, high = energy[0] - step / 2, energy[-1] + step / 2

    def within(middle: np.ndarray, sigma: float) -> np.ndarray:
        return 0.5 * (erf((high - middle) / (np.sqrt(2) * sigma)) - erf((low - middle) / (np.sqrt(2) * sigma)))

    def misfit(bands: np.ndarray) -> float:
        if ((bands > energy[0]) & (bands < energy[-1])).mean() < WINDOW:
            return np.inf
        count = len(bands)
        place = np.clip((bands - fine[0]) * (8 / width), 0, fine.size - 1.001)
        left, pixel = place.astype(int), np.arange(len(spectra))
        seen = blurred[pixel, left] + (place - left) * (blurred[pixel, left + 1] - blurred[pixel, left])
        gram, mixed = np.empty((count + 1, count + 1)), np.append(seen.sum(axis=1), flat)
        for i in range(count):
            away, middle = bands[i] - bands[i:], 0.5 * (bands[i] + bands[i:])
            both = np.exp(-0.25 * (away / width) ** 2) * within(middle, width / np.sqrt(2))
            gram[i, i:count] = gram[i:count, i] = both.sum(axis=1) * np.sqrt(np.pi) * width / step
            gram[i, count] = gram[count, i] = within(bands[i], width).sum() * np.sqrt(2 * np.pi) * width / step
        gram[count, count] = spectra.size
        gram += 1e-9 * np.trace(gram) * np.eye(len(gram))
        root = np.linalg.cholesky(gram)
        _, rest = nnls(root.T, np.linalg.solve(root, mixed))
        return (total - mixed @ np.linalg.solve(gram, mixed) + rest**2) / total

    return misfit
