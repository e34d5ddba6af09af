"""What is fitted to what: maps, model, instrument, parameters, noise; and the objective that the solver sees.

Parameter names: a name of `QUANTITIES` ("eta") is a number of every map's instrument, "map.eta" that of one map, likewise
those of a smooth brightness (`inference/brightness.py`), and every other name goes to `model_of`. Maps are fitted jointly; what they share is what has one name.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from bandjax import checks
from bandjax.checks import nearest
from bandjax.hamiltonian import Model, tight_binding
from bandjax.inference.brightness import TERMS, brightness_of, is_brightness
from bandjax.inference.likelihood import Likelihood, check_likelihood, cost_and_score, pixel_variance
from bandjax.inference.linear import (
    FreeWeights,
    Projected,
    Smooth,
    averaged_basis,
    background_basis,
    project,
    project_out,
    weight_basis,
)
from bandjax.inference.parameters import Parameter, Transform, all_values, free_values, make_transform
from bandjax.materials import Table
from bandjax.photoemission import QUANTITIES, Axes, Instrument, Plan, arpes_image, as_axes, plan_image, signal
from bandjax.photoemission.matrix_elements import mirror_parities
from bandjax.photoemission.plan import STACK_METHODS
from bandjax.units import FWHM_PER_SIGMA

TURNING = {"azimuth", "incidence", "incidence_azimuth"}  # numbers that break the mirror symmetry of a plan
NARROWEST, WIDEST = 0.7, 1.4  # parts of its start between which a momentum resolution may go on the nodes of "grid"
ModelOf = Callable[[Mapping[str, Any]], Model]


class Known(NamedTuple):
    """A number of the model that is known from elsewhere, such as a gap from optics: a Gaussian prior on it.

    Attributes:
        name: For the report.
        of: Model -> number, differentiable.
        value: What it is known to be.
        sigma: How well, > 0.
    """

    name: str
    of: Callable[[Model], jax.Array]
    value: float
    sigma: float


@dataclasses.dataclass(frozen=True)
class Problem:
    """A fit, complete but for the data.

    Attributes:
        model_of: From the values that are no instrument numbers to a model; see `table_model`. One for all maps, or of
            each map by name: crystals fitted together, that share what has one name (a stack and its bare substrate).
        parameters: Every free, fixed or tied number by name.
        instrument: Instrument of the map, or of each map by name, with the numbers that are no parameters.
        likelihood: Noise, of the map or of each map by name.
        known: Priors on numbers that follow from the model (of the first map).
        weights: Smooth free weights and background, projected out (of a crystal with "free" matrix elements, of a
            stack on top of its own); None: the instrument's own gain, background and detector slope.
        broadening: Extra widths (FWHM) of the coarse stages, from wide to narrow; 0 is added at the end. A number is one of
            the energy in eV; a pair (energy in eV, momentum in 1/Å), either may be 0, also smooths along kx and ky ("direct" only):
            what brings constant-energy maps together whose contours lie far from the start's.
        held_out: Part of the pixels kept out of the fit, in blocks, to score the model on.
        block: Pixels along each side of such a block, and of the blocks of the bootstrap.
        seed: Of the held-out blocks and of the bootstrap.
        inflate: Whether misfit (pixel by pixel) and correlation of the residual widen the noise in final stages.
        method, kz_points, window: How images are computed; see `plan_image`. With "grid" a free `fwhm_momentum` is
            bounded by `NARROWEST` and `WIDEST` of its start, for which the nodes are laid.
        derived: From a model, its instrument to named derived numbers, whose errors are propagated.
    """

    model_of: ModelOf | Mapping[str, ModelOf]
    parameters: Mapping[str, Parameter]
    instrument: Instrument | Mapping[str, Instrument]
    likelihood: Likelihood | Mapping[str, Likelihood] = dataclasses.field(default_factory=Likelihood)
    known: tuple[Known, ...] = ()
    weights: FreeWeights | None = None
    broadening: tuple[float | tuple[float, float], ...] = (0.4,)
    held_out: float = 0.0
    block: int = 5
    seed: int = 0
    inflate: bool = True
    method: str = "direct"
    kz_points: int | None = None
    window: float | None = None
    derived: Callable[[Model, Instrument], dict[str, float]] | None = None


def table_model(atoms: ase.Atoms, table: Table, **options: Any) -> ModelOf:
    """`model_of` of a fixed structure: the table with the values that are its own, passed to `tight_binding`."""

    def model_of(values: Mapping[str, Any]) -> Model:
        return tight_binding(atoms, table.replace(**{n: v for n, v in values.items() if n in table.values}), **options)

    model_of.names = frozenset(table.values)
    return model_of


class Part(NamedTuple):
    """One map, ready to be fitted; static apart from `data`, `variance` and the masks, which are arrays."""

    name: str
    array: xr.DataArray
    plan: Plan
    instrument: Instrument
    likelihood: Likelihood
    data: np.ndarray
    fitted: np.ndarray  # pixels of the fit
    held: np.ndarray  # pixels held out
    noise: np.ndarray  # σ² of the data
    variance: np.ndarray  # σ² with which pixels enter: noise, and the band error of the likelihood
    bases: tuple[Smooth, ...] | None  # weights of the sharp images (even, odd), of the k_z-averaged one, background


class Observed(NamedTuple):
    """The arrays of one map that enter the likelihood."""

    data: jax.Array
    weight: jax.Array


def prepare(data: xr.DataArray | Mapping[str, xr.DataArray], problem: Problem) -> tuple[list[Part], Transform]:
    """Check data against problem and lay out everything static.

    Raises:
        ValueError: maps and instruments do not match, a parameter is not known (the nearest is given), the
            likelihood does not go with projected weights, or a map has no pixel with data.
    """
    _check_options(problem)
    maps = dict(data) if isinstance(data, Mapping) and not isinstance(data, xr.DataArray) else {"map": data}
    parameters = dict(problem.parameters)
    for name, p in parameters.items():
        if name.endswith("fwhm_momentum") and problem.method == "grid" and not p.fixed and p.tied is None:
            parameters[name] = p._replace(lower=max(p.lower, NARROWEST * p.value), upper=min(p.upper, WIDEST * p.value))
    transform = make_transform(parameters)
    _check_names(problem, list(maps))
    start_values = {n: float(v) for n, v in all_values(transform, jnp.asarray(transform.centre)).items()}
    parts = []
    for index, (name, array) in enumerate(maps.items()):
        instrument = of_map(problem.instrument, name)
        stack = problem.method in STACK_METHODS  # its one image keeps its matrix elements
        if problem.weights is not None and not stack:
            instrument = dataclasses.replace(instrument, matrix_elements="free")
        likelihood = check_likelihood(of_map(problem.likelihood, name))
        axes = as_axes(array)
        if axes.in_angles and any(stage_widths(b)[1] for b in problem.broadening):
            raise ValueError(
                f"Argument `broadening` may smooth along the momentum of maps over kx and ky only, but map `{name}` has {axes.names}."
            )
        _check_brightness(problem, name, axes)
        values = np.asarray(array.transpose(*axes.names).values, float)
        mask = np.isfinite(values)
        if not mask.any():
            raise ValueError(f"Map `{name}` must hold pixels with data, but all are masked.")
        if likelihood.kind == "poisson" and (values[mask] < 0).any():
            raise ValueError(
                f"Map `{name}` must hold counts ≥ 0 for the Poisson likelihood, but reaches {values[mask].min():g}."
            )
        if problem.weights is not None and (likelihood.kind != "scaled" or len(axes.lateral) != 1 or axes.hv):
            raise ValueError(
                f"Map `{name}` must be a cut with the 'scaled' likelihood for projected weights, but has axes {axes.names} and {likelihood.kind!r}."
            )
        held = mask & _blocks(values.shape, problem.held_out, problem.block, problem.seed + index)
        start = dataclasses.replace(instrument, **instrument_values(start_values, name))
        model = of_map(problem.model_of, name)(model_values(start_values))
        free = {n.rsplit(".", 1)[-1] for n in transform.names} | {n.rsplit(".", 1)[-1] for n, *_ in transform.tied}
        narrow = NARROWEST if "fwhm_momentum" in free else 1.0
        plan = plan_image(
            model, dataclasses.replace(start, fwhm_momentum=narrow * start.fwhm_momentum), axes,
            method=problem.method, kz_points=problem.kz_points, window=problem.window, turning=bool(free & TURNING),
        )  # fmt: skip
        noise = variance = np.ones_like(values)
        if likelihood.kind == "scaled":
            noise, variance = pixel_variance(values, mask, likelihood, np.array(axes.energy))
        bases = None
        if problem.weights is not None:
            pixel, energy = np.array(axes.lateral[0][1]), np.array(axes.energy)
            sharp = weight_basis(problem.weights, pixel, energy)
            bases = (sharp,) * (1 if stack else len(mirror_parities(model.topology.orbitals)))
            if plan.method == "grid" and len(plan.kz) > 1:  # else k_z is sharp, and there is no k_z-averaged image
                bases += (averaged_basis(problem.weights, pixel, energy),)
            bases += (background_basis(problem.weights, pixel, energy),)
        parts.append(
            Part(
                name,
                array,
                plan,
                instrument,
                likelihood,
                np.where(mask, values, 0.0),
                mask & ~held,
                held,
                noise,
                variance,
                bases,
            )
        )
    return parts, transform


def observed(
    part: Part, *, broadening: float | tuple[float, float] = 0.0, widening: np.ndarray | float = 1.0
) -> Observed:
    """Data (smoothed for a coarse stage) and pixel weights of one map, its variances × `widening`."""
    weight = part.fitted / (part.variance * part.likelihood.inflation * widening)
    data, (by_energy, by_momentum) = part.data, stage_widths(broadening)
    axes = part.plan.axes
    widths = [(-1, by_energy, axes.energy)]
    widths += [(i - len(axes.lateral) - 1, by_momentum, values) for i, (_, values) in enumerate(axes.lateral)]
    for axis, width, values in widths:
        if width > 0 and len(values) > 1:
            sigma = width / FWHM_PER_SIGMA / float(np.mean(np.diff(values)))
            kept = (part.fitted | part.held).astype(float)
            norm = gaussian_filter1d(kept, sigma, axis=axis, mode="nearest")
            data = gaussian_filter1d(data * kept, sigma, axis=axis, mode="nearest") / np.maximum(norm, 1e-9)
    return Observed(jnp.asarray(data), jnp.asarray(weight))


def stage_widths(broadening: float | tuple[float, float]) -> tuple[float, float]:
    """(energy in eV, momentum in 1/Å) of an entry of `Problem.broadening`."""
    return (float(broadening), 0.0) if np.ndim(broadening) == 0 else (float(broadening[0]), float(broadening[1]))


class Objective(NamedTuple):
    """−log posterior and what the solver and the error estimates need of it; functions of unconstrained numbers."""

    cost: Callable
    linearise: Callable
    predict: Callable  # -> list of (mean, coefficients)
    scores: Callable  # -> list of per-pixel derivatives of −log L, (pixel, parameter)
    prior_rows: Callable  # u -> (number − prior)/σ of the parameters and of what else is known, (prior,)


def make_objective(problem: Problem, parts: list[Part], transform: Transform) -> Objective:
    """Pure functions of (u, observed, broadening); `observed` is a list of `Observed`, one a map, `broadening` a number (of the
    energy) or two (and of the momentum)."""

    def model_at(values: Mapping[str, Any], name: str) -> Model:
        return of_map(problem.model_of, name)(model_values(values))

    def prior_rows(u: jax.Array) -> jax.Array:
        x = free_values(transform, u)
        rows = (x - transform.prior) / transform.sigma
        if not problem.known:
            return rows
        model = model_at(all_values(transform, x), parts[0].name)
        return jnp.concatenate([rows, jnp.stack([(n.of(model) - n.value) / n.sigma for n in problem.known])])

    def settings(u: jax.Array, part: Part, broadening: jax.Array) -> tuple[Model, Instrument]:
        values = all_values(transform, free_values(transform, u))
        instrument = dataclasses.replace(part.instrument, **instrument_values(values, part.name))
        by_energy, *by_momentum = jnp.atleast_1d(broadening)
        wide = jnp.sqrt(instrument.fwhm_energy**2 + by_energy**2 + 1e-12)  # 1 µeV keeps the derivative at 0 finite
        instrument = dataclasses.replace(instrument, fwhm_energy=wide)
        for width in by_momentum:
            instrument = dataclasses.replace(
                instrument, fwhm_momentum=jnp.sqrt(instrument.fwhm_momentum**2 + width**2 + 1e-12)
            )
        factor = brightness_of(values, part.name, part.plan.axes)
        return model_at(values, part.name), dataclasses.replace(instrument, gain=instrument.gain * factor)

    def images(u: jax.Array, part: Part, broadening: jax.Array) -> jax.Array:
        model, instrument = settings(u, part, broadening)
        if part.bases is None:
            return arpes_image(model, instrument, part.plan)[None]
        bright = signal(model, instrument, part.plan)
        return jnp.concatenate([bright, jnp.ones_like(bright[:1])])

    def projected(part: Part, bright: jax.Array, obs: Observed) -> Projected:
        """The best linear coefficients for given images, the last of which is 1 (the background)."""
        signed = (False,) * (len(bright) - 1) + (True,)
        return project(
            bright, part.bases, obs.data, obs.weight, ridge=(problem.weights or FreeWeights()).ridge, signed=signed
        )

    def mean_of(
        u: jax.Array, part: Part, obs: Observed, broadening: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Model, its linear coefficients, and the ridge's part of the cost."""
        bright = images(u, part, broadening)
        if part.bases is None:
            return bright[0], jnp.zeros(0), jnp.zeros(())
        found = projected(part, bright, obs)
        return found.mean, found.coefficients, found.penalty

    def cost(u: jax.Array, obs: list[Observed], broadening: jax.Array) -> jax.Array:
        total = 0.5 * jnp.sum(prior_rows(u) ** 2)
        for part, o in zip(parts, obs, strict=True):
            mean, _, penalty = mean_of(u, part, o, broadening)
            total += cost_and_score(part.likelihood.kind, mean, o.data, o.weight)[0] + penalty
        return total

    def part_linearised(u: jax.Array, part: Part, o: Observed, broadening: jax.Array) -> tuple:
        """Cost, its gradient, score and Fisher weight per pixel, and the Jacobian (pixel, parameter) without what the
        linear nuisances take up. At their optimum the gradient is that at fixed coefficients."""

        def twice(w: jax.Array) -> tuple[jax.Array, jax.Array]:
            bright = images(w, part, broadening)
            return bright, bright

        slopes, bright = jax.jacfwd(twice, has_aux=True)(u)  # (image, …, parameter), and the images themselves
        if part.bases is None:
            value, score, fisher = cost_and_score(part.likelihood.kind, bright[0], o.data, o.weight)
            jacobian = slopes[0]
            gradient = jnp.tensordot(score, jacobian, score.ndim)
        else:
            found = projected(part, bright, o)
            value, score, fisher = cost_and_score("scaled", found.mean, o.data, o.weight)
            raw = (found.surfaces[..., None] * slopes).sum(axis=0)
            gradient = jnp.tensordot(score, raw, 2) + jnp.tensordot(found.slope, slopes, 3)
            value, jacobian = value + found.penalty, project_out(found, bright, part.bases, raw, fisher)
        return value, gradient, score.ravel(), fisher.ravel(), jacobian.reshape(score.size, -1)

    def linearise(u: jax.Array, obs: list[Observed], broadening: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rows, root = prior_rows(u), jax.jacfwd(prior_rows)(u)
        total, gradient, matrix = 0.5 * jnp.sum(rows**2), rows @ root, root.T @ root
        for part, o in zip(parts, obs, strict=True):
            value, slope, _, fisher, jacobian = part_linearised(u, part, o, broadening)
            total += value
            gradient += slope
            matrix += (jacobian * fisher[:, None]).T @ jacobian
        return total, gradient, matrix

    def predict(u: jax.Array, obs: list[Observed], broadening: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        return [mean_of(u, part, o, broadening)[:2] for part, o in zip(parts, obs, strict=True)]

    def scores(u: jax.Array, obs: list[Observed], broadening: jax.Array) -> list[jax.Array]:
        out = []
        for part, o in zip(parts, obs, strict=True):
            _, _, score, _, jacobian = part_linearised(u, part, o, broadening)
            out.append(jacobian * score[:, None])
        return out

    return Objective(cost, linearise, predict, scores, prior_rows)


def model_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that go to `model_of`: all but instrument numbers and brightness, shared or of one map."""
    return {n: v for n, v in values.items() if n.rsplit(".", 1)[-1] not in QUANTITIES and not is_brightness(n)}


def _check_brightness(problem: Problem, name: str, axes: Axes) -> None:
    """ValueError for a brightness along an axis that the map has not: it would be a second gain."""
    for parameter in problem.parameters:
        owner, _, term = parameter.rpartition(".")
        if term in TERMS and owner in ("", name) and len(axes.lateral) < 1 + (TERMS[term][1] > 0):
            raise ValueError(
                f"Parameter `{parameter}` must go with maps that have {'two lateral axes' if TERMS[term][1] else 'a lateral axis'}, but map "
                f"`{name}` has {', '.join(axes.names)}."
            )


def _check_options(problem: Problem) -> None:
    """ValueError for stages, blocks, known numbers or grids that are no such thing."""
    for known in problem.known:
        checks.positive(f"known.{known.name}.sigma", known.sigma)
        if not np.isfinite(known.value):
            raise ValueError(f"Argument `known.{known.name}.value` must be a finite number, but is {known.value}.")
    for entry in problem.broadening:
        if np.ndim(entry) == 0:
            checks.positive("broadening", entry, "eV")
            continue
        if np.shape(entry) != (2,) or min(entry) < 0 or max(entry) <= 0:
            raise ValueError(
                f"Argument `broadening` must hold numbers or pairs (eV, 1/Å) ≥ 0, one of them > 0, but holds {entry!r}."
            )
        if entry[1] > 0 and problem.method != "direct":
            raise ValueError(
                f'Argument `broadening` may smooth along the momentum for the method "direct" only, but `method` is {problem.method!r}.'
            )
    for name, value in (("block", problem.block), ("kz_points", problem.kz_points)):
        if value is not None and (value != int(value) or value < 1):
            raise ValueError(f"Argument `{name}` must be a whole number ≥ 1, but is {value!r}.")
    if problem.window is not None:
        checks.not_negative("window", problem.window)


def _check_names(problem: Problem, maps: list[str]) -> None:
    numbers = (*QUANTITIES, *TERMS)
    known = list(numbers) + [f"{m}.{q}" for m in maps for q in numbers]
    bright = [n for n in problem.parameters if is_brightness(n)]
    if bright and problem.weights is not None:
        raise ValueError(
            f"Parameter `{bright[0]}` may not be given beside `weights`, which hold the brightness already."
        )
    model_names = _model_names(problem)
    for name in problem.parameters:
        if name in known or (model_names is None and "." not in name) or name in (model_names or ()):
            continue
        raise ValueError(
            f"Parameter `{name}` must be a value of the model or a number of the instrument, but is neither.{nearest(name, [*known, *(model_names or ())])}"
        )
    by_map = {"model_of": problem.model_of, "instrument": problem.instrument, "likelihood": problem.likelihood}
    for what, given in by_map.items():
        if isinstance(given, Mapping) and set(given) != set(maps):
            raise ValueError(
                f"Argument `{what}` must have one entry for each map ({', '.join(maps)}), but has {', '.join(given)}."
            )


def _model_names(problem: Problem) -> set[str] | None:
    """Names that `model_of` takes, where it says so (an attribute `names`, as `table_model` has)."""
    given = problem.model_of.values() if isinstance(problem.model_of, Mapping) else [problem.model_of]
    names = [getattr(one, "names", None) for one in given]
    return None if any(n is None for n in names) else set().union(*names)


def of_map(given: Any, name: str) -> Any:
    """What is given for one map: the entry of that name, or the one thing that holds for all."""
    return given[name] if isinstance(given, Mapping) else given


def instrument_values(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Instrument numbers of one map: those that all maps share, and its own."""
    shared = {n: v for n, v in values.items() if n in QUANTITIES}
    own = {n.removeprefix(name + "."): v for n, v in values.items() if n.startswith(name + ".")}
    return shared | {n: v for n, v in own.items() if n in QUANTITIES}


def _blocks(shape: tuple[int, ...], part: float, side: int, seed: int) -> np.ndarray:
    """Blocks of pixels, chosen at random, that make up that part of the image."""
    if part == 0:
        return np.zeros(shape, bool)
    if not 0 < part < 0.5:
        raise ValueError(f"Argument `held_out` must be a part between 0 and 0.5 of the pixels, but is {part:g}.")
    coarse = [-(-n // side) for n in shape]
    chosen = np.random.default_rng(seed).random(coarse) < part
    for axis, n in enumerate(shape):
        chosen = np.repeat(chosen, side, axis=axis).take(range(n), axis=axis)
    return chosen
