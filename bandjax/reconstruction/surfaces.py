"""Our posterior from a start to surfaces with errors: coarse to fine in k and in the width of the line, the smoothness by held-out counts.

1. On every s-th pixel (about a thousand): lines wider than they are (annealing), then the widths themselves.
2. On all pixels, energies binned as the line allows: the prior's width by held-out counts, each value warm from the one before, the
   smoothest first; a Gaussian prior first, then Student's t, which opens the kinks.
3. All counts with the chosen width, the line's widths once more, errors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from bandjax.reconstruction import counting, fields, prior_modes
from bandjax.reconstruction.choose import HELD_OUT, Scan, thinned
from bandjax.reconstruction.counting import Counts, Line
from bandjax.reconstruction.errors import surface_errors

COARSE_PIXELS = 1200
WIDTH_FACTOR, WIDTH_TRIALS = (
    2.0,
    8,
)  # of the prior of second differences, between what is tried and at most how many are
POINT_SIGMA = 2.0  # of the logarithm of a height about that of the whole map: keeps dark pixels finite
LINE_STEPS, LINE_TOLERANCE = 5, 0.01
MODE_STEPS, MODE_TOLERANCE = 8, 0.01  # of the amplitudes of the prior's modes; gain of −log posterior at which they end


class Options(NamedTuple):
    """What the counting posterior may be told.

    Attributes:
        sigma_curvature: Width of the prior of second differences, eV; None: by held-out counts.
        freedom: ν of its Student's t; None: Gaussian.
        sigma_pair: Width of the prior of neighbours, eV; None: none.
        sigma_prior: Width of the prior about `prior`, point by point, eV; None: none.
        sigma_height: Width of the prior of neighbours of log heights and log background.
        background: Shapes of the background: 1, a constant; 2, and a straight line.
        line: (sigma, eta) in eV, fixed; None: fitted.
        anneal: Extra Gaussian widths of the line in eV, descending; None: from the window.
        seed: Of thinning and of the draws for errors.
    """

    sigma_curvature: float | None = None
    freedom: float | None = 2.0
    sigma_pair: float | None = None
    sigma_prior: float | None = None
    sigma_height: float = 0.2
    background: int = 1
    line: tuple[float, float] | None = None
    anneal: Sequence[float] | None = None
    seed: int = 0


class Surfaces(NamedTuple):
    """What came out; energies in eV, heights and background in counts of one energy step.

    Attributes:
        energy: (band, nx, ny).
        error: Standard errors, the same shape; None if not asked for.
        error_method: How they were found.
        height: Of the line, (band, nx, ny).
        background: (background, nx, ny).
        line: Widths.
        scan: Widths of the prior that were judged; None where it was given.
        sigma_curvature: Its width.
        reduced_chi2: Mean of (c − μ)²/μ over the pixels with μ > 1, of the binned counts.
        binning: Energies in one bin of the last stage.
        converged: Whether the last descent ended.
        amplitude: Of the prior's modes, (mode,).
        amplitude_covariance: (mode, mode).
    """

    energy: np.ndarray
    error: np.ndarray | None
    error_method: str
    height: np.ndarray
    background: np.ndarray
    line: Line
    scan: Scan | None
    sigma_curvature: float
    reduced_chi2: float
    binning: int
    converged: bool
    amplitude: np.ndarray
    amplitude_covariance: np.ndarray


def counting_posterior(
    intensity: np.ndarray, energy: np.ndarray, start: np.ndarray, options: Options, *, prior: np.ndarray | None = None,
    modes: np.ndarray | None = None, factor: np.ndarray | None = None, errors: bool = True,
) -> Surfaces:  # fmt: skip
    """Maximum of our posterior; see the module's head.

    Args:
        intensity: Counts, (nx, ny, energy), NaN where missing.
        energy: eV.
        start: (band, nx, ny).
        options: Prior, line, background.
        prior: Mean of the surfaces; None: a plane costs nothing.
        modes: Surfaces that the mean may add in any amount, (mode, band, nx, ny); see `prior_modes`.
        factor: f(E), see `counting`.
        errors: Whether to compute standard errors.
    """
    bands = len(start)
    modes = np.zeros((0, *start.shape)) if modes is None else modes
    amplitude = np.zeros(len(modes))
    stride = (
        max(1, int(np.sqrt(start[0].size / COARSE_PIXELS)))
        if start.shape[2] > 1
        else max(1, start[0].size // COARSE_PIXELS)
    )
    strides = (stride, stride if start.shape[2] > 1 else 1)
    pick = tuple(slice(min(s // 2, n - 1), None, s) for s, n in zip(strides, start.shape[1:], strict=True))
    given = options.sigma_curvature
    zero = np.zeros_like(start) if prior is None else prior

    # 1. coarse
    data = counting.counts_of(intensity[pick], energy, background=options.background, factor=factor)
    x = _first_field(intensity[pick], start[:, pick[0], pick[1]], energy, options)
    mean = _mean(zero[:, pick[0], pick[1]], x)
    rough = _prior(options, bands, (given or 0.01) * max(strides) ** 2, stride=max(strides), robust=False)
    line, x = _coarse(data, x, mean, rough, energy, options)
    if len(modes):
        x, change, _ = _settled(data, line, rough, mean, x, modes[..., pick[0], pick[1]], _longest(energy, bands, x))
        amplitude += change
        mean = _mean((zero + _sum(amplitude, modes))[:, pick[0], pick[1]], x)

    # 2. fine, with the smoothness
    typical = _typical_curvature(x - mean, bands, max(strides))
    x = _refined(x, start.shape[1:], strides, pick)
    mean = _mean(zero + _sum(amplitude, modes), x)
    binning = _binning(line, energy, intensity)
    kept = counting.counts_of(
        *_binned(intensity, energy, binning), background=options.background, factor=_factor(factor, energy, binning)
    )
    longest = _longest(energy, bands, x)
    scan = None
    if given is None:
        train, held = thinned(intensity, options.seed)
        halves = [
            counting.counts_of(
                *_binned(part, energy, binning), background=options.background, factor=_factor(factor, energy, binning)
            )
            for part in (train, held)
        ]
        scan, x = _scan(halves, line, x, mean, longest, options, bands, typical)
        given = scan.best

    # 3. everything
    prior_end = _prior(options, bands, given)
    x = _gradually(kept, line, x, mean, longest, options, bands, given).x
    if options.line is None:
        line, _ = counting.better_line(kept, line, x, jax.jit(counting.data_term)(kept, line, x))
    end = counting.descend(kept, line, prior_end, mean, x, longest, steps=40, tolerance=0.05)
    x, free = end.x, None
    if len(modes):
        x, change, free = _settled(kept, line, prior_end, mean, x, modes, longest)
        amplitude += change
        mean = mean.at[:bands].add(_sum(change, modes))
    error, method = None, "not computed"
    if errors:
        term = jax.jit(counting.data_term)(kept, line, x)
        error, method = surface_errors(term, prior_end, x - mean, seed=options.seed)
        error = error[:bands] if free is None else np.sqrt(error[:bands] ** 2 + free.variance[:bands])
    mu = np.asarray(jax.jit(counting.means)(kept, line, x))
    bright = (mu > 1) & np.asarray(kept.valid)
    chi2 = float(np.mean((np.asarray(kept.counts)[bright] - mu[bright]) ** 2 / mu[bright])) if bright.any() else np.nan
    found = np.asarray(x)
    return Surfaces(
        found[:bands], error, method, np.exp(found[bands : 2 * bands]), np.exp(found[2 * bands :]), line, scan, float(given),
        chi2, binning, bool(end.converged), amplitude, np.zeros((0, 0)) if free is None else free.covariance,
    )  # fmt: skip


def _settled(
    data: Counts, line: Line, prior: fields.Smoothness, mean: jax.Array, x: jax.Array, modes: np.ndarray, longest: jax.Array
) -> tuple[jax.Array, np.ndarray, prior_modes.Step]:  # fmt: skip
    """The field with the amplitudes of the prior's modes where the map wants them; their change, and the last step."""
    total, term = np.zeros(len(modes)), jax.jit(counting.data_term)
    whole = jnp.zeros((len(modes), *x.shape), x.dtype).at[:, : modes.shape[1]].set(modes)
    found = prior_modes.step(term(data, line, x), prior, x - mean, whole)
    for _ in range(MODE_STEPS):
        if found.gain < MODE_TOLERANCE:
            break
        change = jnp.asarray(found.amplitude, x.dtype)
        total += found.amplitude
        mean = mean + jnp.tensordot(change, whole, 1)
        x = counting.descend(
            data, line, prior, mean, x + jnp.tensordot(change, found.follow, 1), longest, steps=20, tolerance=0.05
        ).x
        found = prior_modes.step(term(data, line, x), prior, x - mean, whole)
    return x, total, found


