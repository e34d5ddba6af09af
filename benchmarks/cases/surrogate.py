"""The shipped surrogate on a long stack beside the exact layered route: value, and value with gradient in the profile, in float32.

The exact route is `layer_spectra` on the blocks of the same layers at the same wave vectors and energies, without the making of the model
and, for its gradient, in the blocks only: less than what the surrogate does.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import LayeredHamiltonian
from bandjax.learning.cache import single_precision
from bandjax.learning.exact_layers import Profile, continued, layered_of, model_of
from bandjax.learning.layer_data import ETA, K_POINTS
from bandjax.learning.surrogate import load_surrogate, surrogate_spectra
from bandjax.spectrum import layer_spectra
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

SIZES = {"tiny": (8, 4, 16), "default": (64, 64, 128)}  # layers, k, energies
WALL_LIMIT, SPEED_LIMIT = 0.010, 1 / 50


def run(size: str) -> list[Row]:
    layers, count, energies = SIZES[size]
    with single_precision():
        return _rows(layers, count, energies)


def _rows(layers: int, count: int, energies: int) -> list[Row]:
    surrogate, energy = load_surrogate(), np.linspace(-13.0, 0.5, energies)
    k = np.linspace(0.0, 1.0, K_POINTS)[:: K_POINTS // count]
    rng = np.random.default_rng(0)
    c = jnp.asarray((np.arange(layers) // 8 % 2) * 0.8 + 0.1, jnp.float32)
    weights = jnp.asarray(rng.normal(size=(layers, k.size, energies)), jnp.float32)

    def ours(c):
        return surrogate_spectra(surrogate, c, 5.5, k=k, energy=energy)

    def profile(c):
        return Profile(c, jnp.zeros_like(c), jnp.asarray(5.5, c.dtype))

    model = model_of(continued(profile(c), 2))
    along = np.pi / 5.5 * jnp.array([1.0, 1.0, 0.0])
    h = jax.lax.map(lambda t: layered_of(model, t * along), jnp.asarray(k, jnp.float32))
    blocks = (h.diagonal, h.upper)
    x, gamma = jnp.asarray(energy, jnp.float32), jnp.full(energies, ETA, jnp.float32)

    def exact(blocks):
        return jax.lax.map(lambda b: layer_spectra(LayeredHamiltonian(*b), x, gamma).sum(axis=1), blocks)

    scored = jnp.swapaxes(weights, 0, 1)
    calls = {
        "ours": compiled(ours, c),
        "ours gradient": compiled(jax.value_and_grad(lambda c: (weights * ours(c)).sum()), c),
        "exact": compiled(exact, blocks),
        "exact gradient": compiled(jax.value_and_grad(lambda b: (scored * exact(b)).sum()), blocks),
    }
    timings = in_turn(calls)
    gradient = calls["ours gradient"][0]()[1]
    direction, step = jnp.asarray(rng.normal(size=layers), jnp.float32), 2e-3
    difference = (jnp.vdot(weights, ours(c + step * direction)) - jnp.vdot(weights, ours(c - step * direction))) / (2 * step)  # fmt: skip
    error = abs(float(jnp.vdot(gradient, direction) - difference)) / float(jnp.linalg.norm(gradient))
    again = silicon.relative(ours(c), calls["ours"][0]())
    label = f"{layers} layers × {k.size} k × {energies} E"
    common = {"items": layers * k.size * energies, "item": "values"}
    rows = []
    for name, told, off, against, tolerance in (
        ("ours", "value", again, "the same without outer compilation, of the largest", 1e-4),
        (
            "ours gradient",
            "value + gradient in the profile",
            error,
            "central difference along a direction, of the gradient",
            2e-2,
        ),
    ):
        base = ("layered route", timings[name.replace("ours", "exact")].least)
        judged = {"error": off, "tolerance": tolerance, "error_against": against, **common}
        rows.append(row(f"surrogate: {told}, {label}", timings[name], baseline=base, target="ratio", limit=SPEED_LIMIT, **judged))  # fmt: skip
        if name == "ours gradient":
            rows.append(row(f"surrogate: wall time, {told}, {label}", timings[name], target="wall", limit=WALL_LIMIT, **judged))  # fmt: skip
    return rows
