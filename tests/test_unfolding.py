"""Unfolded weights are exact where the large cell repeats a small one, and complete where it does not."""

import functools

import ase
import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bandjax.hamiltonian import tight_binding
from bandjax.materials import load_parameters
from bandjax.spectrum import bands, spectral_function, unfolded_bands, unfolded_orbitals, unfolded_spectral_function
from bandjax.structure import find_sites, zincblende

K = np.array([[0.0, 0.0, 0.0], [1.7, 0.2, -0.9]])  # Γ, where levels are degenerate, and a k of a higher zone
SKEW = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 2]])  # M of three cells whose axes are not those of the crystal
ENERGY = np.linspace(-12.0, 8.0, 9)


@functools.cache
def repeated(material="Si", table="vogl1983", spin_orbit=False):
    """A crystal and three of its cells, atoms in another order."""
    small = zincblende(material)
    large = ase.build.make_supercell(small, SKEW)
    large = large[np.random.default_rng(1).permutation(len(large))]
    values = load_parameters(material, table)
    return small, *(tight_binding(atoms, values, spin_orbit=spin_orbit) for atoms in (small, large))


@functools.cache
def distorted():
    """An alloy of eight sites, relaxed at random, and its average crystal."""
    small = zincblende("Si", 5.5)
    atoms = small.repeat((2, 2, 1))
    rng = np.random.default_rng(0)
    positions = atoms.positions + 0.1 * rng.normal(size=(8, 3)) + [0.7, -0.2, 0.4]
    table = load_parameters(("Si", "Ge"), "vogl1983")
    model = tight_binding(atoms, table, positions=positions, composition=rng.uniform(size=8), spin_orbit=False)
    return small, model


@pytest.mark.parametrize(
    "case", [("Si",), pytest.param(("GaAs", "klimeck2000", True), marks=pytest.mark.slow)], ids=["Si", "GaAs with spin"]
)
def test_a_repeated_cell_gives_the_bands_of_the_small_one(case):
    small, model, large = repeated(*case)
    energy, weight = (np.asarray(x) for x in unfolded_bands(large, small, K))
    expected = np.asarray(bands(model, K))
    np.testing.assert_allclose(weight.sum(axis=1), model.n_orbital, atol=1e-10)
    for e, w, levels in zip(energy, weight, expected, strict=True):
        for level in levels:
            together = np.abs(levels - level) < 1e-7
            np.testing.assert_allclose(w[np.abs(e - level) < 1e-6].sum(), together.sum(), atol=1e-10)
    assert (weight < 1e-10).sum() > model.n_orbital, "no state belongs elsewhere: nothing is unfolded"


def test_weights_of_an_alloy_are_complete():
    """At one k they sum to the orbitals, and those of a state over all k that fold together to 1."""
    small, model = distorted()
    lattice = np.asarray(model.reciprocal)
    folded = K[1] + np.array([[i, j, 0] for i in range(2) for j in range(2)]) @ lattice
    energy, weight = unfolded_bands(model, small, folded)
    np.testing.assert_allclose(energy, np.tile(energy[0], (4, 1)), atol=1e-10)
    np.testing.assert_allclose(weight.sum(axis=1), 10, atol=1e-10)
    np.testing.assert_allclose(weight.sum(axis=0), 1, atol=1e-10)
    assert float(((weight > 0.01) & (weight < 0.99)).mean()) > 0.3, "no state is shared between k"


@pytest.mark.slow
def test_a_strained_crystal_is_unfolded_on_its_own_average_lattice():
    small, _, _ = repeated()
    strain = np.eye(3) + np.array([[0.03, 0.01, 0], [0.01, -0.02, 0], [0, 0.005, 0.02]])
    table = load_parameters("Si", "vogl1983")
    models = []
    for atoms in (small, ase.build.make_supercell(small, SKEW)):
        bent = atoms.copy()
        bent.set_cell(atoms.cell @ strain, scale_atoms=True)
        models.append(tight_binding(bent, table, spin_orbit=False))
    expected = spectral_function(models[0], K, ENERGY, eta=0.3, resolve="orbital")
    options = {"eta": 0.3, "resolve": "orbital", "method": "eigh"}
    np.testing.assert_allclose(unfolded_spectral_function(models[1], small, K, ENERGY, **options), expected, atol=1e-12)
    names = [(o.atom, o.name) for o in unfolded_orbitals(models[1], small)]
    assert names == [(o.atom, o.name) for o in models[0].topology.orbitals]


@pytest.mark.slow
def test_derivatives():
    """Forward = reverse = central difference, at Γ too, in positions, cell and composition at once."""
    small, model = distorted()
    sites = find_sites(model.positions, model.cell, small)
    atoms, table = small.repeat((2, 2, 1)), load_parameters(("Si", "Ge"), "vogl1983")
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(2, ENERGY.size, 2))
    x = (np.asarray(model.positions), np.asarray(model.cell), np.full(8, 0.5))
    direction = tuple(0.2 * rng.normal(size=np.shape(a)) for a in x)

    @jax.jit
    def f(t):
        positions, cell, composition = (a + t * d for a, d in zip(x, direction, strict=True))
        m = tight_binding(atoms, table, positions=positions, cell=cell, composition=composition, spin_orbit=False)
        a = unfolded_spectral_function(m, sites, K, ENERGY, eta=0.5, resolve="atom", method="eigh")
        return jnp.sum(weight * a)

    reverse, (_, forward) = jax.jit(jax.grad(f))(0.0), jax.jit(lambda t: jax.jvp(f, (t,), (1.0,)))(0.0)
    step = 1e-4
    difference = (f(step) - f(-step)) / (2 * step)
    assert abs(difference) > 0.1
    np.testing.assert_allclose([forward, reverse], difference, rtol=1e-6)


WRONG = {
    "another number of atoms": (lambda s: find_sites(np.zeros((3, 3)), np.eye(3) * 5, s), "fill the cell of 3 atoms"),
    "another lattice": (
        lambda s: find_sites(s.repeat((2, 1, 1)).positions, np.diag([20.0, 5.4, 3.0]), s), "whole number of times",
    ),
    "two atoms on a site": (
        lambda s: find_sites(s.repeat(2).positions[np.r_[:15, 3]], np.asarray(s.repeat(2).cell), s), "atoms 3 and 15",
    ),
    "sites of another cell": (
        lambda s: unfolded_bands(distorted()[1], find_sites(s.positions, np.asarray(s.cell), s), K), "8 atoms, but holds 2",
    ),
    "unknown method": (
        lambda s: unfolded_spectral_function(distorted()[1], s, K, ENERGY, method="layered"), "`method`.*'layered'",
    ),
    "Jackson kernel by diagonalisation": (
        lambda s: unfolded_spectral_function(distorted()[1], s, K, ENERGY, method="eigh", sigma=0.1), "`sigma`.*'eigh'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case):
    call, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        call(zincblende("Si", 5.5))


@pytest.mark.slow
def test_traced_positions_need_their_sites():
    small, model = distorted()
    atoms, table = small.repeat((2, 2, 1)), load_parameters("Si", "vogl1983")

    def f(positions):
        m = tight_binding(atoms, table, positions=positions, spin_orbit=False)
        return unfolded_spectral_function(m, small, K, ENERGY).sum()

    with pytest.raises(ValueError, match=r"`primitive`.*find_sites"):
        jax.grad(f)(model.positions)
