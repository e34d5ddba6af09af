"""Fit of a bulk cut in 12 numbers: one linearisation beside the image, and a whole fit with everything that it compiles.

The map is the model's own noise-free image (inverse crime): the fit must come back to the numbers that it is made with.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bandjax.inference import Likelihood, Problem, fit, instrument_parameters, table_model, table_parameters
from bandjax.inference.parameters import start_vector
from bandjax.inference.problem import make_objective, observed, prepare
from bandjax.photoemission import Instrument, arpes_image
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, compiled, in_turn, row, timed

SIZES = {"tiny": (12, 20), "default": (64, 120)}  # k_x, energies
FREE = ("E_s", "E_p", "V_ss", "V_xx", "V_xy", "V_sp")
NUISANCES = {
    "fermi_energy": 0.05,
    "eta": 0.015,
    "fwhm_energy": 0.01,
    "inner_potential": 0.5,
    "gain": None,
    "background": None,
}
OFF = 0.03  # of every table value at the start


def run(size: str) -> list[Row]:
    kx_count, energy_count = SIZES[size]
    axes = {"kx": np.linspace(-1.0, 1.0, kx_count), "energy": np.linspace(-8.0, 0.4, energy_count)}
    table, instrument = silicon.table(), Instrument(photon_energy=100.0, fermi_energy=0.6, gain=60.0, background=1.0)
    model_of = table_model(silicon.ATOMS, table, spin_orbit=False)
    mean = arpes_image(model_of({}), instrument, axes, kz_points=1)
    data = xr.DataArray(np.asarray(mean), dims=("kx", "energy"), coords=axes)
    fixed = tuple(n for n in table.values if n not in FREE)
    parameters = table_parameters(table, fixed=fixed) | instrument_parameters(instrument, NUISANCES)
    problem = Problem(
        model_of, parameters, instrument, Likelihood("poisson"), broadening=(), inflate=False, kz_points=1
    )
    off = {n: p._replace(value=p.value * (1 + OFF), prior=p.value) if n in FREE else p for n, p in parameters.items()}

    parts, transform = prepare(data, problem)
    objective, obs = make_objective(problem, parts, transform), [observed(parts[0])]
    u = jnp.asarray(start_vector(transform))
    calls = {
        "image": compiled(lambda v: objective.predict(v, obs, jnp.asarray(0.0))[0][0], u),
        "linearise": compiled(lambda v: objective.linearise(v, obs, jnp.asarray(0.0)), u),
    }
    timings = in_turn(calls)
    steps = 1e-4 * jnp.eye(u.size)
    cost = jax.jit(lambda v: objective.cost(v, obs, jnp.asarray(0.0)))
    shifted = u + 0.3  # away from the optimum, where the gradient is 0
    found = jax.jit(lambda v: objective.linearise(v, obs, jnp.asarray(0.0))[1])(shifted)
    difference = jnp.stack([(cost(shifted + s) - cost(shifted - s)) / 2e-4 for s in steps])

    results = []
    whole = timed(lambda: results.append(fit(data, dataclasses.replace(problem, parameters=off), bootstrap_draws=0)))
    result = results[0]
    away = max(abs(result.values[n] - float(parameters[n].value)) / result.errors[n] for n in result.names)
    label = f"{kx_count} k × {energy_count} E, 12 parameters"
    return [
        row(
            f"fit: cost, gradient and Fisher matrix, {label}", timings["linearise"], baseline=("the image", timings["image"].least),
            items=kx_count * energy_count, item="pixels", error=silicon.relative(found, difference), tolerance=1e-5,
            error_against="central difference of the cost, of the largest",
        ),
        row(
            f"fit: from {OFF:.0%} off to the optimum, {label}", Timing([whole[0]], whole[1]), items=len(result.history), item="trials",
            error=float(away), tolerance=0.1, error_against="numbers that made the map, in standard errors",
            note=f"{len(result.history)} trials, compilation included",
        ),
    ]  # fmt: skip
