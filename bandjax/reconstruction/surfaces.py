"""Our posterior from a start to surfaces with errors: coarse to fine in k and in the width of the line, the smoothness by held-out counts.

1. On every s-th pixel (some hundred): the widths of a line that is held at the start, which say how far from the bands that is; then energies
   and widths in turn, so that the line narrows as they come near. What is smooth here is the difference from the start: it keeps
   the labels, which nothing else can know.
2. The same on every s/2-th pixel, …, the second at last; energies binned as the line allows.
3. On all pixels: the prior's width by held-out counts, each value warm from the one before, the smoothest first; a Gaussian prior first, then
   Student's t, which opens the kinks.
4. All counts with the chosen width, the line's widths once more, errors.
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
from bandjax.reconstruction.errors import deviations, surface_errors

COARSE_PIXELS, COARSE_ENERGIES = 500, 128  # at least that many, if there are
HELD = 1e12  # 1/eV²: an energy that stays where it is
ROUGH = 0.003  # eV, second differences of the way from the start on the coarser grids
WIDTH_FACTOR, WIDTH_TRIALS = (
    2.0,
    8,
)  # of the prior of second differences, between what is tried and at most how many are
SCANNED = 80_000  # energies, bands × pixels, that choose the smoothness
POINT_SIGMA = 2.0  # of the logarithm of a height about that of the whole map: keeps dark pixels finite
LINE_STEPS, LINE_TOLERANCE = 8, 0.01
MODE_STEPS, MODE_TOLERANCE = (
    12,
    0.01,
)  # of the amplitudes of the prior's modes; gain of −log posterior at which they end


class Options(NamedTuple):
    """What the counting posterior may be told.

    Attributes:
        sigma_curvature: Width of the prior of second differences, eV; None: by held-out counts.
        freedom: ν of its Student's t; None: Gaussian.
        sigma_pair: Width of the prior of neighbours, eV; None: none.
        sigma_prior: Width of the prior about `prior`, point by point, eV; None: none.
        sigma_height: Width of the prior of neighbours of log heights and log background.
        background: Values of the background along the energy, linear in between; 1: a constant.
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
        draws: Surfaces as they may be, (draw, band, nx, ny).
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
    draws: np.ndarray


