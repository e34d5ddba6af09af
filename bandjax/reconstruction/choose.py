"""Numbers that are not seen by eye: smoothness by held-out counts, offset, energy and momentum scale of a start by least squares.

Binomial thinning splits counts into two independent Poisson maps, one to reconstruct from and one to judge by. The counting posterior is judged by
the held-out log-likelihood. The published posterior is judged by the mean square distance of its surfaces from line fits to the single
held-out spectra: those are noisy but nearly unbiased and independent of the surfaces, so that the distance is the surfaces' mean square error
and a constant. (The likelihood of lines at the surfaces would weigh every spectrum by its information, which is least where bands cross and
the errors are largest; the posterior's own intensity would reward a surface that runs into a brighter band.) Give it all bands of the
map when it is to choose: the fits know only those.
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
JUDGED = 5000  # spectra at most, by which sigma_pair is judged
LINE_STEPS, LINE_TOLERANCE = 4, 0.02  # of their line's width
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


def single_spectra(counts: np.ndarray, energy: np.ndarray, surfaces: np.ndarray) -> np.ndarray:
    """Energies of Poisson line fits to every spectrum for itself, heights and a constant background free, one line width for all.

    A weak prior, a line's width about where they start, keeps bands finite that a spectrum does not show.

    Args:
        counts: (n, 1, energy).
        energy: eV.
        surfaces: Where the fits start, (band, n, 1).
    """
    bands, span = len(surfaces), float(energy[-1] - energy[0])
    data = counting.counts_of(counts, energy)
    level = max(float(np.nanpercentile(counts, 99)), 1.0)
    rest = [np.full_like(surfaces, np.log(0.5 * level)), np.full_like(surfaces[:1], np.log(0.01 * level))]
    mean = x = jnp.asarray(np.concatenate([surfaces, *rest]))
    line = counting.Line(jnp.asarray(span / 60), jnp.asarray(span / 60))
    zero, longest = jnp.zeros(2 * bands + 1), jnp.asarray([span / 30] * bands + [1.0] * (bands + 1))
    for _ in range(LINE_STEPS):
        reach = float(np.hypot(*map(float, line)))
        prior = fields.Smoothness(jnp.asarray([reach**-2] * bands + [0.1] * (bands + 1)), zero, zero, jnp.zeros(()))
        x = counting.descend(data, line, prior, mean, x, longest, steps=12, tolerance=1.0).x
        line, change = counting.better_line(data, line, x, jax.jit(counting.data_term)(data, line, x))
        if float(change) < LINE_TOLERANCE:
            break
    return np.asarray(x[:bands])


def scan_sigma_pair(
    train: Volume, held: Volume, prepare: Callable[[Volume], Volume], start: np.ndarray, first: float, *,
    anneal: Sequence[float],
) -> Scan:  # fmt: skip
    """Judge the published posterior at widths of the prior of neighbours, uphill from `first`; scores are −(mean square distance), eV².

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
    flat = held.counts.reshape(-1, 1, energy.size)
    seen = np.flatnonzero(~np.isnan(flat).all(axis=(1, 2)))
    kept = seen[np.linspace(0, seen.size - 1, min(JUDGED, seen.size)).astype(int)]

    def surfaces(sigma: float) -> np.ndarray:
        found = published_posterior(prepared.counts, energy, start, sigma, anneal=anneal, errors=False).energy
        return found.reshape(len(found), -1)[:, kept, None]

    judges = single_spectra(flat[kept], energy, surfaces(first))
    return climb(lambda sigma: -float(np.mean((surfaces(sigma) - judges) ** 2)), first)


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
