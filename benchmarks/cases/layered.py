"""Layered Green's function of Si(001) stacks: beside diagonalisation, growth with layers, gradient, and memory.

One atom a layer, sp3s*, 5 orbitals. The stack is repeated from the inner layers of a short slab, so that it is not the
making of a large model that is timed; gradients are taken in every element of every block.
"""

import json
import sys
import time

import ase
import jax
import jax.numpy as jnp
import numpy as np

from bandjax.devices import cache_budget, map_chunks
from bandjax.hamiltonian import LayeredHamiltonian, layered_hamiltonian, tight_binding
from bandjax.materials import load_parameters
from bandjax.spectrum import coherent_spectra, layer_spectra, weighted_lorentzians
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, compiled, in_own_process, in_turn, peak_bytes, row, timed

SIZES = {  # layers beside diagonalisation, layers of the growth, energies; layers, k of the memory
    "tiny": (8, (8, 16), 8, (16, 2)),
    "default": (64, (32, 64, 128, 256, 512, 1024), 128, (1024, 64)),
}
SPEED_LIMIT, GRADIENT_LIMIT, EXPONENT_LIMIT, MEMORY_LIMIT = 1 / 6, 4.0, 1.1, 3e9
BLOCK = 32  # energies of one sweep in the long stacks


def run(size: str) -> list[Row]:
    layers, growth, energies, (deep, count) = SIZES[size]
    return [*_beside_diagonalisation(layers, energies), _growth(growth, energies), _memory(deep, count, energies)]


def _beside_diagonalisation(layers: int, energies: int) -> list[Row]:
    h, x, gamma, v, weights = _case(layers, energies)
    every = jnp.eye(5 * layers)

    def resolved(h):
        return layer_spectra(h, x, gamma)

    def coherent(h, v):
        return coherent_spectra(h, v, x, gamma)

    calls = {
        "eigh": compiled(lambda full: weighted_lorentzians(full, every, x, gamma), _dense(h)),
        "resolved": compiled(resolved, h),
        "resolved gradient": compiled(jax.value_and_grad(lambda h: (weights * resolved(h)).sum()), h),
        "coherent": compiled(coherent, h, v),
        "coherent gradient": compiled(jax.value_and_grad(lambda h, v: (coherent(h, v) ** 2).sum(), (0, 1)), h, v),
    }
    timings = in_turn(calls)
    z = (x + 1j * gamma)[:, None, None] * jnp.eye(5 * layers)
    g = jnp.linalg.inv(z - _dense(h))
    flat = v.reshape(1, -1)
    exact = -jnp.diagonal(g, axis1=1, axis2=2).imag.T.reshape(layers, 5, -1) / np.pi
    exact_v = -jnp.einsum("vi,eij,vj->e", flat.conj(), g, flat).imag / np.pi
    off = silicon.relative(calls["resolved"][0](), exact)
    off_v = silicon.relative(calls["coherent"][0](), exact_v)
    label = f"{layers} layers × {energies} E"
    common = {"items": energies * layers, "item": "layer energies", "target": "ratio", "tolerance": 1e-10}
    against = {"error_against": "inversion of the full matrix, of the largest"}
    eigh = ("diagonalisation, every orbital", timings["eigh"].least)
    rows = []
    for name, error in (("resolved", off), ("coherent", off_v)):
        value, both = timings[name], timings[f"{name} gradient"]
        judged = {"error": error, **against, **common}
        rows.append(row(f"layered: {name}, {label}", value, baseline=eigh, limit=SPEED_LIMIT, **judged))
        ours = ("the value", value.least)
        rows.append(
            row(f"layered: {name}, value + gradient, {label}", both, baseline=ours, limit=GRADIENT_LIMIT, **judged)
        )
    return rows


def _growth(growth: tuple[int, ...], energies: int) -> Row:
    """The ratio is the exponent of the run time in the number of layers."""
    calls, error = {}, 0.0
    for layers in growth:
        h, x, gamma, v, _ = _case(layers, energies)
        calls[layers] = compiled(lambda h, v, x=x, gamma=gamma: coherent_spectra(h, v, x, gamma), h, v)
        if layers == growth[0]:
            g = jnp.linalg.inv((x + 1j * gamma)[:, None, None] * jnp.eye(5 * layers) - _dense(h))
            exact = -jnp.einsum("i,eij,j->e", v.ravel().conj(), g, v.ravel()).imag / np.pi
            error = silicon.relative(calls[layers][0](), exact)
    timings = in_turn(calls)
    exponent = float(np.polyfit(np.log(growth), np.log([timings[n].least for n in growth]), 1)[0])
    last = timings[growth[-1]]
    return row(
        f"layered: exponent of the coherent sweep in layers, {growth[0]} to {growth[-1]}",
        last,
        items=energies * growth[-1],
        item="layer energies",
        baseline=("exponent 1", last.least / exponent),
        target="ratio",
        limit=EXPONENT_LIMIT,
        error=error,
        tolerance=1e-10,
        error_against=f"inversion of the full matrix at {growth[0]} layers, of the largest",
        note="the ratio is the exponent",
    )


