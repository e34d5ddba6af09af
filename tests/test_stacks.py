"""Stacks on (001): positions by hand and from another program, neighbours, profiles, alloys, potentials, errors."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.neighborlist import neighbor_list

import bandjax as bj
from bandjax.materials import elastic_constants, out_of_plane_constant

SIGE = ("Si", "Ge")
# Ge on Si by hand: ε∥ = 5.431/5.658 − 1 = −0.0401202, ε⊥ = 2 · 48.3/128.5 · 0.0401202 = 0.0301603
GE_ON_SI = 5.658 * 1.0301603


def distances(atoms):
    """Bond lengths in Å by pair of symbols."""
    i, j, d = neighbor_list("ijd", atoms, 2.9)
    symbols = np.array(atoms.get_chemical_symbols())
    pairs = ["-".join(sorted(p)) for p in zip(symbols[i], symbols[j], strict=True)]
    return {pair: np.array([x for x, p in zip(d, pairs, strict=True) if p == pair]) for pair in set(pairs)}


def test_germanium_on_silicon_grows_out_of_plane():
    assert float(out_of_plane_constant(elastic_constants("Ge"), 5.431)) == pytest.approx(GE_ON_SI, abs=2e-6)
    assert float(out_of_plane_constant(elastic_constants("Si"), 5.431)) == 5.431


def test_bond_lengths_of_a_superlattice_by_hand():
    found = distances(bj.superlattice(SIGE, (3, 3), substrate="Si"))
    lateral = 2 * (5.431 / 4) ** 2
    for pair, spacing in {"Si-Si": 5.431 / 4, "Ge-Ge": GE_ON_SI / 4, "Ge-Si": (5.431 + GE_ON_SI) / 8}.items():
        np.testing.assert_allclose(found[pair], np.sqrt(lateral + spacing**2), atol=1e-6)


@pytest.mark.parametrize("layers", [(1, 1), (1, 3), (2, 2), (4, 4)])
def test_superlattices_are_those_of_the_first_principles_files(layers, shared):
    with np.load(shared / "data" / "dft" / f"sl_Si{layers[0]}Ge{layers[1]}_PBE.npz") as data:
        cell, scaled, numbers = data["cell"], data["scaled_positions"], data["numbers"]
    atoms = bj.superlattice(SIGE, layers)
    np.testing.assert_allclose(atoms.cell[:], cell, atol=1e-12)
    assert list(atoms.numbers) == list(numbers)
    off = (atoms.get_scaled_positions() - scaled + 0.5) % 1 - 0.5
    np.testing.assert_allclose(off, 0, atol=1e-12)


@pytest.mark.parametrize("layers", [(1, 1), (3, 3), (2, 6), (1, 3, 2, 2)])
@pytest.mark.parametrize("materials", [SIGE, ("GaAs", "InAs")])
def test_every_atom_of_a_superlattice_has_four_neighbours(layers, materials):
    atoms = bj.superlattice(materials, layers)
    count = np.bincount(neighbor_list("i", atoms, 2.9))
    assert len(atoms) == sum(layers) * (1 if materials == SIGE else 2)
    assert list(count) == [4] * len(atoms)
    assert list(atoms.arrays["layer"]) == list(range(len(atoms)))


def test_one_material_is_the_bulk_crystal():
    table = bj.load_parameters("Si", "vogl1983")
    k = np.array([[0.1, 0.3, -0.2], [0.0, 0.4, 0.7]])
    stack, bulk = bj.superlattice(("Si", "Si"), (1, 1)), bj.zincblende("Si", 5.431)
    stack, bulk = (bj.bands(bj.tight_binding(atoms, table), k) for atoms in (stack, bulk))
    np.testing.assert_allclose(stack, bulk, atol=1e-11)


def test_compounds_share_the_anion_and_keep_their_bonds():
    atoms = bj.superlattice(("GaAs", "InAs"), (2, 3), substrate="GaAs")
    assert atoms.get_chemical_formula(mode="reduce") == "GaAsGaAsInAsInAsInAs"
    assert list(atoms.arrays["composition"]) == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    high = 6.0583 * (1 - 2 * 45.26 / 83.29 * (5.65325 / 6.0583 - 1))  # Poisson's expansion of InAs on GaAs
    found = distances(atoms)
    np.testing.assert_allclose(found["As-Ga"], np.sqrt(3) / 4 * 5.65325, atol=1e-9)
    np.testing.assert_allclose(found["As-In"], np.sqrt(2 * (5.65325 / 4) ** 2 + (high / 4) ** 2), atol=1e-9)


@pytest.mark.parametrize("layers", [7, 8, (3, 2, 3)])
def test_hydrogen_fills_the_missing_bonds(layers):
    atoms = bj.slab(SIGE, layers, hydrogen=1.48)
    hydrogen = np.flatnonzero(atoms.symbols == "H")
    i, j, d, vector = neighbor_list("ijdD", atoms, 2.5)
    heavy = ~np.isin(j, hydrogen) & np.isin(i, hydrogen)
    np.testing.assert_allclose(d[heavy], 1.48, atol=1e-12)
    assert sorted(i[heavy]) == sorted(hydrogen) and len(hydrogen) == 4
    n = sum(np.atleast_1d(layers))
    for atom in range(n):  # four neighbours, and those of an unstrained end are at the tetrahedral angle
        around = vector[i == atom] / d[i == atom][:, None]
        assert len(around) == 4
        if atom in (0, n - 1):
            np.testing.assert_allclose(np.sort(around @ around.T, axis=1)[:, :3], -1 / 3, atol=1e-9)
    assert sorted(atoms.arrays["layer"][hydrogen]) == [-1, -1, n, n]
    assert list(atoms.pbc) == [True, True, False]


def test_a_slab_without_hydrogen_misses_two_bonds_an_end():
    count = np.bincount(neighbor_list("i", bj.slab("Si", 6), 2.5))
    assert list(count) == [2, 4, 4, 4, 4, 2]


@pytest.mark.parametrize("options", [{}, {"vacuum": 12.0, "hydrogen": 1.5}])
def test_traced_positions_are_those_of_the_atoms(options):
    x = np.array([0.0, 0.1, 0.7, 1.0, 0.4, 0.0])
    positions, cell = jax.jit(lambda c, a: bj.stack_positions(c, a, SIGE, **options))(x, 5.5)
    atoms = bj.graded(SIGE, x, substrate=5.5, **{"vacuum": None, **options})
    np.testing.assert_allclose(positions, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(cell, atoms.cell[:], atol=1e-12)
    assert atoms.get_chemical_symbols()[:6] == ["Si", "Si", "Ge", "Ge", "Si", "Si"]
    np.testing.assert_allclose(atoms.arrays["composition"][:6], x)


@pytest.mark.parametrize("materials", [SIGE, ("GaAs", "InAs")])
def test_positions_are_differentiable(materials):
    x, a = np.array([0.2, 0.9, 0.5, 0.3]), 5.6

    @jax.jit
    def height(c, a_parallel):
        positions, cell = bj.stack_positions(c, a_parallel, materials)
        return positions[-1, 2] + 0.3 * cell[2, 2] + positions[1, 0]

    by_c, by_a = jax.jit(jax.grad(height, (0, 1)))(jnp.asarray(x), a)
    h = 1e-5
    for place, step in enumerate(h * np.eye(4)):
        expected = (height(x + step, a) - height(x - step, a)) / (2 * h)
        assert float(by_c[place]) == pytest.approx(float(expected), abs=1e-9)
    assert float(by_a) == pytest.approx(float((height(x, a + h) - height(x, a - h)) / (2 * h)), abs=1e-9)
    assert min(abs(by_c)) > 0.01 and abs(by_a) > 0.01


def test_erf_profile():
    z = np.arange(40.0)
    x = np.asarray(bj.erf_profile(z, [12.0, 27.0], [1.5, 3.0], [0.0, 0.6, 0.1]))
    assert x[0] == pytest.approx(0, abs=1e-12) and x[12] == pytest.approx(0.3, abs=1e-6)
    assert x[19] == pytest.approx(0.6, abs=0.003) and x[27] == pytest.approx(0.35, abs=1e-6)
    assert x[-1] == pytest.approx(0.1, abs=1e-4)
    # one sigma above an edge the error function has done 84.134 % of the step
    assert float(bj.erf_profile(jnp.array([13.5]), [12.0], 1.5, [0.0, 1.0])[0]) == pytest.approx(0.841345, abs=1e-6)
    slope = jax.grad(lambda s: bj.erf_profile(z, jnp.array([12.0]), s, jnp.array([0.0, 1.0]))[14])(1.5)
    t = 2.0 / 1.5
    assert float(slope) == pytest.approx(-t / 1.5 * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi), rel=1e-9)


def test_random_alloys():
    atoms = bj.alloy(SIGE, 0.3, repeat=2, seed=4)
    assert (len(atoms), sum(atoms.symbols == "Ge")) == (64, 19)
    np.testing.assert_array_equal(atoms.arrays["composition"], atoms.symbols == "Ge")
    assert atoms.cell[0, 0] == pytest.approx(2 * (0.7 * 5.431 + 0.3 * 5.658))
    assert str(bj.alloy(SIGE, 0.3, repeat=2, seed=4).symbols) == str(atoms.symbols)
    assert str(bj.alloy(SIGE, 0.3, repeat=2, seed=5).symbols) != str(atoms.symbols)
    mixed = bj.alloy(("GaAs", "InAs"), 0.5)
    assert mixed.get_chemical_formula() == "As4Ga2In2"


def test_virtual_crystals():
    atoms = bj.alloy(bj.zincblende("Si", 5.5), 0.6, kind="virtual")
    assert list(atoms.arrays["composition"]) == [0.6, 0.6] and atoms.get_chemical_symbols() == ["Ge", "Ge"]
    mixed = bj.alloy(("GaAs", "InAs"), 0.2, kind="virtual")
    np.testing.assert_array_equal(mixed.arrays["composition"] == 0, mixed.symbols == "As")


def test_potentials():
    slab = bj.slab("Si", 9)
    depth = bj.depth_below_surface(slab.positions)
    np.testing.assert_allclose(depth, 5.431 / 4 * np.arange(8, -1, -1), atol=1e-12)
    np.testing.assert_allclose(bj.exponential_potential(depth, 0.3, 5.0), 0.3 * np.exp(-depth / 5), atol=1e-12)
    found = bj.linear_potential(jnp.array([0.0, 2.0, 10.0, 11.0]), -0.4, 10.0)
    np.testing.assert_allclose(found, [-0.4, -0.32, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.superlattice(SIGE, (4, 3)), ["even number of monolayers", "7", "not commensurate"]),
        (lambda: bj.superlattice(SIGE, (4, 4), substrate="Gee"), ["substrate", "'Gee'", "Did you mean 'Ge'"]),
        (lambda: bj.superlattice(SIGE, (4, 4), substrate=-1.0), ["substrate", "-1"]),
        (lambda: bj.superlattice(SIGE, (4, 0)), ["layers", "0"]),
        (lambda: bj.slab("Si", -3), ["layers", "-3"]),
        (lambda: bj.slab("Si", 2.5), ["layers", "2.5"]),
        (lambda: bj.slab("Si", ()), ["at least one layer"]),
        (lambda: bj.slab("Si", 4, vacuum=0.0), ["vacuum", "> 0"]),
        (lambda: bj.slab("Si", 4, hydrogen=-1.5), ["hydrogen", "> 0"]),
        (lambda: bj.slab("Xx", 4), ["elastic constants", "'Xx'"]),
        (lambda: bj.superlattice(("GaAs", "InSb"), (2, 2)), ["common anion"]),
        (lambda: bj.superlattice(("Si", "GaAs"), (2, 2)), ["common anion"]),
        (lambda: bj.graded(SIGE, [0.0, 1.2, 0.0]), ["composition", "[0, 1]", "1.2"]),
        (lambda: bj.graded(SIGE, [0.0, np.nan]), ["composition", "nan"]),
        (lambda: bj.graded(SIGE, [0.0] * 4, vacuum=None, hydrogen=1.5), ["hydrogen", "periodic"]),
        (lambda: bj.stack_positions(np.zeros((2, 2)), 5.4), ["composition", "(layer,)", "(2, 2)"]),
        (lambda: bj.erf_profile([0.0], [1.0], 1.0, [0.0, 0.5, 1.0]), ["fractions", "(2,)", "(3,)"]),
        (lambda: bj.erf_profile([0.0], [1.0], 0.0, [0.0, 0.5]), ["sigma", "> 0"]),
        (lambda: bj.erf_profile([0.0], [1.0], 1.0, [0.0, 1.5]), ["fractions", "1.5"]),
        (lambda: bj.alloy(SIGE, 1.5), ["fraction", "1.5"]),
        (lambda: bj.alloy(SIGE, 0.5, kind="quasi"), ["kind", "'random', 'virtual'"]),
        (lambda: bj.alloy(ase.Atoms("C"), 0.5), ["crystal", "Si or Ge"]),
        (lambda: bj.exponential_potential([0.0], 1.0, 0.0), ["length", "> 0"]),
    ],
)
def test_bad_stacks_get_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
