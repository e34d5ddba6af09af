"""H(k) from the table, its eigenvalues and eigenvectors, beside LAPACK given H."""

import jax
import numpy as np

from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.spectrum.lorentzians import eigh_once
from benchmarks import peers
from benchmarks.cases import silicon
from benchmarks.timing import Row, compiled, in_turn, row

WAVE_VECTORS = {"tiny": 8, "default": 1000}


def run(size: str) -> list[Row]:
    k = silicon.wave_vectors(WAVE_VECTORS[size])
    return [r for spin_orbit in (False, True) for r in _rows(k, spin_orbit)]


def _rows(k: jax.Array, spin_orbit: bool) -> list[Row]:
    def assemble(values, k):
        of = silicon.model(values, spin_orbit=spin_orbit)
        return jax.vmap(lambda q: bloch_hamiltonian(of, q))(k)

    def diagonalise(values, k):
        return jax.vmap(eigh_once)(assemble(values, k))

    table = silicon.table()
    model = silicon.model(table, spin_orbit=spin_orbit)
    calls = {
        "lapack": silicon.lapack(model, k),
        "assemble": compiled(assemble, table, k),
        "diagonalise": compiled(diagonalise, table, k),
    }
    timings = in_turn(calls)
    baseline = (silicon.LAPACK, timings["lapack"].least)
    h = silicon.stack(model, k)
    eps, u = (np.asarray(x) for x in calls["diagonalise"][0]())
    off = max(np.abs(eps - np.linalg.eigvalsh(h)).max(), np.abs(h @ u - u * eps[:, None, :]).max())
    asymmetric = np.abs(h - np.swapaxes(h, 1, 2).conj()).max()
    name = (peers.HAMILTONIAN_20 if spin_orbit else peers.HAMILTONIAN_10).replace("1000 k", f"{len(k)} k")
    common = {"items": len(k), "item": "k", "baseline": baseline, "tolerance": 1e-10}
    return [
        row(f"{name}, H alone", timings["assemble"], error=float(asymmetric), error_against="H = H†, eV", **common),
        row(name, timings["diagonalise"], error=float(off), error_against="LAPACK, and HU − Uε, eV", **common),
    ]
