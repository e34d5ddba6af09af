"""Image and gradient: what the energy axis and the derivative cost on top of bare diagonalisation.

The scalar is Σ W A with random weights W over k, energy and orbital, differentiated in every value of the table. The
wave vectors include Γ, X, L and lines of symmetry, where derivatives of eigenvectors do not exist.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.spectrum import spectral_function
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

SIZES = {"tiny": (8, 16, 8), "default": (512, 256, 32)}  # k, energies, k of the solve
IMAGE_LIMIT, GRADIENT_LIMIT = 1.5, 3.0


def run(size: str) -> list[Row]:
    count, energy_count, solve_count = SIZES[size]
    table, k, energy = silicon.table(), silicon.wave_vectors(count), silicon.energies(energy_count)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(count, energy_count, 10)))

    def image(values, k, e, method="eigh"):
        return spectral_function(silicon.model(values), k, e, eta=silicon.ETA, resolve="orbital", method=method)

    def scalar(values, k, e, w, method="eigh"):
        return (w * image(values, k, e, method)).sum()

    calls = {
        "lapack": silicon.lapack(silicon.model(table), k),
        "image": compiled(image, table, k, energy),
        "gradient": compiled(jax.value_and_grad(scalar), table, k, energy, weights),
    }
    timings = in_turn(calls)
    few = (table, k[:solve_count], energy)
    off = silicon.relative(calls["image"][0]()[:solve_count], jax.jit(image, static_argnums=3)(*few, "solve"))
    derivative = jax.jit(jax.value_and_grad(scalar), static_argnums=4)
    found, expected = (derivative(*few, weights[:solve_count], method) for method in ("eigh", "solve"))
    off_gradient = silicon.relative(found, expected)

    label = f"{count} k × {energy_count} E, 10 orbitals"
    common = {"items": count * energy_count, "item": "pixels", "target": "ratio"}
    against = f"solve at {solve_count} k, of the largest"
    return [
        row(
            f"gradient: image, {label}",
            timings["image"],
            baseline=(silicon.LAPACK, timings["lapack"].least),
            limit=IMAGE_LIMIT,
            error=off,
            tolerance=1e-10,
            error_against=against,
            **common,
        ),
        row(
            f"gradient: value + gradient, {label}",
            timings["gradient"],
            baseline=("the image", timings["image"].least),
            limit=GRADIENT_LIMIT,
            error=off_gradient,
            tolerance=1e-6,
            error_against=against,
            **common,
        ),
    ]
