"""The closed loop for a crystal of no chosen material: measured cut -> network -> starts -> the exact fit.

What the network cannot know and the fit therefore projects out (weights, backgrounds) is drawn at random while it is
trained; see `crystals`. The fit's priors choose no material either: every coordinate of the table space is 0 ± `WIDE`,
twice as wide as what the network saw, since the best sp3s* table for a real crystal lies at the edge of the published ones.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.hamiltonian import Model
from bandjax.inference import FreeWeights, Likelihood, Parameter, Problem, zincblende_numbers
from bandjax.inference.likelihood import noise_scale
from bandjax.inference.starts import EDGE
from bandjax.learning.cache import single_precision
from bandjax.learning.closed_loop import OUTSIDE
from bandjax.learning.corners import MARKS, Nearest, marks_of, nearest_materials
from bandjax.learning.crystals import CrystalFamily
from bandjax.learning.family import draw_values
from bandjax.learning.mixture import Mixture, moments, sample
from bandjax.learning.observe import as_seen, check_image
from bandjax.learning.table_space import COORDINATES, space_model
from bandjax.learning.weights import Reverse
from bandjax.photoemission import Instrument
from bandjax.photoemission.kinematics import emission_momentum

WIDE = 2.0  # σ of the coordinates in a fit
DRAWS = 400  # from the network's posterior …
STARTS = 60  # … of which so many are candidates for a start: a wrong lattice constant puts k_z into a wrong part of the
# zone, from where no descent finds back, and the network knows it to 2 % only; one exact image tells


class CrystalGuess(NamedTuple):
    """What the network alone says of a cut.

    Attributes:
        posterior: Over the standardised latent.
        values, errors: Mean and standard deviation by name.
        draws: By name, (draw,).
        marks: Mean and covariance of the marks (`corners.MARKS`) over the draws.
        nearest: Published materials with their probabilities.
        outside: Distance of the image's features from those of the family; above 1 it is unlike what was trained on.
        candidates: Points to start from, the components' means first.
    """

    posterior: Mixture
    values: dict[str, float]
    errors: dict[str, float]
    draws: dict[str, np.ndarray]
    marks: tuple[np.ndarray, np.ndarray]
    nearest: list[Nearest]
    outside: float
    candidates: tuple[dict[str, float], ...]


def as_momentum_cut(data: xr.DataArray, instrument: Instrument, fwhm_energy: float) -> xr.DataArray:
    """An angle cut as `guess_crystal` takes it: momentum at the middle of the energies, numbers divided by their variance
    per count.

    Args:
        data: Dimensions `angle` (degrees) and `energy` (E − E_F, eV).
        instrument: Supplies photon energy, work function and the slit angle of normal emission.
        fwhm_energy: Energy resolution, eV.
    """
    data = data.transpose("angle", "energy")
    energy = float(data.energy.values.mean())
    kinetic = instrument.photon_energy - instrument.work_function + energy
    angles = jnp.asarray(data.angle.values)
    kx = emission_momentum(kinetic, angles, jnp.zeros_like(angles), instrument.polar, 0.0)[:, 0]
    mask = np.isfinite(data.values)
    counts = data / noise_scale(data.values, mask)
    counts = counts.rename(angle="kx").assign_coords(kx=np.asarray(kx))
    return counts.assign_attrs(photon_energy=float(instrument.photon_energy), fwhm_energy=fwhm_energy)


def guess_crystal(image: xr.DataArray, reverse: Reverse, *, seed: int = 0) -> CrystalGuess:
    """The network's posterior of a cut, its marks, and the materials that it may be.

    Args:
        image: Counts on `kx` and `energy`; see `check_image`.
        reverse: A network of a `CrystalFamily`.
        seed: Of the draws.

    Raises:
        ValueError: the network is of another kind of family, or the image lies outside what was trained.
    """
    family = reverse.family
    if not isinstance(family, CrystalFamily):
        raise ValueError(f"Argument `reverse` must be a network of crystals, but is one of {family.name!r}.")
    image = check_image(image, family, reverse.network.shape)
    with single_precision():
        view, _ = as_seen(image, family, seed=seed)
        posterior, features = jax.jit(lambda v: reverse.network(v))(view)
        mean, covariance = moments(posterior)
        order = np.argsort(-np.asarray(posterior.log_weight))
        drawn = np.asarray(sample(posterior, jax.random.key(seed), DRAWS), float)
        components = np.asarray(posterior.mean[order], float)
    values = {n: float(x) for n, x in zip(family.names, physical_values(family, np.asarray(mean, float)), strict=True)}
    sigma = np.sqrt(np.diagonal(np.asarray(covariance, float)))
    errors = {n: float(s * p.sigma) for s, (n, p) in zip(sigma, family.parameters, strict=True)}
    draws = dict(zip(family.names, within(family, physical_values(family, drawn)).T, strict=True))
    off = np.asarray(features, float) - reverse.centre
    limit = float(np.interp(OUTSIDE, np.linspace(0, 1, reverse.distances.size), reverse.distances))
    marks = marks_of_draws(draws)
    seen = (marks.mean(axis=0), np.cov(marks.T))
    points = within(family, physical_values(family, np.concatenate([components, drawn[:STARTS]])))
    return CrystalGuess(
        posterior, values, errors, draws, seen, nearest_materials(*seen, prior=prior_marks(family)), float(np.sqrt(off @ reverse.precision @ off)) / limit,
        tuple({n: float(v) for n, v in zip(family.names, p, strict=True)} for p in points),
    )  # fmt: skip


@functools.cache
def prior_marks(family: CrystalFamily) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the marks over the family's prior."""
    with single_precision():
        drawn = jax.vmap(lambda k: draw_values(family, k, jnp.float32))(jax.random.split(jax.random.key(0), DRAWS))
    marks = marks_of_draws(dict(zip(family.names, np.asarray(drawn, float).T, strict=True)))
    return marks.mean(axis=0), np.cov(marks.T)


