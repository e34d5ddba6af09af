"""Chebyshev expansion of random Si-Ge alloys: growth with atoms, beside diagonalisation, an unfolded map, gradient.

sp3s* of Vogl, 5 orbitals an atom, no spin-orbit; the ten Bloch states of the average crystal are one batch of vectors.
Diagonalisation and the map run once, for they take long.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, tight_binding
from bandjax.materials import load_parameters
from bandjax.spectrum import chebyshev_expansion, unfolded_spectral_function
from bandjax.spectrum.expansion import Expansion
from bandjax.structure import Sites, alloy, find_sites, zincblende
from benchmarks.cases import silicon
from benchmarks.timing import Row, Timing, compiled, in_turn, row, timed

SIZES = {  # cubic cells along each axis: beside diagonalisation, of the growth, of the map; k and energies of the map
    "tiny": (1, ((1, 1, 1), (2, 1, 1)), (2, 2, 2), 2, 20),
    "default": (4, ((4, 4, 4), (8, 8, 4), (10, 10, 10), (16, 16, 16)), (10, 10, 10), 32, 200),
}
EXPONENT_LIMIT, SPEED_LIMIT, GRADIENT_LIMIT, MAP_LIMIT = 1.1, 0.1, 8.0, 600.0
ETA, SIGMA = 0.2, 0.1  # eV
WAVE_VECTOR = np.array([[0.31, 0.17, -0.42]])  # 1/Å


def run(size: str) -> list[Row]:
    cells, growth, large, count, energies = SIZES[size]
    rows, error = _beside_diagonalisation(cells)
    return [*rows, _growth(growth, error), _map(large, count, energies, error)]


def _beside_diagonalisation(cells: int) -> tuple[list[Row], float]:
    model, sites = _alloy((cells,) * 3)
    energy = silicon.energies(64)
    plan = chebyshev_expansion(model, eta=ETA, k=WAVE_VECTOR, tolerance=1e-11)
    quick = chebyshev_expansion(model, eta=ETA, k=WAVE_VECTOR)

    def spectra(model, method, expansion=None):
        options = {"eta": ETA, "method": method, "expansion": expansion}
        return unfolded_spectral_function(model, sites, WAVE_VECTOR, energy, **options)

    def loss(model):
        return (spectra(model, "chebyshev", quick) ** 2).sum()

    diagonalise, _ = compiled(lambda m: spectra(m, "eigh"), model)
    eigh = ("diagonalisation", timed(diagonalise)[0])
    calls = {
        "value": compiled(lambda m: spectra(m, "chebyshev", quick), model),
        "gradient": compiled(jax.value_and_grad(loss), model),
    }
    timings = in_turn(calls)
    exact = diagonalise()
    judged = {"tolerance": 1e-10, "error_against": "diagonalisation, at a tolerance of 1e-11, of the largest"}
    judged["error"] = silicon.relative(jax.jit(lambda m: spectra(m, "chebyshev", plan))(model), exact)
    common = {"items": quick.count, "item": "moments", "target": "ratio", **judged}
    label = f"{8 * cells**3} atoms, η {ETA:g} eV, {quick.count} moments"
    value = ("the value", timings["value"].least)
    rows = [
        row(f"chebyshev: unfolded, {label}", timings["value"], baseline=eigh, limit=SPEED_LIMIT, **common),
        row(
            f"chebyshev: value + gradient, {label}", timings["gradient"], baseline=value, limit=GRADIENT_LIMIT, **common
        ),
    ]
    return rows, judged["error"]


def _growth(growth: tuple[tuple[int, int, int], ...], error: float) -> Row:
    """The ratio is the exponent of the run time in the number of atoms."""
    energy, calls = silicon.energies(64), {}
    plan = Expansion(-14.0, 14.0, 60)  # equal for all sizes
    for repeat in growth:
        model, sites = _alloy(repeat)
        calls[8 * int(np.prod(repeat))] = compiled(
            lambda m, sites=sites: unfolded_spectral_function(m, sites, WAVE_VECTOR, energy, sigma=2.0, expansion=plan),
            model,
        )
    timings = in_turn(calls)
    atoms = list(calls)
    exponent = float(np.polyfit(np.log(atoms), np.log([timings[n].least for n in atoms]), 1)[0])
    last = timings[atoms[-1]]
    return row(
        f"chebyshev: exponent of the unfolded spectra in atoms, {atoms[0]} to {atoms[-1]}",
        last,
        items=60 * atoms[-1],
        item="atom moments",
        baseline=("exponent 1", last.least / exponent),
        target="ratio",
        limit=EXPONENT_LIMIT,
        error=error,
        tolerance=1e-10,
        error_against="diagonalisation of the smallest cell, as above",
        note="the ratio is the exponent",
    )


def _map(repeat: tuple[int, int, int], count: int, energies: int, error: float) -> Row:
    model, sites = _alloy(repeat)
    k = jnp.linspace(jnp.zeros(3), jnp.array([0.0, 0.0, 1.1]), count)
    energy = silicon.energies(energies)
    plan = chebyshev_expansion(model, sigma=SIGMA, k=k)
    program, compile_seconds = compiled(
        lambda m: unfolded_spectral_function(m, sites, k, energy, sigma=SIGMA, expansion=plan), model
    )
    seconds, wall = timed(program)  # once: minutes
    return row(
        f"chebyshev: map, {model.topology.n_atom} atoms × {count} k × {energies} E, σ {SIGMA:g} eV, {plan.count} moments",
        Timing([seconds], wall, compile_seconds),
        items=count * plan.count * model.topology.n_atom,
        item="atom moments",
        target="wall",
        limit=MAP_LIMIT,
        error=error,
        tolerance=1e-10,
        error_against="diagonalisation of the smallest cell, as above",
    )


def _alloy(repeat: tuple[int, int, int]) -> tuple[Model, Sites]:
    atoms = alloy(("Si", "Ge"), 0.5, repeat=repeat, seed=1)
    table = load_parameters(("Si", "Ge"), "vogl1983")
    sites = find_sites(atoms.positions, np.asarray(atoms.cell), zincblende("Si", silicon.A))
    return tight_binding(atoms, table, spin_orbit=False), sites