def counting_posterior(
    intensity: np.ndarray, energy: np.ndarray, start: np.ndarray, options: Options, *, prior: np.ndarray | None = None,
    modes: np.ndarray | None = None, factor: np.ndarray | None = None, errors: bool = True, draws: int = 0,
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
        draws: How many draws of the surfaces are wanted.
    """
    bands = len(start)
    modes = np.zeros((0, *start.shape)) if modes is None else modes
    amplitude = np.zeros(len(modes))
    given = options.sigma_curvature
    zero = np.zeros_like(start) if prior is None else prior
    line, x, typical = _coarse_to_fine(intensity, energy, start, zero, factor, options)

    # 3. the smoothness
    mean = _mean(zero, x)
    binning = _binning(_third(line), energy, intensity)
    kept = _data(intensity, energy, factor, options, binning)
    longest = _longest(energy, bands, x)
    if len(modes):
        first = _prior(options, bands, given or typical, robust=False)
        x, amplitude, _ = _settled(kept, line, first, mean, x, modes, longest)
        mean = mean.at[:bands].add(_sum(amplitude, modes))
        typical = _typical_curvature(x[:bands] - mean[:bands], bands, 1)
    scan = None
    if given is None:
        part = _window(start.shape[1:], bands)
        halves = [_data(half[part], energy, factor, options, binning) for half in thinned(intensity, options.seed)]
        scan, found = _scan(halves, line, x[:, *part], mean[:, *part], longest, options, bands, typical)
        x = x.at[:, *part].set(found)
        given = scan.best

    # 4. everything
    prior_end = _prior(options, bands, given)
    x = _gradually(kept, line, x, mean, longest, options, bands, given).x
    if options.line is None:
        line, _ = counting.better_line(kept, line, x, jax.jit(counting.data_term)(kept, line, x))
    end = counting.descend(kept, line, prior_end, mean, x, longest, steps=40, tolerance=0.05)
    x, free = end.x, None
    if len(modes):
        x, change, free = _settled(kept, line, prior_end, mean, x, modes, longest)
        amplitude = amplitude + change
        mean = mean.at[:bands].add(_sum(change, modes))
    error, method = None, "not computed"
    if errors:
        term = jax.jit(counting.data_term)(kept, line, x)
        error, method = surface_errors(term, prior_end, x - mean, seed=options.seed)
        error = error[:bands] if free is None else np.sqrt(error[:bands] ** 2 + free.variance[:bands])
    drawn = np.zeros((0, *start.shape))
    if draws:
        term = jax.jit(counting.data_term)(kept, line, x)
        drawn = np.asarray(x[:bands]) + deviations(term, prior_end, x - mean, draws, seed=options.seed)[:, :bands]
        if free is not None:
            drawn = drawn + free.draws(draws, options.seed)[:, :bands]
    mu = np.asarray(jax.jit(counting.means)(kept, line, x))
    bright = (mu > 1) & np.asarray(kept.valid)
    chi2 = float(np.mean((np.asarray(kept.counts)[bright] - mu[bright]) ** 2 / mu[bright])) if bright.any() else np.nan
    found = np.asarray(x)
    return Surfaces(
        found[:bands], error, method, np.exp(found[bands : 2 * bands]), np.exp(found[2 * bands :]), line, scan, float(given),
        chi2, binning, bool(end.converged), amplitude, np.zeros((0, 0)) if free is None else free.covariance, drawn,
    )  # fmt: skip


def _settled(
    data: Counts, line: Line, prior: fields.Smoothness, mean: jax.Array, x: jax.Array, modes: np.ndarray, longest: jax.Array
) -> tuple[jax.Array, np.ndarray, prior_modes.Step]:  # fmt: skip
    """The field with the amplitudes of the prior's modes where the map wants them; their change, and the last step."""
    total, term = np.zeros(len(modes)), jax.jit(counting.data_term)
    whole = jnp.zeros((len(modes), *x.shape), x.dtype).at[:, : modes.shape[1]].set(modes)

    def descended(mean: jax.Array, x: jax.Array) -> fields.Descent:
        return counting.descend(data, line, prior, mean, x, longest, steps=30, tolerance=MODE_TOLERANCE / 2)

    end = descended(mean, x)  # the step of the amplitudes is that of surfaces at their optimum
    found = prior_modes.step(term(data, line, end.x), prior, end.x - mean, whole)
    length = 1.0
    for _ in range(MODE_STEPS):
        if length * found.gain < MODE_TOLERANCE:
            break
        change = jnp.asarray(length * found.amplitude, x.dtype)
        moved = mean + jnp.tensordot(change, whole, 1)
        trial = descended(moved, end.x + jnp.tensordot(change, found.follow, 1))
        if float(trial.cost) > float(end.cost):
            length /= 4
            continue
        total, mean, end, length = total + np.asarray(change), moved, trial, 1.0
        found = prior_modes.step(term(data, line, end.x), prior, end.x - mean, whole)
    return end.x, total, found


def _sum(amplitude: np.ndarray, modes: np.ndarray) -> np.ndarray:
    return np.tensordot(amplitude, modes, 1)


def _coarse_to_fine(
    intensity: np.ndarray, energy: np.ndarray, start: np.ndarray, zero: np.ndarray, factor: np.ndarray | None, options: Options
) -> tuple[Line, jax.Array, float]:  # fmt: skip
    """The line, a field on all pixels, and the typical second difference of its energies less `zero`."""
    shape, bands = start.shape[1:], len(start)
    line, x, typical = None, jnp.zeros(0), 0.0
    for strides in _strides(shape):
        pick = _picked(shape, strides)
        here, stride = start[:, pick[0], pick[1]], max(strides)
        if line is None:
            width = float(energy[-1] - energy[0]) / COARSE_ENERGIES
            data = _data(intensity[pick], energy, factor, options, _binning(width, energy, intensity))
            x = _first_field(intensity[pick], here, energy, options)
            line, x = _coarse(data, x, here, stride, energy, options)
        else:
            data = _data(intensity[pick], energy, factor, options, _binning(_third(line), energy, intensity))
            x, rough = x[:, pick[0], pick[1]], _rough(options, bands, stride)
            x = counting.descend(
                data, line, rough, _mean(here, x), x, _longest(energy, bands, x), steps=8, tolerance=1.0
            ).x
        typical = _typical_curvature(x[:bands] - zero[:, pick[0], pick[1]], bands, stride)
        x = _refined(x.at[:bands].add(-here), shape, strides, pick).at[:bands].add(start)
    assert line is not None
    return line, x, typical


def _coarse(
    data: Counts, x: jax.Array, start: np.ndarray, stride: int, energy: np.ndarray, options: Options
) -> tuple[Line, jax.Array]:
    """A line as wide as the start is far off, then energies and widths in turn."""
    bands, span = len(start), float(energy[-1] - energy[0])
    mean, longest, rough = _mean(start, x), _longest(energy, bands, x), _rough(options, bands, stride)
    own = Line(*(jnp.asarray(w, x.dtype) for w in options.line or (span / 64, 2 * float(np.diff(energy).min()))))
    if options.anneal is not None:
        for blur in options.anneal:
            line = Line(jnp.hypot(own.sigma, jnp.asarray(blur, x.dtype)), own.eta)
            x = counting.descend(data, line, rough, mean, x, longest, steps=10, tolerance=1.0).x
        line = own
    else:
        line = Line(jnp.hypot(own.sigma, jnp.asarray(span / 32, x.dtype)), own.eta)
        held = rough._replace(point=rough.point.at[:bands].set(HELD))
        for _ in range(LINE_STEPS):
            x = counting.descend(data, line, held, mean, x, longest, steps=6, tolerance=1.0).x
            line, change = counting.better_line(data, line, x, jax.jit(counting.data_term)(data, line, x))
            if float(change) < 0.1:
                break
    for _ in range(LINE_STEPS):
        x = counting.descend(data, line, rough, mean, x, longest, steps=10, tolerance=1.0).x
        line, change = counting.better_line(data, line, x, jax.jit(counting.data_term)(data, line, x))
        if float(change) < LINE_TOLERANCE:
            break
    if options.line is None:
        return line, x
    return own, counting.descend(data, own, rough, mean, x, longest, steps=20, tolerance=0.5).x


def _rough(options: Options, bands: int, stride: int) -> fields.Smoothness:
    """Prior on a coarser grid: of the way from the start."""
    return _prior(options, bands, (options.sigma_curvature or ROUGH) * stride**2, stride=stride, robust=False)


def _strides(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Of the coarser grids, the coarsest first; (1, 1) if there are few pixels."""
    plane = shape[1] > 1
    stride = 1
    while shape[0] * shape[1] >= COARSE_PIXELS * (2 * stride) ** (1 + plane):
        stride *= 2
    found = [stride]
    while found[-1] > 2:
        found.append(found[-1] // 2)
    return [(s, s if plane else 1) for s in found]


def _picked(shape: tuple[int, int], strides: tuple[int, int]) -> tuple[slice, slice]:
    return tuple(slice(min(s // 2, n - 1), None, s) for s, n in zip(strides, shape, strict=True))


def _window(shape: tuple[int, int], bands: int) -> tuple[slice, slice]:
    """All pixels, or the middle of a large map, of the shape of one of its coarser grids: what was compiled for that serves again."""
    sizes = [
        shape,
        *(
            tuple(len(range(*p.indices(n))) for p, n in zip(_picked(shape, s), shape, strict=True))
            for s in reversed(_strides(shape))
        ),
    ]
    chosen = next((s for s in sizes if bands * s[0] * s[1] <= SCANNED), sizes[-1])
    first, second = (slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(shape, chosen, strict=True))
    return first, second


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


def _data(
    intensity: np.ndarray, energy: np.ndarray, factor: np.ndarray | None, options: Options, binning: int
) -> Counts:
    binned, places = _binned(intensity, energy, binning)
    return counting.counts_of(binned, places, background=options.background, factor=_factor(factor, energy, binning))


def _third(line: Line) -> float:
    """Of the line's width, eV: so wide a bin may be."""
    return float(np.hypot(float(line.sigma), float(line.eta))) / 3


def _binning(width: float, energy: np.ndarray, intensity: np.ndarray) -> int:
    """Energies that a bin of this width may hold, 1 where energies are missing or not equidistant."""
    steps = np.diff(energy)
    missing = np.isnan(intensity)
    partly = np.any(missing.any(axis=-1) & ~missing.all(axis=-1))
    if partly or not np.allclose(steps, steps[0], rtol=1e-3):
        return 1
    return max(1, int(width / steps[0]))


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
