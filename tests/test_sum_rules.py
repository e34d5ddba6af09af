"""What spectral functions integrate and add up to.

Integrals over energy use E = W tan θ: the whole axis, so that no Lorentzian tail is cut, and a smooth periodic
integrand, for which the midpoint rule converges exponentially (here to rounding).
"""

import jax
import numpy as np
import pytest
from crystals import CASES, SYMMETRIC, build, length_unit, name_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bandjax.hamiltonian import bloch_hamiltonian
from bandjax.spectrum import density_of_states, from_cubic, spectral_function

# the error is ~ exp(−2 POINTS Im θ) with Im θ = η W/(W² + ε²): e⁻³³ for the farthest levels, near ε = 40 eV
W, POINTS, ETA = 25.0, 1500, 1.0
THETA = (np.arange(POINTS) + 0.5) * np.pi / POINTS - np.pi / 2
AXIS = W * np.tan(THETA)
MEASURE = np.pi / POINTS * W / np.cos(THETA) ** 2
RULE = 1e-10

MANY = pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 5, 7, 8, 9)], ids=name_of)
# of several orbitals with spin, of several without
FEW = pytest.mark.parametrize(
    "case",
    [pytest.param(CASES[i], marks=pytest.mark.slow if i == 5 else ()) for i in (0, 2, 5, 7, 8, 9)],
    ids=name_of,
)


hamiltonian = jax.jit(jax.vmap(bloch_hamiltonian, (None, 0)))


def wave_vectors(atoms):
    return from_cubic(SYMMETRIC[[0, 1, 4]], length_unit(atoms))


@MANY
def test_integral_and_sums_over_atoms_and_orbitals(case):
    atoms, _, model = build(*case)
    k = wave_vectors(atoms)
    total = np.asarray(spectral_function(model, k, AXIS, eta=ETA))
    np.testing.assert_allclose(total @ MEASURE, model.n_orbital, rtol=RULE)
    by_orbital = np.asarray(spectral_function(model, k, AXIS, eta=ETA, resolve="orbital"))
    by_atom = np.asarray(spectral_function(model, k, AXIS, eta=ETA, resolve="atom"))
    assert by_orbital.shape == (3, POINTS, len(model.topology.orbitals)) and by_atom.shape == (3, POINTS, len(atoms))
    assert min(total.min(), by_orbital.min(), by_atom.min()) >= 0 and total.max() > 0.2
    np.testing.assert_allclose(by_orbital.sum(axis=2), total, rtol=1e-10)
    np.testing.assert_allclose(by_atom.sum(axis=2), total, rtol=1e-10)
    spins = 2 if model.topology.spin_orbit else 1
    np.testing.assert_allclose(np.einsum("keo,e->ko", by_orbital, MEASURE), spins, rtol=RULE)
    owner = np.array([o.atom for o in model.topology.orbitals])
    for atom in range(len(atoms)):
        np.testing.assert_allclose(by_orbital[..., owner == atom].sum(axis=2), by_atom[..., atom], rtol=1e-10)


@FEW
def test_coherent_amplitude(case):
    """∫A_v dE = v†v, A_v ≥ 0, and unit amplitudes give the orbital's own spectrum."""
    atoms, _, model = build(*case)
    k, rng = wave_vectors(atoms), np.random.default_rng(2)
    v = rng.normal(size=(3, model.n_orbital)) + 1j * rng.normal(size=(3, model.n_orbital))
    found = np.asarray(spectral_function(model, k, AXIS, eta=ETA, amplitude=v))
    assert found.min() >= 0
    np.testing.assert_allclose(found @ MEASURE, (np.abs(v) ** 2).sum(axis=1), rtol=RULE)
    if not model.topology.spin_orbit:
        unit = np.tile(np.eye(model.n_orbital)[-1], (3, 1))
        last = spectral_function(model, k, AXIS, eta=ETA, resolve="orbital")[..., -1]
        np.testing.assert_allclose(spectral_function(model, k, AXIS, eta=ETA, amplitude=unit), last, rtol=1e-9)


