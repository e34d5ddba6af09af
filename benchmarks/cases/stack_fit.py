"""Fit of a buried layer from a coherent cut in 11 numbers: one linearisation beside the image, and a whole fit.

The map is the model's own noise-free image (inverse crime): the fit must come back to the numbers that it is made with.
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference import Parameter, Problem, fit, instrument_parameters, stack_model
from bandjax.inference.parameters import start_vector
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.materials import load_parameters
from bandjax.photoemission import Instrument, arpes_image
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, compiled, in_turn, row, timed

SIZES = {"tiny": (10, 5, 16), "default": (32, 33, 72)}  # layers, k_x, energies
LIMIT = 8.0  # of the linearisation over the image
TRUTH = {"fraction": 0.5, "upper": 0.16, "lower": 0.47, "interface": 0.8, "a_parallel": 5.431, "SiGe.offset": 0.68}
SIGMA = {"fraction": 0.15, "upper": 1.2, "lower": 1.5, "interface": 0.2, "a_parallel": 0.02, "SiGe.offset": 0.1}
NUISANCES = {"fermi_energy": 0.05, "eta": 0.02, "inner_potential": 0.5, "gain": None, "background": None}
OFF = 0.5  # standard deviations of the priors at the start


def run(size: str) -> list[Row]:
    layers, kx_count, energy_count = SIZES[size]
    axes = {"kx": np.linspace(-0.8, 0.8, kx_count), "energy": np.linspace(-6.0, 0.4, energy_count)}
    model_of = stack_model(load_parameters(("Si", "Ge"), "vogl1983"), layers, spin_orbit=False)
    truth = TRUTH | {n: TRUTH[n] * layers for n in ("upper", "lower")}
    instrument = Instrument(
        photon_energy=100.0, escape_depth=10.0, eta=0.12, fwhm_energy=0.1, fwhm_momentum=0.03, slit=(1, 1, 0), fermi_energy=0.3,
        matrix_elements="plane_wave", polarisation=(1, 0, 1), photon_momentum=False, gain=1.0,
    )  # fmt: skip
    image = arpes_image(model_of(truth), instrument, axes, method="coherent")
    instrument = instrument.replace(gain=28.0 / float(image.mean()), background=2.0)
    mean = arpes_image(model_of(truth), instrument, axes, method="coherent")
    data = xr.DataArray(np.asarray(mean), dims=("kx", "energy"), coords=axes)
    parameters = {
        n: Parameter(v + OFF * SIGMA[n], 0.0, 1.0 if n == "fraction" else np.inf, prior=v, sigma=SIGMA[n])
        for n, v in truth.items()
    } | instrument_parameters(instrument, NUISANCES)
    problem = Problem(model_of, parameters, instrument, broadening=(0.5,), inflate=False, method="coherent")

    parts, transform = prepare(data, problem)
    objective, obs = make_objective(problem, parts, transform), [observed(parts[0])]
    u = jnp.asarray(start_vector(transform))
    calls = {
        "image": compiled(lambda v: objective.predict(v, obs, jnp.asarray(0.0))[0][0], u),
        "linearise": compiled(lambda v: objective.linearise(v, obs, jnp.asarray(0.0)), u),
    }
    timings = in_turn(calls)
    cost = jax.jit(lambda v: objective.cost(v, obs, jnp.asarray(0.0)))
    found = jax.jit(lambda v: objective.linearise(v, obs, jnp.asarray(0.0))[1])(u)
    difference = jnp.stack([(cost(u + s) - cost(u - s)) / 2e-4 for s in 1e-4 * jnp.eye(u.size)])

    results = []
    whole = timed(lambda: results.append(fit(data, problem, bootstrap_draws=0)))
    result = results[0]
    values = truth | {n: float(getattr(instrument, n)) for n in NUISANCES}
    away = max(abs(result.values[n] - values[n]) / result.errors[n] for n in result.names)
    label = f"{layers} layers, {kx_count} k × {energy_count} E, 11 parameters"
    return [
        row(
            f"stack fit: cost, gradient and Fisher matrix, {label}", timings["linearise"],
            baseline=("the image", timings["image"].least), limit=LIMIT, target="ratio",
            items=kx_count * energy_count, item="pixels", error=silicon.relative(found, difference), tolerance=1e-5,
            error_against="central difference of the cost, of the largest",
        ),
        row(
            f"stack fit: from {OFF:g} prior widths off to the optimum, {label}", Timing([whole[0]], whole[1]),
            items=len(result.history), item="trials", error=float(away), tolerance=0.1,
            error_against="numbers that made the map, in standard errors", note=f"{len(result.history)} trials, compilation included",
        ),
    ]  # fmt: skip
