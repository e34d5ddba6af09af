"""Surface spectral function of semi-infinite Si(001): decimation beside a slab so thick that its other face is not seen.

One atom a layer, sp3s*, 5 orbitals, the four layers of the cubic period as the unit. The slab is swept layer by layer, so
the baseline is not a diagonalisation, which would be slower by its cube.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import LayeredHamiltonian, layered_hamiltonian, tight_binding
from bandjax.materials import load_parameters
from bandjax.spectrum import layer_spectra, surface_and_bulk_green
from bandjax.structure import superlattice
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

PERIOD = 4
SIZES = {"tiny": (80, 1.0, 8), "default": (400, 0.3, 128)}  # layers of the slab, half width in eV, energies
SPEED_LIMIT, GRADIENT_LIMIT, TOLERANCE = 0.25, 4.0, 1e-9


def run(size: str) -> list[Row]:
    layers, eta, energies = SIZES[size]
    unit, slab, x = _case(layers, energies)
    gamma = jnp.full(energies, eta)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(5, energies)))

    def decimated(unit: LayeredHamiltonian, x: jax.Array) -> jax.Array:
        surface, _ = surface_and_bulk_green(unit, x, gamma)
        return -jnp.einsum("iie->ie", surface).imag / np.pi

    def loss(unit: LayeredHamiltonian, x: jax.Array) -> jax.Array:
        return (weights * decimated(unit, x)).sum()

    calls = {
        "slab": compiled(lambda slab: layer_spectra(slab, x, gamma)[0], slab),
        "decimation": compiled(decimated, unit, x),
        "gradient": compiled(jax.value_and_grad(loss, (0, 1)), unit, x),
    }
    timings = in_turn(calls)
    # the derivative in all energies at once against central differences: one number, all of whose parts are exact
    slope = calls["gradient"][0]()[1][1]
    step = 1e-5
    there, back = (jax.jit(decimated)(unit, x + s) for s in (step, -step))
    differences = (weights * (there - back)).sum(axis=0) / (2 * step)
    label = f"{energies} E"
    common = {"items": energies, "item": "energies", "target": "ratio"}
    return [
        row(
            f"surface: decimation, {label}",
            timings["decimation"],
            baseline=(f"sweep over {layers} layers", timings["slab"].least),
            limit=SPEED_LIMIT,
            error=silicon.relative(calls["decimation"][0](), calls["slab"][0]()),
            tolerance=TOLERANCE,
            error_against=f"topmost of {layers} layers, of the largest",
            **common,
        ),
        row(
            f"surface: decimation, value + gradient, {label}",
            timings["gradient"],
            baseline=("the value", timings["decimation"].least),
            limit=GRADIENT_LIMIT,
            error=silicon.relative(slope, differences),
            tolerance=1e-6,
            error_against="central differences in the energies, of the largest",
            **common,
        ),
    ]


def _case(layers: int, energies: int) -> tuple[LayeredHamiltonian, LayeredHamiltonian, jax.Array]:
    """The repeating unit, a slab of it and energies, at a k off symmetry."""
    atoms = superlattice(("Si", "Si"), (2, 2))
    model = tight_binding(atoms, load_parameters("Si", "vogl1983"), spin_orbit=False)
    unit = layered_hamiltonian(model, jnp.array([0.13, 0.27, 0.0]))
    times = (layers // PERIOD, 1, 1)
    upper = jnp.concatenate([unit.upper, unit.closing[None]])
    slab = LayeredHamiltonian(jnp.tile(unit.diagonal, times), jnp.tile(upper, times)[:-1])
    return unit, slab, silicon.energies(energies)