@FEW
def test_first_moment_is_the_mean_of_h(case):
    """The centre of A_v is v†Hv/v†v: E·A has a tail, but not after a Lorentzian of that centre is taken off."""
    atoms, _, model = build(*case)
    k = wave_vectors(atoms)
    rng = np.random.default_rng(4)
    v = rng.normal(size=(3, model.n_orbital)) + 1j * rng.normal(size=(3, model.n_orbital))
    norm = (np.abs(v) ** 2).sum(axis=1)
    a = np.asarray(spectral_function(model, k, AXIS, eta=ETA, amplitude=v))
    for i, h in enumerate(np.asarray(hamiltonian(model, k))):
        mean = (v[i].conj() @ h @ v[i]).real / norm[i]
        peak = ETA / np.pi / ((AXIS - mean) ** 2 + ETA**2) * norm[i]  # same norm and centre: the 1/E tails cancel
        assert ((a[i] - peak) * AXIS) @ MEASURE == pytest.approx(0, abs=1e-5 * norm[i])


@given(eta=st.floats(0.02, 2.0), shift=st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_never_negative(eta, shift):
    atoms, _, model = build("Si", "vogl1983")
    energy = np.linspace(-15, 10, POINTS) + shift  # as many as above: the same programs
    for resolve in (None, "atom", "orbital"):
        assert np.min(spectral_function(model, wave_vectors(atoms), energy, eta=eta, resolve=resolve)) >= 0


@pytest.mark.parametrize(
    "case", [CASES[0], *(pytest.param(CASES[i], marks=pytest.mark.slow) for i in (4, 7, 9))], ids=name_of
)
def test_diagonalisation_is_inversion(case):
    """The two ways agree for every resolution, for amplitudes, and with a complex self-energy."""
    atoms, _, model = build(*case)
    k, energy = wave_vectors(atoms), np.linspace(-9, 9, 13)
    re, im = np.random.default_rng(6).normal(size=(2, 3, model.n_orbital))
    sigma = -0.03 * energy - 1j * (0.05 + 0.01 * energy**2)
    every = (
        {"resolve": "orbital", "self_energy": sigma},
        {"resolve": "atom"},
        {"self_energy": sigma},
        {"amplitude": re + 1j * im, "self_energy": sigma},
        {"amplitude": re},
    )
    for options in every:
        a, b = (spectral_function(model, k, energy, eta=0.1, method=m, **options) for m in ("eigh", "solve"))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, float(np.abs(b).max())))
        assert float(np.abs(b).max()) > 1e-3


def test_self_energy_as_function_array_or_number():
    atoms, _, model = build("Si", "vogl1983")
    k, energy = wave_vectors(atoms), np.linspace(-9, 9, 13)
    by_function = spectral_function(model, k, energy, eta=0.1, self_energy=lambda e: 0.1 * e - 0.02j * e**2)
    by_array = spectral_function(model, k, energy, eta=0.1, self_energy=0.1 * energy - 0.02j * energy**2)
    np.testing.assert_allclose(by_function, by_array, rtol=1e-12)
    constant = spectral_function(model, k, energy, eta=0.1, self_energy=0.3 - 0.2j)
    np.testing.assert_allclose(constant, spectral_function(model, k, energy - 0.3, eta=0.3), rtol=1e-12)


@pytest.mark.parametrize("case", [("Si", "vogl1983"), ("graphene", "pz"), ("square", "two_orbital")], ids=name_of)
def test_density_of_states(case):
    """Norm, and the mean of A over the same grid of k made here by hand."""
    atoms, _, model = build(*case)
    grid = (3, 2, 2) if atoms.pbc.all() else (3, 2, 1)
    found = np.asarray(density_of_states(model, AXIS, eta=ETA, grid=grid))
    assert found.min() >= 0
    assert found @ MEASURE == pytest.approx(model.n_orbital, rel=RULE)
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in grid]
    fractions = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    k = 2 * np.pi * fractions @ np.asarray(atoms.cell.reciprocal())
    np.testing.assert_allclose(found, spectral_function(model, k, AXIS, eta=ETA).mean(axis=0), rtol=1e-9)
