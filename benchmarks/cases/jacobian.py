"""Jacobian of v†g(H)v, one amplitude v per k, in 12 parameters, beside the image of v†g(H)v itself.

The parameters are the eight table values that the 10-orbital model has (the spin-orbit splitting needs 20), η, the
energy offset, and two parameters of v = a v0 + b v1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.materials import Table
from bandjax.spectrum import spectral_function
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

SIZES = {"tiny": (8, 16, 8), "default": (512, 256, 16)}  # k, energies, k of the differences
LIMIT = 8.0
STEP = 2e-5  # of the central difference: error ~ (step/η)²/6 against rounding ~ 1e-15/step


def run(size: str) -> list[Row]:
    count, energy_count, few_count = SIZES[size]
    table, k, energy = silicon.table(), silicon.wave_vectors(count), silicon.energies(energy_count)
    names = [name for name in table.values if name != "Delta"]
    start = jnp.array([*(float(table.values[name]) for name in names), silicon.ETA, 0.05, 1.0, 0.3])
    real, imaginary = np.random.default_rng(2).normal(size=(2, 2, count, 10))
    amplitudes = jnp.asarray(real + 1j * imaginary)

    def image(p, k, e, v, method="eigh"):
        values = {**table.values, **dict(zip(names, p, strict=False))}
        eta, offset, a, b = p[len(names) :]
        of = silicon.model(Table(values, table.spec))
        return spectral_function(of, k, e - offset, eta=eta, amplitude=a * v[0] + b * v[1], method=method)

    arguments = (start, k, energy, amplitudes)
    calls = {
        "lapack": silicon.lapack(silicon.model(table), k),
        "image": compiled(image, *arguments),
        "jacobian": compiled(jax.jacfwd(image), *arguments),
    }
    timings = in_turn(calls)
    solve = jax.jit(lambda p: image(p, k[:few_count], energy, amplitudes[:, :few_count], "solve"))
    off = silicon.relative(calls["image"][0]()[:few_count], solve(start))
    steps = STEP * jnp.eye(len(start))
    difference = jax.lax.map(lambda s: (solve(start + s) - solve(start - s)) / (2 * STEP), steps)
    found = calls["jacobian"][0]()[:few_count]
    each = [silicon.relative(found[..., i], difference[i]) for i in range(len(start))]

    label = f"{count} k × {energy_count} E, 10 orbitals"
    common = {"items": count * energy_count, "item": "pixels"}
    return [
        row(
            f"jacobian: v†g(H)v, {label}",
            timings["image"],
            baseline=(silicon.LAPACK, timings["lapack"].least),
            error=off,
            tolerance=1e-10,
            error_against=f"solve at {few_count} k, of the largest",
            **common,
        ),
        row(
            f"jacobian: in {len(start)} parameters, {label}",
            timings["jacobian"],
            baseline=("that v†g(H)v", timings["image"].least),
            target="ratio",
            limit=LIMIT,
            error=max(each),
            tolerance=1e-6,
            error_against=f"central difference of solve at {few_count} k, worst parameter, of its largest",
            **common,
        ),
    ]
