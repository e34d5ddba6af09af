"""Stacks on (110) and (111): the bulk crystal again, four neighbours, strain as the relaxed crystal has it, errors."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

import bandjax as bj

SIGE = ("Si", "Ge")
SURFACES = [(1, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("layers", [(1, 1), (3, 2), (1, 3, 2, 2)])
@pytest.mark.parametrize("materials", [SIGE, ("GaAs", "InAs")])
def test_every_atom_has_four_neighbours(surface, layers, materials):
    atoms = bj.superlattice(materials, layers, surface=surface)
    i, j = neighbor_list("ij", atoms, 2.95)
    assert len(atoms) == 2 * sum(layers) and list(np.bincount(i)) == [4] * len(atoms)
    if materials != SIGE:  # cations bond to anions
        assert (np.array(atoms.symbols == "As")[i] != np.array(atoms.symbols == "As")[j]).all()
    normal = np.cross(atoms.cell[0], atoms.cell[1])
    np.testing.assert_allclose(np.abs(normal @ surface) / np.linalg.norm(normal) / np.linalg.norm(surface), 1)


@pytest.mark.parametrize("surface", SURFACES)
def test_one_material_is_the_bulk_crystal(surface):
    # the shells of the diamond lattice around every atom: 4, 12, 12 and 6 at √3/4, √2/2, √11/4 and 1 a
    atoms = bj.superlattice(("Si", "Si"), (2, 3), surface=surface)
    i, d = neighbor_list("id", atoms, 5.431 * 1.05)
    shells = np.array([np.sqrt(3) / 4, np.sqrt(0.5), np.sqrt(11) / 4, 1.0]) * 5.431
    for atom in range(len(atoms)):
        np.testing.assert_allclose(np.sort(d[i == atom]), np.repeat(shells, [4, 12, 12, 6]), atol=1e-9)


@pytest.mark.parametrize(("surface", "spacing"), [((1, 1, 0), 1 / np.sqrt(8)), ((1, 1, 1), 1 / np.sqrt(3))])
def test_layers_are_at_their_distance(surface, spacing):
    atoms = bj.graded("Si", np.zeros(4), surface=surface, vacuum=12.0)
    height = atoms.positions @ surface / np.linalg.norm(surface)
    np.testing.assert_allclose(height[::2], 5.431 * spacing * np.arange(4), atol=1e-12)
    pucker = 0 if surface == (1, 1, 0) else 5.431 / np.sqrt(48)
    np.testing.assert_allclose(height[::2] - height[1::2], pucker, atol=1e-12)
    assert list(atoms.pbc) == [True, True, False] and list(atoms.arrays["layer"]) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("materials", [SIGE, ("GaAs", "InAs")])
def test_bonds_across_111_interfaces_have_their_length(materials):
    """Bonds along the growth axis, from the lower atom: of elements the mean both ways, of compounds the cation's own."""
    atoms = bj.superlattice(materials, (3, 3), surface=(1, 1, 1))
    i, j, vector = neighbor_list("ijD", atoms, 2.95)
    rise = vector @ np.full(3, 1 / np.sqrt(3))
    up = rise > 0.9 * np.linalg.norm(vector, axis=1)
    assert up.sum() == 6
    found = {}
    for a, b, length in zip(atoms.symbols[i[up]], atoms.symbols[j[up]], rise[up], strict=True):
        found.setdefault((a, b), []).append(length)
    if materials == SIGE:
        mean = (found["Si", "Si"][0] + found["Ge", "Ge"][0]) / 2
        np.testing.assert_allclose([*found["Si", "Ge"], *found["Ge", "Si"]], mean, rtol=1e-12)
    else:
        for cation in ("Ga", "In"):  # two bonds inside and the one to the other compound's anions
            np.testing.assert_allclose(found[cation, "As"], found[cation, "As"][:1] * 3, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_strained_layers_are_as_tall_as_relaxed_ones(surface):
    """d(height)/d(a∥) at zero strain: the formula's −D against Keating's minimum with a free third cell vector."""
    h, heights = 1e-3, []
    for a in (5.431 - h, 5.431 + h):
        atoms = bj.superlattice(("Si", "Si"), (1, 1), substrate=a, surface=surface)
        relaxed = bj.relax(atoms, "Si", free="growth").atoms(atoms)
        heights.append([x.get_volume() / np.linalg.norm(np.cross(*x.cell[:2])) for x in (atoms, relaxed)])
    formula, relaxed = np.diff(heights, axis=0)[0] / (2 * h)
    assert formula < -0.3 and relaxed == pytest.approx(formula, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.superlattice(SIGE, (2, 2), surface=(1, 1, 3)), ["surface", "(1, 1, 1)", "(1, 1, 3)"]),
        (lambda: bj.graded(SIGE, [0.0, 1.0], surface=(1, 1, 1), hydrogen=1.48), ["hydrogen", "(1, 1, 1)"]),
        (lambda: bj.graded(SIGE, [0.0, 1.5], surface=(1, 1, 0)), ["composition", "1.5"]),
        (lambda: bj.graded(SIGE, [], surface=(1, 1, 0)), ["at least one layer"]),
        (lambda: bj.graded(SIGE, [0.0], surface=(1, 1, 0), vacuum=-1.0), ["vacuum", "> 0"]),
    ],
)
def test_bad_surfaces_get_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
