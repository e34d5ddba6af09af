"""Stepped interfaces, islands of interdiffusion, and structures that go through files."""

import ase.io
import numpy as np
import pytest

import bandjax as bj
from bandjax.structure.keating import network_of

SIGE = ("Si", "Ge")


def stack():
    return bj.superlattice(SIGE, (4, 4))


def by_layer(atoms):
    """Mean composition of each monolayer."""
    layer = atoms.arrays["layer"]
    return np.array([atoms.arrays["composition"][layer == n].mean() for n in range(layer.max() + 1)])


@pytest.mark.parametrize(("height", "profile"), [(1, [0, 0, 0, 0, 0.5, 1, 1, 1]), (-2, [0, 0, 0.5, 0.5, 1, 1, 1, 1])])
def test_a_step_moves_the_interface_on_half_of_the_area(height, profile):
    atoms = bj.stepped(stack(), SIGE, 4, repeat=(4, 2), height=height)
    assert len(atoms) == 64
    np.testing.assert_allclose(by_layer(atoms), profile)
    np.testing.assert_array_equal(atoms.arrays["composition"], atoms.symbols == "Ge")
    # the terrace is one stripe: its sites lie in two neighbouring columns along the first in-plane vector
    changed = atoms.arrays["composition"] != np.tile(stack().arrays["composition"], 8)
    column = np.floor(atoms.get_scaled_positions()[changed, 0] * 4 + 1e-9).astype(int)
    assert len(set(column)) <= 3 and len(network_of(atoms, bj.keating(SIGE)).i) == 128


def test_coverage_and_thickness_of_a_step():
    for coverage in (0.0, 0.25, 1.0):
        atoms = bj.stepped(stack(), SIGE, 4, repeat=(4, 1), coverage=coverage)
        assert by_layer(atoms)[4] == pytest.approx(1 - coverage)
    full = bj.stepped(stack(), SIGE, 4, repeat=(1, 1), coverage=1.0)
    assert list(full.symbols) == list(bj.superlattice(SIGE, (5, 3)).symbols)


