"""Descriptors of environments: values by hand for the 4/4 stack, inner and interface atoms apart, smoothness, errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.structure import electronegativity
from experiments.separate_interfaces import PRESETS, separation

SIGE = ("Si", "Ge")
FIELD = bj.keating(SIGE)
NAMES = [name for name, _ in bj.DESCRIPTORS]
SMOKE = PRESETS["smoke"]


def four_four():
    return bj.superlattice(SIGE, (4, 4), substrate="Si")


def features(atoms, **options):
    return np.asarray(bj.environment(atoms, FIELD, **options).features())


def test_shells_and_order_of_the_four_four_stack_by_hand():
    """On an unstrained lattice, for Si at the interface (layer 3) and inside (layer 2); c̄ = 1/2, so α = 1 − 2 X for Si.

    In units of a/4, with a, b, c along [110], [−110], [001]; (number) layer × squared cosines along a, b, c:
    shell 1, 4 atoms: (2) below, (2) above; 1/3 along c; the two above an odd layer lie along b: 0, 2/3; those below along a: 2/3, 0.
    shell 2, 12: (4) same layer: two along a, two along b; (4) two layers up, (4) down: 1/4, 1/4, 1/2 each.
    shell 3, 12, vectors (±3, ±1, ±1) and permutations: for odd layers (4) one up: 8/11, 2/11, 1/11; (4) one down: 2/11,
        8/11, 1/11; (2) three up: 2/11, 0, 9/11; (2) three down: 0, 2/11, 9/11. Even layers: a and b exchanged.

    Layer 3: Ge are the layers above. X_1 = 2/4, X_2 = 4/12, X_3 = (4 + 2)/12.
        1: a: 0/(4/3) = 0 → α = 1; b: (4/3)/(4/3) = 1 → −1; c: 1/2 → 0
        2: a: up 4·1/4 = 1 of 2 + 1 + 1 = 4 → 1/4 → 1/2; b: the same; c: 2/4 → 0
        3: a: (32 + 4)/11 of 44/11 = 36/44 → −7/11; b: 8/44 → 7/11; c: (4 + 18)/44 → 0
    Layer 2 (even): Ge two and three layers up, and three layers down (layer −1 is Ge). X_1 = 0, X_2 = 4/12, X_3 = 4/12.
        1: 1, 1, 1        2: as layer 3: two layers up is Ge, two down is Si
        3: up three (even): a 0, b 2·2/11; down three: a 2·2/11, b 0; so X = (4/11)/4 = 1/11 → 9/11 for a and b;
           c: 36/44 → −7/11
    Layers 0 and 1 are those upside down, which exchanges a and b where up and down differ in them; Ge is Si with c ↔ 1 − c.
    """
    atoms = four_four()
    atoms.set_cell(5.431 * np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 2]]))
    atoms.positions[:, 2] = 5.431 / 4 * np.arange(8)
    found = bj.environment(atoms, FIELD)
    interface = [[1, -1, 0], [1 / 2, 1 / 2, 0], [-7 / 11, 7 / 11, 0]]
    inner = [[1, 1, 1], [1 / 2, 1 / 2, 0], [9 / 11, 9 / 11, -7 / 11]]
    # shell 1 of layer 3 misses no direction: those along a are Si, those along b Ge, and layer 0 has its Ge along b too
    expected = np.array([interface, inner, inner, interface] * 2)
    np.testing.assert_allclose(found.fraction, [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-15)
    shells = np.array([[1 / 2, 1 / 3, 1 / 2], [0, 1 / 3, 1 / 3]])[[0, 1, 1, 0]]
    np.testing.assert_allclose(found.shell_fraction, np.concatenate([shells, 1 - shells]), atol=1e-12)
    np.testing.assert_allclose(found.order, np.tile(1 - 2 * shells, (2, 1)), atol=1e-12)
    np.testing.assert_allclose(found.order_along, expected, atol=1e-12)


def test_bonds_strain_charge_and_interface_of_the_four_four_stack_by_hand():
    """On silicon, s = 5.431/4 Å; Ge stands up to g = 5.658/4 · 1.0301603 (see test_stacks.py), and the Si-Ge spacing is (s + g)/2.

    Bonds: Si-Si √3 s; Si-Ge √(2 s² + (s + g)²/4); Ge-Ge √(2 s² + g²). An interface atom has two of one and two of Si-Ge.
    Strain: inner Si 0; inner Ge ε∥ = s/t − 1 = −0.04012 with t = 5.658/4, ε⊥ = 0.03016. An atom at the interface has its two
    own bonds along p = [110] or [1−10] and the two mixed ones along q, the other; the reference of the mixed bonds is m =
    (s + t)/2, so that with own reference o (s or t) and own height h_o (s or g)
        F_pp = s/o,   F_qq = s/m,   F_zz = (o h_o + m (s + g)/2)/(o² + m²),   ε_xx = ε_yy = (F_pp + F_qq)/2 − 1,
    and |ε_xy| = |F_pp − F_qq|/2, positive for p = [110]: layers 0 and 3 (own bonds along [110]), negative for Ge.
    Charge: χ = 1.90 and 2.01; two of four neighbours differ: ±0.055.
    Interface: the nearer plane at half a spacing (and one or two more for inner atoms), the other at the rest of 3 + … layers.
    """
    s, t, g = 5.431 / 4, 5.658 / 4, 5.658 / 4 * 1.0301603
    m, mixed = (s + t) / 2, (s + g) / 2
    found = bj.environment(four_four(), FIELD)
    lengths = [np.sqrt(2 * s**2 + h**2) for h in (s, mixed, g)]
    bond = [(lengths[0] + lengths[1]) / 2, lengths[0], (lengths[2] + lengths[1]) / 2, lengths[2]]
    variance = [((lengths[0] - lengths[1]) / 2) ** 2, 0, ((lengths[2] - lengths[1]) / 2) ** 2, 0]
    kinds = np.array([0, 1, 1, 0, 2, 3, 3, 2])  # Si interface, Si inner, Ge interface, Ge inner
    close = {"atol": 3e-6}  # the seven digits of g
    np.testing.assert_allclose(found.bond_length, np.array(bond)[kinds], **close)
    np.testing.assert_allclose(found.bond_variance, np.array(variance)[kinds], **close)

    strain = np.zeros((4, 3, 3))
    for kind, (own, height) in {0: (s, s), 2: (t, g)}.items():
        along, across = s / own, s / m
        strain[kind] = np.diag([(along + across) / 2 - 1] * 2 + [(own * height + m * mixed) / (own**2 + m**2) - 1])
        strain[kind, 0, 1] = strain[kind, 1, 0] = (along - across) / 2
    strain[3] = np.diag([s / t - 1, s / t - 1, g / t - 1])
    np.testing.assert_allclose(found.strain, strain[kinds], **close)
    assert strain[3, 0, 0] == pytest.approx(-0.0401202, abs=1e-7) and strain[0, 0, 1] > 0.01 > -0.009 > strain[2, 0, 1]

    np.testing.assert_allclose(found.charge_transfer, np.array([0.055, 0, -0.055, 0])[kinds], atol=1e-12)
    silicon, germanium = 3 * s + mixed, 3 * g + mixed  # from interface to interface
    away = np.array([mixed / 2, mixed / 2 + s, mixed / 2, mixed / 2 + g])
    other = np.array([silicon, silicon, germanium, germanium]) - away
    distance = -0.5 * np.log(np.exp(-2 * away) + np.exp(-2 * other))
    np.testing.assert_allclose(found.interface_distance, distance[kinds], atol=1e-4)  # the planes beyond: e^(−2·5.5)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if "relaxed" in kind else []) for kind in SMOKE.kinds]
)
def test_inner_and_interface_atoms_separate(kind):
    """The smoke preset of the experiment: eight stacks of eight monolayers for each kind of disorder."""
    found = separation(SMOKE, kind)
    assert found["beside"] == 4 * SMOKE.stacks and found["atoms"] == 8 * SMOKE.stacks
    assert found["area"]["interface_distance"] >= 0.99
    if "displaced" in kind:  # what the distance has to do better than
        assert found["area"]["bond_variance"] < 0.7


@pytest.mark.slow
def test_inner_and_interface_atoms_of_alloyed_layers_separate():
    found = separation(dataclasses.replace(PRESETS["default"], stacks=6), "alloyed relaxed displaced")
    assert found["area"]["interface_distance"] >= 0.99


@pytest.mark.slow
def test_descriptors_are_smooth_in_a_bond_length():
    """One bond of a mixed, disordered stack stretched by −0.15 to 0.15 Å; compositions and the cell change along with it."""
    atoms, rng = four_four(), np.random.default_rng(2)
    start = atoms.positions + rng.normal(scale=0.03, size=(8, 3))
    c, towards = rng.uniform(0.2, 0.8, 8), rng.uniform(-0.5, 0.5, 8)
    bond = start[3] - start[2]
    bond /= np.linalg.norm(bond)

    def along(t):
        positions = jnp.asarray(start).at[3].add(t * bond)
        cell = atoms.cell[:] * (1 + 0.1 * t)
        return bj.environment(atoms, FIELD, positions=positions, cell=cell, composition=c + t * towards).features()

    t = np.linspace(-0.15, 0.15, 61)
    value, slope = jax.jit(lambda t: jax.lax.map(lambda x: jax.jvp(along, (x,), (1.0,)), t))(t)
    h = t[1] - t[0]
    # Simpson's rule over two steps: the integral of the derivative is the difference, up to h⁵ f⁽⁵⁾/90
    integral = h / 3 * (slope[:-2:2] + 4 * slope[1:-1:2] + slope[2::2])
    scale = np.abs(slope).max(axis=(0, 1))
    changing = [name for name, s in zip(NAMES, scale, strict=True) if s > 1e-3]
    assert set(changing) == set(NAMES), "some descriptors do not change: nothing is tested"
    np.testing.assert_array_less(np.abs(integral - np.diff(value[::2], axis=0)), 1e-5 * scale * np.ones_like(integral))
    # no kinks: the derivative changes by no more than a small part of itself from step to step
    assert (np.abs(np.diff(slope, axis=0)).max(axis=(0, 1)) < 0.1 * scale).all()


def test_the_distance_has_no_step_where_a_bond_turns_over():
    """On (110) half of the bonds lie in the plane; a small tilt either way must not flip the sign of their share."""
    atoms, c = bj.superlattice(SIGE, (2, 2), surface=(1, 1, 0)), np.random.default_rng(3).uniform(size=8)
    height = np.zeros((8, 3))
    height[1::2] = np.array([1, 1, 0]) / np.sqrt(2)  # one of the two atoms of each layer
    low, high = (
        bj.environment(atoms, FIELD, positions=atoms.positions + t * height, composition=c).interface_distance
        for t in (-1e-6, 1e-6)
    )
    assert low.max() < 10  # there are steps in composition
    np.testing.assert_allclose(high, low, atol=1e-4)  # a slope of at most some 10 Å/Å over 2e-6 Å


def test_the_distance_in_single_precision():
    """Far from interfaces the sum is e^(−100), below what single precision holds; its logarithm is not."""
    single, atoms = jax.tree.map(lambda x: x.astype(np.float32), FIELD), four_four()
    for c in (np.zeros(8), atoms.arrays["composition"]):
        positions, cell, c = (np.asarray(x, np.float32) for x in (atoms.positions, atoms.cell[:], c))
        found = bj.environment(atoms, single, positions=positions, cell=cell, composition=c).interface_distance
        expected = bj.environment(atoms, FIELD, composition=c.astype(float)).interface_distance
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_derivatives_are_finite_where_nothing_mixes():
    atoms = four_four()

    def total(c):
        return bj.environment(atoms, FIELD, composition=c).features().sum()

    for c in (np.zeros(8), np.ones(8), np.full(8, 0.5)):
        assert np.isfinite(jax.grad(total)(jnp.asarray(c))).all()
    pure = bj.environment(atoms, FIELD, composition=np.zeros(8))
    np.testing.assert_array_equal(pure.order, 0)
    np.testing.assert_allclose(pure.interface_distance, 50.0)


def test_the_frame_does_not_matter():
    atoms = four_four()
    atoms.positions += np.random.default_rng(4).normal(scale=0.03, size=(8, 3))
    found = features(atoms)
    moved = atoms.copy()
    moved.positions += [0.3, -7.0, 12.1]
    moved.wrap()
    np.testing.assert_allclose(features(moved), found, atol=1e-9)
    order = np.random.default_rng(5).permutation(8)
    np.testing.assert_allclose(features(atoms[order]), found[order], atol=1e-9)

    turned, axes = atoms.copy(), np.array([[2, 2, -1], [-1, 2, 2], [2, -1, 2]]) / 3
    turned.set_cell(atoms.cell[:] @ axes)
    turned.set_positions(atoms.positions @ axes)
    plain, rotated = bj.environment(atoms, FIELD), bj.environment(turned, FIELD, orientation=axes)
    np.testing.assert_allclose(rotated.strain, axes.T @ np.asarray(plain.strain) @ axes, atol=1e-9)
    for name in ("order_along", "bond_variance", "interface_distance"):
        np.testing.assert_allclose(getattr(rotated, name), getattr(plain, name), atol=1e-9)


@pytest.mark.slow
def test_compounds_and_surfaces():
    """Cations hold the composition; anions at an interface have two neighbours of each kind; surfaces miss neighbours."""
    found = bj.environment(bj.superlattice(("GaAs", "InAs"), (2, 2)), ("GaAs", "InAs"))
    np.testing.assert_allclose(found.shell_fraction[1::2, 0], [0, 0.5, 1, 0.5], atol=1e-12)
    np.testing.assert_allclose(found.shell_fraction[::2, 1], [1 / 3, 1 / 3, 2 / 3, 2 / 3], atol=1e-12)
    np.testing.assert_array_equal(found.order[1::2], 0)
    assert float(found.charge_transfer[0]) == pytest.approx(2.18 - 1.81)
    slab = bj.slab(SIGE, (5, 7))
    found = bj.environment(slab, FIELD)
    np.testing.assert_allclose(found.strain[0], 0, atol=1e-12)
    np.testing.assert_allclose(found.bond_length[0], np.sqrt(3) / 4 * 5.431)
    assert np.argmin(found.interface_distance) in (4, 5) and np.argmax(found.interface_distance) == 11


def test_electronegativity():
    assert electronegativity("Ge") - electronegativity("Si") == pytest.approx(0.11)
    with pytest.raises(ValueError, match=r"electronegativity .*'Xx'"):
        electronegativity("Xx")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.environment(bj.slab("Si", 6, hydrogen=1.48), "Si"), ["atom 6 is H"]),
        (lambda: bj.environment(bj.superlattice(SIGE, (2, 2)), "Si"), ["atom 2 is Ge", "Si"]),
        (lambda: bj.environment(four_four(), SIGE, positions=np.zeros((3, 3))), ["positions", "(8, 3)", "(3, 3)"]),
        (lambda: bj.environment(four_four(), SIGE, composition=np.full(8, -0.1)), ["composition", "[0, 1]", "-0.1"]),
        (lambda: bj.environment(four_four(), SIGE, orientation=2 * np.eye(3)), ["orientation", "perpendicular"]),
        (
            lambda: bj.environment(four_four(), SIGE, orientation=[[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]]),
            ["⟨111⟩", "atom 0 (Si)", "orientation"],
        ),
    ],
)
def test_bad_environments_get_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