def _sum(amplitude: np.ndarray, modes: np.ndarray) -> np.ndarray:
    return np.tensordot(amplitude, modes, 1)


def _coarse(
    data: Counts, x: jax.Array, mean: jax.Array, prior: fields.Smoothness, energy: np.ndarray, options: Options
) -> tuple[Line, jax.Array]:
    """Annealing, then the line's widths."""
    span, step = float(energy[-1] - energy[0]), float(np.diff(energy).min())
    blurs = options.anneal or (span / 16, span / 32, span / 64)
    own = options.line or (0.0, max(blurs[-1], 2 * step))
    dtype = x.dtype
    longest = _longest(energy, (x.shape[0] - options.background) // 2, x)
    line = Line(*(jnp.asarray(w, dtype) for w in own))
    for blur in blurs:
        line = Line(jnp.asarray(np.hypot(own[0], blur), dtype), jnp.asarray(own[1], dtype))
        x = counting.descend(data, line, prior, mean, x, longest, steps=10, tolerance=1.0).x
    if options.line is not None:
        line = Line(*(jnp.asarray(w, dtype) for w in own))
        return line, counting.descend(data, line, prior, mean, x, longest, steps=20, tolerance=0.5).x
    for _ in range(LINE_STEPS):
        line, change = counting.better_line(data, line, x, jax.jit(counting.data_term)(data, line, x))
        x = counting.descend(data, line, prior, mean, x, longest, steps=10, tolerance=0.5).x
        if float(change) < LINE_TOLERANCE:
            break
    return line, x


def _scan(
    halves: list[Counts],
    line: Line,
    x: jax.Array,
    mean: jax.Array,
    longest: jax.Array,
    options: Options,
    bands: int,
    width: float,
) -> tuple[Scan, jax.Array]:
    """Held-out log-likelihood of widths about `width`, uphill by factors of two until both neighbours of the best are known."""
    train, held = halves
    ratio = np.log(HELD_OUT / (1 - HELD_OUT))
    lift = jnp.concatenate([jnp.zeros(bands), jnp.full(x.shape[0] - bands, ratio)])[:, None, None].astype(x.dtype)
    judge = jax.jit(counting.cost)
    part = np.log(1 - HELD_OUT)  # of heights and background
    x, mean = x.at[bands:].add(part), mean.at[bands:].add(part)
    ends: dict[int, tuple[float, jax.Array]] = {}
    place, best = 0, 0
    while len(ends) < WIDTH_TRIALS:
        found = _gradually(
            train, line, ends[best][1] if ends else x, mean, longest, options, bands, width * WIDTH_FACTOR**place
        )
        ends[place] = -float(judge(held, line, found.x + lift)), found.x
        best = max(ends, key=lambda i: ends[i][0])
        open_ends = [i for i in (best + 1, best - 1) if i not in ends]
        if not open_ends:
            break
        place = open_ends[0]
    order = sorted(ends)
    scan = Scan(width * WIDTH_FACTOR ** np.array(order, float), np.array([ends[i][0] for i in order]))
    return scan, ends[best][1].at[bands:].add(-part)


def _typical_curvature(x: jax.Array, bands: int, stride: int) -> float:
    """Median second difference of the coarse surfaces on the grid of all pixels, eV."""
    found = [np.abs(np.asarray(part)).ravel() for part in fields.differences(x[:bands])[3:5]]
    return max(float(np.median(np.concatenate(found))) / stride**2, 1e-4)


def _gradually(
    data: Counts,
    line: Line,
    x: jax.Array,
    mean: jax.Array,
    longest: jax.Array,
    options: Options,
    bands: int,
    width: float,
) -> fields.Descent:
    """Gaussian prior first; Student's t from there."""
    smooth = _prior(options, bands, width, robust=False)
    found = counting.descend(data, line, smooth, mean, x, longest, steps=12, tolerance=1.0)
    if options.freedom is None:
        return found
    return counting.descend(data, line, _prior(options, bands, width), mean, found.x, longest, steps=12, tolerance=1.0)


def _prior(options: Options, bands: int, width: float, *, stride: int = 1, robust: bool = True) -> fields.Smoothness:
    """Priors of energies, heights and background; second differences grow with the square of the stride."""
    others = bands + options.background
    point = 0.0 if options.sigma_prior is None else options.sigma_prior**-2
    pair = 0.0 if options.sigma_pair is None else (options.sigma_pair * stride) ** -2
    height = (options.sigma_height * np.sqrt(stride)) ** -2
    return fields.Smoothness(
        jnp.array([point] * bands + [POINT_SIGMA**-2] * others), jnp.array([pair] * bands + [height] * others),
        jnp.array([width**-2] * bands + [0.0] * others), jnp.asarray(1 / options.freedom if robust and options.freedom else 0.0),
    )  # fmt: skip


def _first_field(intensity: np.ndarray, start: np.ndarray, energy: np.ndarray, options: Options) -> jax.Array:
    """Energies of the start, heights of the smoothed map there, a background of its lowest tenth."""
    filled = np.nan_to_num(intensity)
    smooth = gaussian_filter(
        filled, (1 if start.shape[1] > 1 else 0, 1 if start.shape[2] > 1 else 0, 2), mode="nearest"
    )
    level = float(np.percentile(smooth, 99))
    ground = np.full((options.background, *start.shape[1:]), max(float(np.percentile(smooth, 5)), 1e-3 * level))
    place = np.clip(np.searchsorted(energy, start), 0, energy.size - 1)
    height = np.take_along_axis(smooth[None], place[..., None], axis=-1)[..., 0]
    # One height a band to begin with: a start beside its band must not be called dark
    typical = np.maximum(np.median(height, axis=(1, 2), keepdims=True), 0.2 * level) + 0 * height
    return jnp.asarray(np.concatenate([start, np.log(typical), np.log(ground)]))


def _mean(surfaces: np.ndarray, x: jax.Array) -> jax.Array:
    """Prior mean: the surfaces, and the middle of heights and background."""
    rest = x[len(surfaces) :]
    return jnp.concatenate(
        [jnp.asarray(surfaces, x.dtype), jnp.broadcast_to(jnp.median(rest, axis=(1, 2), keepdims=True), rest.shape)]
    )


def _longest(energy: np.ndarray, bands: int, x: jax.Array) -> jax.Array:
    return jnp.asarray([float(energy[-1] - energy[0]) / 30] * bands + [1.0] * (x.shape[0] - bands), x.dtype)


def _refined(x: jax.Array, shape: tuple[int, ...], strides: tuple[int, int], pick: tuple[slice, ...]) -> jax.Array:
    """A field of every s-th pixel on all pixels, linear in between and beyond the first and last."""
    if strides == (1, 1):
        return x
    found = np.asarray(x)
    where = []
    for axis, (n, s, p) in enumerate(zip(shape, strides, pick, strict=True)):
        place = (np.arange(n) - p.start) / s
        if found.shape[axis + 1] > 1:  # linear beyond the ends: two more points there
            low, high = found.take([0], axis + 1), found.take([-1], axis + 1)
            first, last = 2 * low - found.take([1], axis + 1), 2 * high - found.take([-2], axis + 1)
            found = np.concatenate([first, found, last], axis + 1)
            place += 1
        where.append(np.clip(place, 0, found.shape[axis + 1] - 1))
    at = np.meshgrid(*where, indexing="ij")
    return jnp.asarray(np.stack([map_coordinates(part, at, order=1, mode="nearest") for part in found]))


def _binning(line: Line, energy: np.ndarray, intensity: np.ndarray) -> int:
    """Energies that one bin may hold: a third of the line's width, 1 where energies are missing or not equidistant."""
    steps = np.diff(energy)
    missing = np.isnan(intensity)
    partly = np.any(missing.any(axis=-1) & ~missing.all(axis=-1))
    if partly or not np.allclose(steps, steps[0], rtol=1e-3):
        return 1
    return max(1, int(np.hypot(float(line.sigma), float(line.eta)) / 3 / steps[0]))


def _binned(intensity: np.ndarray, energy: np.ndarray, binning: int) -> tuple[np.ndarray, np.ndarray]:
    if binning == 1:
        return intensity, energy
    count = energy.size // binning
    kept = slice(0, count * binning)
    shaped = intensity[..., kept].reshape(*intensity.shape[:2], count, binning)
    return shaped.sum(axis=-1), energy[kept].reshape(count, binning).mean(axis=-1)


def _factor(factor: np.ndarray | None, energy: np.ndarray, binning: int) -> np.ndarray:
    """f(E) of a bin: heights stay counts of one energy."""
    given = np.ones_like(energy) if factor is None else factor
    count = energy.size // binning
    return given[: count * binning].reshape(count, binning).sum(axis=-1)


def settings(options: Options, found: Surfaces) -> dict[str, Any]:
    """Attributes of a result."""
    scan = {} if found.scan is None else {
        "scan_sigma_curvature": found.scan.values.tolist(), "scan_held_out_log_likelihood": found.scan.scores.tolist(),
        "scan_at_end": int(found.scan.at_end),
    }  # fmt: skip
    return {
        "sigma_curvature": found.sigma_curvature, "sigma_curvature_by": "held-out counts" if scan else "given",
        "freedom": options.freedom or "Gaussian", "sigma_height": options.sigma_height, "line_sigma": float(found.line.sigma),
        "line_eta": float(found.line.eta), "line_by": "fit" if options.line is None else "given", "energy_binning": found.binning,
        "reduced_chi2": found.reduced_chi2, "background_shapes": options.background,
    } | scan | {k: v for k in ("sigma_pair", "sigma_prior") if (v := getattr(options, k)) is not None}  # fmt: skip