def physical_values(family: CrystalFamily, latent: np.ndarray) -> np.ndarray:
    """Physical numbers of standardised latents, (…, latent)."""
    centre, sigma = np.array([(p.value, p.sigma) for _, p in family.parameters]).T
    return centre + sigma * latent


def within(family: CrystalFamily, values: np.ndarray) -> np.ndarray:
    """Values with those beyond their bounds put just inside them, (…, latent)."""
    low, high, margin = np.array([(p.lower, p.upper, 1e-3 * p.sigma) for _, p in family.parameters]).T
    return np.clip(values, low + margin, high - margin)


def marks_of_draws(draws: dict[str, np.ndarray]) -> np.ndarray:
    """Marks (`corners.MARKS`) of crystals given by name, (draw, 8)."""
    names = tuple(n for n in draws if n in space_model.names)
    one = jax.jit(jax.vmap(lambda x: marks_of(space_model(dict(zip(names, x, strict=True))))))
    return np.asarray(one(jnp.asarray(np.stack([draws[n] for n in names], axis=1))), float)


def crystal_problem(
    family: CrystalFamily, instrument: Instrument, nuisances: dict[str, Parameter], likelihood: Likelihood,
    weights: FreeWeights, start: dict[str, float], **options,
) -> Problem:  # fmt: skip
    """The exact fit with priors that choose no material.

    Args:
        family: Supplies the model and the priors of lattice constant, spin-orbit splittings, valence-band top, inner
            potential and escape depth.
        instrument: Of the map.
        nuisances: Further numbers of the instrument to be fitted, or other priors for the family's.
        likelihood, weights: As in `Problem`.
        start: Values to start from; the grids are laid for them.
        **options: Further fields of `Problem`.
    """
    parameters = dict(family.parameters)
    for name in COORDINATES:
        parameters[name] = parameters[name]._replace(lower=-math.inf, upper=math.inf, sigma=WIDE)
    parameters |= nuisances
    for name, p in parameters.items():
        centre = p.value if p.prior is None else p.prior
        # another fit may have ended on a bound, from where no descent finds back
        low, high = (b + EDGE * (centre - b) if math.isfinite(b) else b for b in (p.lower, p.upper))
        parameters[name] = p._replace(value=min(max(start.get(name, p.value), low), high), prior=centre)
    base = dataclasses.replace(instrument, matrix_elements="free", fermi_energy=0.0)
    return Problem(family.model_of, parameters, base, likelihood, weights=weights, **options)


def mark_numbers(model: Model, instrument: Instrument) -> dict[str, float]:
    """Derived numbers of a fit: the marks, and the same energies less the Fermi level ("X5 − E_F")."""
    numbers = zincblende_numbers(8)(model, instrument)
    marks = dict(zip(MARKS, map(float, marks_of(model)), strict=True))
    absolute = {f"{n} - E_F": e + numbers["valence_top"] for n, e in marks.items() if n != "a"}
    return numbers | marks | absolute
