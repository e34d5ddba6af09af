"""Tables of two compounds: the bulk of each is its own, a shared anion is the mean of what its neighbours have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian

PAIR = ("GaAs", "InAs")
MIXED = ("GaAs", "AlAs")
K = np.array([[0.0, 0.0, 0.0], [0.11, 0.3, -0.2]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "pair"),
    [
        ("klimeck2000", PAIR),
        ("vogl1983", ("AlSb", "InSb")),
        ("jancu1998", ("GaAs", "AlAs")),
        ("boykin2004", PAIR),
    ],
)
def test_the_bulk_of_each_compound_is_its_own_table(table, pair):
    values = bj.load_parameters(pair, table)
    coupled = bool(values.spec.spin_orbit)
    assert coupled == (table != "vogl1983")  # AlSb has no spin-orbit constants there: then the pair has none
    for n, material in enumerate(pair):
        atoms, own = bj.zincblende(material, 5.9), bj.load_parameters(material, table)
        expected = bj.bands(bj.tight_binding(atoms, own, spin_orbit=coupled), K)
        found = bj.bands(bj.tight_binding(atoms, values, spin_orbit=coupled), K)
        np.testing.assert_allclose(found, expected + n * float(values[f"{''.join(pair)}.offset"]), atol=1e-12)


def test_offsets_are_differences_of_the_valence_bands():
    # V(InAs) − V(GaAs) = −0.59 + 0.80 eV, from the list of recommended offsets; boykin2004 has it in its energies
    assert float(bj.load_parameters(PAIR, "jancu1998")["GaAsInAs.offset"]) == pytest.approx(0.21)
    assert float(bj.load_parameters(PAIR, "boykin2004")["GaAsInAs.offset"]) == 0.0
    assert "GaAsInAs.offset" in dict(bj.load_parameters(PAIR, "jancu1998").spec.state)


def test_the_anion_between_two_compounds_is_their_mean():
    table = bj.load_parameters(PAIR, "klimeck2000")
    model = bj.tight_binding(bj.superlattice(PAIR, (2, 2)), table)
    gallium, indium = (float(table[f"{m}.E_sa"]) for m in PAIR)
    indium += float(table["GaAsInAs.offset"])
    # anions are the odd layers; those of layers 3 and 7 have two neighbours of each kind
    found = [float(model.onsite[layer][0, 0]) for layer in (1, 3, 5, 7)]
    np.testing.assert_allclose(found, [gallium, (gallium + indium) / 2, indium, (gallium + indium) / 2], atol=1e-12)
    assert abs(gallium - indium) > 0.1
    delta = [float(table[f"{m}.Delta_a"]) / 3 for m in PAIR]
    size = [float(np.abs(model.spin_orbit[layer]).max()) for layer in (1, 3, 5)]
    np.testing.assert_allclose(size, [delta[0], np.mean(delta), delta[1]], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bj.load_parameters(("GaAs", "InSb"), "jancu1998"), ["share their anion only", "InSb"]),
        (lambda: bj.load_parameters(("GaAs", "GaAs"), "jancu1998"), ["share their anion only"]),
        (lambda: bj.load_parameters(("Si", "GaAs"), "jancu1998"), ["share their anion only", "Si"]),
        (lambda: bj.load_parameters(("ZnSe", "CdSe"), "klimeck2000"), ["valence-band offset", "'ZnSe'", "InSb"]),
        (lambda: bj.load_parameters(("GaAs", "AlAs"), "boykin2004"), ["boykin2004", "no material 'AlAs'"]),
        (
            lambda: bj.tight_binding(
                bj.zincblende("GaAs"), bj.load_parameters(PAIR, "klimeck2000"), composition=[2.0, 0]
            ),
            ["composition", "2"],
        ),
    ],
)
def test_bad_pairs_get_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def labelled_and_mixed(table, composition, **options):
    """H of a GaAs/AlAs slab by labels and, with all cations labelled gallium, by fractions."""
    by_label = bj.graded(MIXED, composition, substrate=5.66)
    gallium = by_label.copy()
    gallium.symbols[::2] = "Ga"
    k = jnp.asarray(K[1])
    return [
        np.asarray(jax.jit(lambda a=a, o=o: bloch_hamiltonian(bj.tight_binding(a, table, **o, **options), k))())
        for a, o in ((by_label, {}), (gallium, {"composition": by_label.arrays["composition"]}))
    ]


@pytest.mark.parametrize(
    "options", [{"spin_orbit": False}, pytest.param({"dangling_shift": 10.0}, marks=pytest.mark.slow)]
)
def test_zeros_and_ones_are_the_labelled_compounds(options):
    table = bj.load_parameters(MIXED, "klimeck2000")
    one, other = labelled_and_mixed(table, np.array([0.0, 1.0, 1.0, 0.0]), **options)
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)
    assert np.abs(one - labelled_and_mixed(table, np.zeros(4), **options)[0]).max() > 0.1


@pytest.mark.slow
def test_mixed_compounds_follow_the_fraction():
    """H is linear in the fraction of one layer at fixed positions, and the anion between two layers feels both."""
    table, atoms = bj.load_parameters(MIXED, "vogl1983"), bj.graded(MIXED, np.zeros(3), substrate=5.66)

    def energies(c):
        return bj.tight_binding(atoms, table, composition=jnp.repeat(c, 2), spin_orbit=False)

    ends = [energies(jnp.array([0.0, x, 0.0])) for x in (0.0, 0.3, 1.0)]
    for name in ("hopping", "onsite"):
        none, some, full = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(getattr(m, name))]) for m in ends)
        np.testing.assert_allclose(some, 0.7 * none + 0.3 * full, atol=1e-12)
        assert np.abs(full - none).max() > 0.1
    s = [float(m.onsite[1][0, 0]) for m in ends]  # of the anion above the first layer: two neighbours of each
    pure = [float(table[f"{m}.E_sa"]) + n * float(table["GaAsAlAs.offset"]) for n, m in enumerate(MIXED)]
    np.testing.assert_allclose([s[0], s[2]], [pure[0], np.mean(pure)], atol=1e-12)


def test_a_stack_of_compounds_has_a_profile():
    table = bj.load_parameters(MIXED, "vogl1983")
    model = bj.stack_model(table, 8, MIXED, spin_orbit=False)(
        {"fraction": 0.5, "upper": 2.0, "lower": 6.0, "interface": 0.05, "a_parallel": 5.653}
    )
    np.testing.assert_allclose(model.composition[::2], [0.0, 0.5, 0.5, 0.0], atol=1e-9)  # cations at depths 7, 5, 3, 1
    with pytest.raises(ValueError, match="`layers` must be even for compounds"):
        bj.stack_model(table, 7, MIXED)