def _memory(layers: int, count: int, energies: int) -> Row:
    found = in_own_process("benchmarks.cases.layered", {"layers": layers, "count": count, "energies": energies})
    return row(
        f"layered: resolved, value + gradient, {layers} layers × {count} k × {energies} E",
        Timing(found["seconds"], found["wall"], found["compile_seconds"]),
        items=layers * count * energies,
        item="layer energies",
        target="peak_bytes",
        limit=MEMORY_LIMIT,
        peak_bytes=found["peak_bytes"],
        error=found["error"],
        tolerance=1e-9,
        error_against="one sweep without chunks at the first k, of the largest",
    )


def measure(layers: int, count: int, energies: int) -> dict[str, object]:
    """Run by `_memory` in a process of its own."""
    h, x, gamma, _, _ = _case(layers, energies)
    scale = jnp.linspace(0.9, 1.1, count)
    block = min(BLOCK, energies)
    blocks = energies // block
    items = jnp.repeat(scale, blocks), jnp.tile(x.reshape(blocks, block), (count, 1))

    def loss(h, items, budget=None):
        def one(item):
            factor, x = item
            return (layer_spectra(LayeredHamiltonian(factor * h.diagonal, h.upper), x, gamma[:block]) ** 2).sum(1)

        a = map_chunks(one, items, bytes_per_item=200 * 25 * layers * block, budget=cache_budget(budget))
        return (a**2).sum()

    start = time.perf_counter()
    program = jax.jit(jax.value_and_grad(loss)).lower(h, items).compile()
    compile_seconds = time.perf_counter() - start
    taken = [timed(lambda: jax.block_until_ready(program(h, items)))]
    peak = peak_bytes()
    few = jax.tree.map(lambda a: a[:blocks], items)
    found = jax.jit(jax.grad(loss))(h, few)

    def whole(h):
        h = LayeredHamiltonian(scale[0] * h.diagonal, h.upper)
        return ((layer_spectra(h, x, gamma) ** 2).sum(1) ** 2).sum()

    return {
        "seconds": [s for s, _ in taken],
        "wall": min(w for _, w in taken),
        "compile_seconds": compile_seconds,
        "peak_bytes": peak,
        "error": silicon.relative(found, jax.jit(jax.grad(whole))(h)),
    }


def _case(layers: int, energies: int) -> tuple:
    """A stack at a k off symmetry, energies, half widths, one amplitude, and weights."""
    plane = silicon.A / 2 * np.array([[1, 1, 0], [1, -1, 0]])
    steps = silicon.A / 4 * np.array([[0, 0, 0], [1, 1, 1], [0, 2, 2], [1, 3, 3]])
    positions = np.concatenate([steps, steps + np.array([0, 0, silicon.A])])
    atoms = ase.Atoms("Si8", positions, cell=[*plane, [0, 0, 2 * silicon.A + 10]], pbc=(True, True, False))
    model = tight_binding(atoms, load_parameters("Si", "vogl1983"), spin_orbit=False)
    h = layered_hamiltonian(model, jnp.array([0.13, 0.27, 0.0]))
    times = (layers // 4, 1, 1)
    stack = LayeredHamiltonian(jnp.tile(h.diagonal[2:6], times), jnp.tile(h.upper[2:6], times)[:-1])
    rng = np.random.default_rng(0)
    v = jnp.asarray(rng.normal(size=(1, layers, 5)) + 1j * rng.normal(size=(1, layers, 5)))
    weights = jnp.asarray(rng.normal(size=(layers, 5, energies)))
    return stack, silicon.energies(energies), jnp.full(energies, silicon.ETA), v, weights


def _dense(h: LayeredHamiltonian) -> jax.Array:
    full = jax.scipy.linalg.block_diag(*h.diagonal)
    for i, u in enumerate(h.upper):
        a, b = slice(5 * i, 5 * i + 5), slice(5 * i + 5, 5 * i + 10)
        full = full.at[a, b].set(u).at[b, a].set(u.conj().T)
    return full


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
