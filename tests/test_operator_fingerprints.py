"""Operators' densities: sums, the forward model's spectral function, bond energies, derivatives at degeneracies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import OPERATORS
from bandjax.hamiltonian import bloch_hamiltonian, onsite_hamiltonian
from bandjax.spectrum.lorentzians import lorentzian
from bandjax.spectrum.operators import operator_density
from bandjax.units import HBAR2_OVER_M

GAAS = bj.zincblende("GaAs", 5.6533)
TABLE = bj.load_parameters("GaAs", "vogl1983")
GRID = (3, 3, 3)
WINDOW = "vbm:-3:3:41"
SMEARING = 0.3


def gallium_arsenide(spin_orbit=True, **given):
    return bj.tight_binding(GAAS, TABLE, spin_orbit=spin_orbit, **given)


def test_atoms_and_orbitals_add_up():
    model = gallium_arsenide(spin_orbit=False)
    whole = bj.fingerprint(bj.model_levels(model, grid=GRID), WINDOW, smearing=SMEARING, coarse=True)
    options = {"grid": GRID, "smearing": SMEARING, "coarse": True}
    atoms = bj.operator_fingerprint(model, WINDOW, resolve="atom", **options)
    orbitals = bj.operator_fingerprint(model, WINDOW, resolve="orbital", **options)
    assert atoms.shape == (41, 2) and orbitals.shape == (41, 10)
    np.testing.assert_allclose(atoms.sum(axis=1), whole, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(orbitals.reshape(41, 2, 5).sum(axis=2), atoms, rtol=1e-9, atol=1e-12)
    assert np.abs(atoms[:, 0] - atoms[:, 1]).max() > 0.1  # Ga is not As


def test_atoms_are_the_forward_models():
    """With a Lorentzian the atom-resolved density is the spectral function of the forward model."""
    model, k, energy = gallium_arsenide(), bj.from_cubic([[0.1, 0.2, 0.0]], 5.6533), np.linspace(-3, 3, 20)
    projectors = jnp.stack([jnp.diag(jnp.asarray(model.topology.atom_of() == a, float)) for a in range(2)])
    h = bloch_hamiltonian(model, jnp.asarray(k[0]))
    found = operator_density(h, projectors, jnp.asarray(energy), lambda x: lorentzian(x, jnp.asarray(0.1)), 0.1)
    np.testing.assert_allclose(found.T, bj.spectral_function(model, k, energy, eta=0.1, resolve="atom")[0], rtol=1e-10)


def test_operators_of_the_energy():
    """On-site + hopping (+ spin-orbit) is H: its density is E times that of states; bonds lower the valence bands."""
    model, k, energy = (
        gallium_arsenide(),
        bj.from_cubic([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]], 5.6533),
        np.linspace(-16, 20, 5001),
    )
    found = {o: np.asarray(bj.operator_spectra(model, k, energy, operator=o, smearing=0.05)) for o in OPERATORS}
    step = energy[1] - energy[0]
    levels = np.asarray(bj.bands(model, k))
    np.testing.assert_allclose(found["identity"].sum(axis=1) * step, 20, rtol=1e-9)
    total = sum(found[o].sum(axis=1) for o in ("onsite", "hopping", "spin_orbit")) * step
    np.testing.assert_allclose(total, levels.sum(axis=1), atol=1e-8)
    valence = energy < 0.5
    assert (found["hopping"][:, valence].sum(axis=1) < -10).all() and (found["kinetic"] > -1e-9).all()
    traces = [np.trace(onsite_hamiltonian(model)).real] * 2
    np.testing.assert_allclose((found["onsite"] + found["spin_orbit"]).sum(axis=1) * step, traces, atol=1e-8)


def test_kinetic_operator_of_a_single_band():
    """E = −2t cos(k a): p²/2m = (2 t a sin(k a))²/(2ħ²/m)."""
    atoms = bj.square_lattice(4.0)
    model = bj.tight_binding(atoms, bj.load_parameters("square", "single_orbital"), spin_orbit=False)
    k = np.array([[0.3, 0.0, 0.0]])
    velocity = float(bj.velocities(model, k, [1.0, 0.0, 0.0])[0, 0])
    energy = np.linspace(-20, 20, 4001)
    found = np.asarray(bj.operator_spectra(model, k, energy, operator="kinetic", smearing=0.2)[0])
    assert abs(velocity) > 0.1
    assert found.sum() * 0.01 == pytest.approx(2 * velocity**2 / (2 * HBAR2_OVER_M), rel=1e-9)  # two spins


@pytest.mark.parametrize(
    ("operator", "resolve"),
    [
        ("kinetic", "atom"),
        *(
            pytest.param(o, r, marks=pytest.mark.slow)
            for o, r in (("identity", None), ("identity", "atom"), ("kinetic", None), ("hopping", "atom"))
        ),
    ],
)
def test_derivatives_at_degeneracies(operator, resolve):
    """At Γ (groups of 2 and 4) and along Γ-X, in strain that splits them: AD = central difference."""
    k = bj.from_cubic([[0, 0, 0], [0.4, 0, 0]], 5.6533)
    cell, positions = np.asarray(GAAS.cell), GAAS.positions
    mix = np.random.default_rng(0).normal(size=31)

    @jax.jit
    def value(x):
        strain = jnp.eye(3) + x * jnp.diag(jnp.array([1.0, 1.0, -1.0]))
        model = gallium_arsenide(positions=positions @ strain, cell=cell @ strain)
        found = bj.operator_spectra(model, k, np.linspace(-2, 3, 31), operator=operator, resolve=resolve, smearing=0.3)
        return jnp.tensordot(mix, found[..., None] if resolve is None else found, (0, 1))[:, 0]

    step = 1e-5
    by_difference = (value(step) - value(-step)) / (2 * step)
    _, by_ad = jax.jvp(value, (0.0,), (1.0,))
    assert (np.abs(by_difference) > 1e-2).all()
    np.testing.assert_allclose(by_ad, by_difference, rtol=1e-6)  # truncation of the difference about 1e-8


def test_bad_input():
    model = gallium_arsenide(spin_orbit=False)
    for call, words in (
        (lambda: bj.operator_spectra(model, np.zeros((1, 3)), [0.0], operator="spin_orbit"), "without spin-orbit"),
        (lambda: bj.operator_spectra(model, np.zeros((1, 3)), [0.0], operator="kinetik"), "Did you mean 'kinetic'"),
        (lambda: bj.operator_spectra(model, np.zeros((1, 3)), [0.0], resolve="layer"), "`resolve` must be one of"),
        (lambda: bj.operator_fingerprint(model, grid=(2, 2)), "3 whole numbers"),
        (
            lambda: bj.operator_spectra(
                model, np.zeros((1, 3)), [0.0], operator=lambda m, k: jnp.triu(jnp.ones((10, 10)))
            ),
            "Hermitian",
        ),
        (lambda: bj.operator_spectra(model, np.zeros((1, 3)), [0.0], operator=lambda m, k: k), "of shape (10, 10)"),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert words in str(refused.value)
