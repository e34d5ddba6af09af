"""Memory: least-squares loss and its gradient in the table values for a 512 × 512 × 1024 map, in a process of its own.

Si with spin-orbit, 20 orbitals; data, model and arithmetic in float32. The data (1 GiB) count into the peak. Wave
vectors are summed in chunks that are computed again when the gradient is taken.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.devices import sum_chunks
from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.spectrum import spectral_function, weighted_lorentzians
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, in_own_process, peak_bytes, row, timed

SIZES = {"tiny": (8, 32), "default": (512, 1024)}  # k along x and y, energies
REPEATS = 2
LIMIT = 4e9  # bytes
BUDGET = 256 << 20  # bytes for the temporaries of one chunk
CHECKED = 64  # wave vectors on which float32 is compared with solve in float64


def run(size: str) -> list[Row]:
    side, energy_count = SIZES[size]
    found = in_own_process("benchmarks.cases.memory", {"side": side, "energies": energy_count})
    return [
        row(
            f"memory: loss + gradient, {side} × {side} × {energy_count}, 20 orbitals, float32",
            Timing(found["seconds"], found["wall"], found["compile_seconds"]),
            items=side**2 * energy_count,
            item="pixels",
            target="peak_bytes",
            limit=LIMIT,
            peak_bytes=found["peak_bytes"],
            error=found["error"],
            tolerance=2e-3,
            error_against=f"gradient by solve in float64 at {found['checked']} k, of the largest",
            note=f"data {found['data_bytes'] / 2**30:.3g} GiB of the peak",
        )
    ]


def loss(values, k, data, energy, method="eigh"):
    """Σ (A − data)² over all pixels, held one chunk of k at a time."""
    model = silicon.model(values, spin_orbit=True)
    if method == "solve":
        return ((spectral_function(model, k, energy, eta=silicon.ETA, method="solve") - data) ** 2).sum()
    gamma = jnp.full(energy.shape, silicon.ETA, energy.dtype)

    def one(item):
        q, measured = item
        return ((weighted_lorentzians(bloch_hamiltonian(model, q), None, energy, gamma)[0] - measured) ** 2).sum()

    per_item = 4 * (energy.size * 4 * 20 + 16 * 20**2)
    return sum_chunks(one, (k, data), bytes_per_item=per_item, budget=BUDGET)


def measure(side: int, energies: int) -> dict[str, object]:
    """Run by `run` in a process of its own."""
    grid = np.linspace(-1, 1, side) * 2 * np.pi / silicon.A
    kx, ky = np.meshgrid(grid, grid, indexing="ij")
    k = jnp.asarray(np.stack([kx, ky, np.full_like(kx, 0.3)], axis=-1).reshape(-1, 3), "float32")
    energy = silicon.energies(energies, "float32")
    table = silicon.table("float32")
    data = _data(len(k), energies)
    start = time.perf_counter()
    program = jax.jit(jax.value_and_grad(loss)).lower(table, k, data, energy).compile()
    compile_seconds = time.perf_counter() - start
    taken = [timed(lambda: jax.block_until_ready(program(table, k, data, energy))) for _ in range(REPEATS)]
    peak = peak_bytes()

    some = np.linspace(0, len(k) - 1, min(CHECKED, len(k))).astype(int)
    few = (k[some], data[some])
    found = jax.jit(jax.grad(loss))(table, *few, energy)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), "float64"), (table, *few, energy))
        exact = jax.jit(jax.grad(lambda *a: loss(*a, method="solve")))(*exact)
    return {
        "seconds": [s for s, _ in taken],
        "wall": min(w for _, w in taken),
        "compile_seconds": compile_seconds,
        "peak_bytes": peak,
        "data_bytes": data.nbytes,
        "error": silicon.relative(found, exact),
        "checked": len(some),
    }


def _data(count: int, energies: int) -> jax.Array:
    """A constant with noise, made in place."""
    rng = np.random.default_rng(3)
    data = rng.standard_normal((count, energies), dtype=np.float32)
    data *= 0.1
    data += 1.0
    return jnp.asarray(data)


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