def test_an_island_mixes_a_disc_and_keeps_the_matter():
    flat, atoms = (
        stack().repeat((8, 8, 1)),
        bj.island(stack(), SIGE, 4, repeat=(8, 8), radius=8.0, amount=0.8, blur=0.5),
    )
    c, layer = atoms.arrays["composition"], atoms.arrays["layer"]
    assert set(layer[c != flat.arrays["composition"]]) == {3, 4}
    # area of the disc over that of the cell, half of 0.8 of the step: the disc cuts lattice sites, hence the tolerance
    share = 0.4 * np.pi * 8.0**2 / (64 * 5.431**2 / 2)
    assert c[layer == 3].mean() == pytest.approx(share, rel=0.05)
    # both sides give what the other takes, about 5.5 atoms; sites of the two layers sample the disc's edge at other points
    assert c[layer == 3].sum() > 5 and c.sum() == pytest.approx(flat.arrays["composition"].sum(), abs=1.0)
    centre = np.asarray(atoms.cell)[:2].sum(axis=0) / 2
    distance = np.hypot(*(atoms.positions - centre)[:, :2].T)
    np.testing.assert_allclose(c[(layer == 3) & (distance < 6)], 0.4, atol=1e-3)
    np.testing.assert_allclose(c[(layer == 3) & (distance > 10)], 0.0, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_island_in_a_graded_stack_keeps_the_matter(depth):
    """A disc wider than the cell, so that every site of the layers has the same weight; the grading is not symmetric."""
    flat = bj.graded(SIGE, [0.0, 0.1, 0.15, 0.3, 0.7, 0.9, 1.0, 1.0], vacuum=None)
    atoms = bj.island(flat, SIGE, 4, repeat=(2, 2), radius=30.0, amount=0.5, depth=depth)
    before, after = by_layer(flat), by_layer(atoms)
    near = slice(4 - depth, 4 + depth)
    np.testing.assert_allclose(after[near], (before[near] + before[near].mean()) / 2, atol=1e-12)
    assert after.sum() == pytest.approx(before.sum(), abs=1e-12)


def test_an_island_of_compounds_mixes_their_cations():
    materials = ("GaAs", "InAs")
    flat = bj.superlattice(materials, (2, 2))  # Ga in the layers 0 and 2, In in 4 and 6
    atoms = bj.island(flat, materials, 4, repeat=(2, 2), radius=30.0, depth=2)
    np.testing.assert_allclose(by_layer(atoms), [0, 0, 0.5, 0, 0.5, 0, 1, 0], atol=1e-12)
    with pytest.raises(ValueError, match=r"`depth` .*both sides, but is 1"):
        bj.island(flat, materials, 4, repeat=(2, 2), radius=30.0)


def test_compounds_change_their_cations_only():
    flat = bj.superlattice(("GaAs", "InAs"), (2, 2))
    for interface in (4, 5):  # below and above the anions between Ga and In … the cations decide
        atoms = bj.stepped(flat, ("GaAs", "InAs"), interface, repeat=(2, 1), height=2)
        assert (atoms.symbols == "As").sum() == 8 and (atoms.arrays["composition"][atoms.symbols == "As"] == 0).all()
    atoms = bj.stepped(flat, ("GaAs", "InAs"), 4, repeat=(2, 1), height=2)
    assert (atoms.symbols == "Ga").sum() == 5 and (atoms.symbols == "In").sum() == 3


@pytest.mark.parametrize(("suffix", "keeps"), [("xyz", True), ("cif", False)])
def test_structures_go_through_files(suffix, keeps, tmp_path):
    """ASE writes and reads them: extended XYZ with the arrays of bandjax, CIF with cell, positions and symbols only."""
    atoms = bj.graded(SIGE, [0.0, 0.2, 0.8, 1.0], vacuum=None)
    path = tmp_path / f"stack.{suffix}"
    ase.io.write(path, atoms, **({"format": "extxyz"} if suffix == "xyz" else {}))
    back = ase.io.read(path)
    assert list(back.symbols) == list(atoms.symbols) and back.pbc.all()
    # CIF holds lengths and angles, so that the frame is turned; XYZ has eight digits
    np.testing.assert_allclose(back.cell.cellpar(), atoms.cell.cellpar(), atol=1e-4)
    np.testing.assert_allclose(back.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-4)
    assert ("composition" in back.arrays) is keeps and ("layer" in back.arrays) is keeps
    if keeps:
        np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(back.arrays["composition"], [0.0, 0.2, 0.8, 1.0])
        assert list(back.arrays["layer"]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.stepped(stack(), SIGE, 8, repeat=(2, 2)), ["interface", "1 … 7", "8"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(0, 2)), ["repeat", "(0, 2)"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(2, 2), height=0), ["height", "0"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(2, 2), height=5), ["height", "8 monolayers", "5"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(2, 2), coverage=1.2), ["coverage", "1.2"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(1, 4)), ["coverage", "0.5", "1 columns"]),
        (lambda: bj.stepped(stack(), SIGE, 4, repeat=(4, 1), coverage=0.1), ["coverage", "0.1", "4 columns"]),
        (lambda: bj.stepped(stack(), ("GaAs", "InAs"), 4, repeat=(2, 2)), ["GaAs and InAs", "atom 0 is Si"]),
        (lambda: bj.stepped(bj.zincblende("Si"), SIGE, 1, repeat=(2, 2)), ["stack", "'layer'"]),
        (lambda: bj.island(stack(), SIGE, 4, repeat=(2, 2), radius=0.0), ["radius", "> 0"]),
        (lambda: bj.island(stack(), SIGE, 4, repeat=(2, 2), radius=5.0, depth=5), ["depth", "8 monolayers", "5"]),
        (lambda: bj.island(stack(), SIGE, 4, repeat=(2, 2), radius=5.0, amount=-1), ["amount", "-1"]),
    ],
)
def test_bad_roughness_gets_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
