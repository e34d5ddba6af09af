"""Surfaces: dangling bonds put states into the gap, and passivation takes them out, by raised hybrids or by hydrogen.

Directions of missing bonds come from the hydrogen atoms of `bj.slab`, bulk band edges from the bulk crystal.
"""

import functools

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian, find_layers, layered_hamiltonian
from bandjax.photoemission import stack
from bandjax.spectrum import surface_and_bulk_green

A = 5.431
B1, B2 = 2 * np.pi / A * np.array([1, 1]), 2 * np.pi / A * np.array([-1, 1])
SURFACE_K = np.array([0 * B1, B1 / 2, (B1 + B2) / 2, 0.3 * B1 + 0.2 * B2])  # Γ, J, K and a general point
LAYERS = 24
CLEAR = 0.02  # eV; a state is in the gap when it is this far from the edges


@functools.cache
def table_of(name, *more):
    return bj.load_parameters(("Si", *more) if more else "Si", name)


def levels(atoms, table, k, **options):
    """Eigenvalues and weights on the four outermost layers of either face (and hydrogen), at k in the surface."""

    @jax.jit
    def hamiltonians(k, options):
        model = bj.tight_binding(atoms, table, spin_orbit=False, **options)
        return jax.vmap(lambda q: bloch_hamiltonian(model, q))(k)

    k = np.column_stack([k, np.zeros(len(k))])
    layers = np.array(find_layers(atoms))
    outer = (layers < 4) | (layers >= layers.max() - 3)
    size = [1 if s == "H" else sum({"s": 1, "p": 3, "d": 5, "s*": 1}[t] for t in table.spec.shells_of("Si"))
            for s in atoms.symbols]  # fmt: skip
    rows = np.repeat(outer, size)
    found = []
    for given in options.get("each", [options]):
        e, u = np.linalg.eigh(hamiltonians(jnp.asarray(k), given))
        found.append((e, (np.abs(u) ** 2)[:, rows].sum(axis=1)))
    return found


@functools.cache
def projected_edges(name):
    """Valence-band top and conduction-band bottom at each k of the surface, over all k_z."""
    atoms, table, kz = bj.superlattice(("Si", "Si"), (1, 1)), table_of(name), np.linspace(0, 4 * np.pi / A, 48)
    k = np.array([[*q, z] for q in SURFACE_K for z in kz])
    e = np.asarray(jax.jit(lambda k: bj.bands(bj.tight_binding(atoms, table, spin_orbit=False), k))(k))
    e = e.reshape(len(SURFACE_K), -1, e.shape[-1])
    return e[..., 3].max(1), e[..., 4].min(1)


def in_gap(found, lower, upper):
    """How many states lie between, and how much of the least localised one is at the surface."""
    e, outer = found
    inside = (e > lower + CLEAR) & (e < upper - CLEAR)
    return inside.sum(), outer[inside].min(initial=1.0)


@pytest.mark.parametrize(("name", "states"), [("vogl1983", 2), pytest.param("jancu1998", 6, marks=pytest.mark.slow)])
def test_dangling_bonds_leave_the_gap_when_they_are_raised(name, states):
    top, bottom = projected_edges(name)
    gap = top.max(), bottom.min()  # Γ is among the k: the valence-band top of the crystal
    assert gap[0] == pytest.approx(0.0, abs=0.02) and 1.0 < gap[1] < 1.7
    each = [{"dangling_shift": jnp.asarray(s)} for s in (0.0, 6.0, 30.0)]
    ideal, *raised = levels(bj.slab("Si", LAYERS), table_of(name), SURFACE_K, each=each)
    number, outer = in_gap(ideal, *gap)
    assert number == states and outer > 0.7
    for found in raised:  # both above the 5 eV of Lee et al.
        assert in_gap(found, *gap)[0] == 0
    if name == "vogl1983":  # and not only from the gap of the crystal: from that of every k
        edges = top[:, None], bottom[:, None]
        assert in_gap(ideal, *edges)[0] >= 8
        assert in_gap(raised[0], *edges)[0] == 0
    bonds = 2 * (LAYERS - 1)
    for e, _ in raised:
        assert ((e < gap[0] + CLEAR).sum(axis=1) == bonds).all()  # one state a bond below the gap
    # and the states at the gap hardly see how far the hybrids are raised
    assert np.abs(raised[0][0] - raised[1][0])[0, [bonds - 1, bonds]].max() < 0.05


def test_hydrogen_takes_dangling_bonds_out_of_the_gap():
    top, bottom = projected_edges("jancu1998")
    atoms = bj.slab("Si", LAYERS, hydrogen=1.48)
    (found,) = levels(atoms, table_of("jancu1998", "H"), SURFACE_K)
    assert found[0].shape[1] == 10 * LAYERS + 4
    assert in_gap(found, top.max(), bottom.min())[0] == 0
    # each hydrogen brings one electron: its states count among the filled ones below the gap
    assert ((found[0] < top.max() + CLEAR).sum(axis=1) == 2 * LAYERS + 2).all()


def onsite_change(atoms, table, shift=1.0):
    onsite = jax.jit(lambda s: bj.tight_binding(atoms, table, spin_orbit=False, dangling_shift=s).onsite)
    return [np.asarray(a - b) for a, b in zip(onsite(shift), onsite(0.0), strict=True)]


def hybrids(directions):
    """½ (s + √3 p·n) in the orbitals of sp3s*, one row a direction."""
    n = np.asarray(directions) / np.linalg.norm(directions, axis=1, keepdims=True)
    return np.column_stack([np.ones(len(n)), np.sqrt(3) * n, np.zeros(len(n))]) / 2


def test_what_is_raised_are_the_hybrids_of_missing_bonds():
    atoms, capped = bj.slab("Si", 3), bj.slab("Si", 3, hydrogen=1.48)
    change = onsite_change(atoms, table_of("vogl1983"))
    for atom, ends in ((0, (3, 4)), (2, (5, 6))):
        h = hybrids(capped.positions[list(ends)] - capped.positions[atom])
        np.testing.assert_allclose(change[atom], h.T @ h, atol=1e-12)
    assert not change[1].any()
    vacancy = bj.zincblende("Si", A, cubic=True)
    centre = vacancy.positions[0].copy()
    del vacancy[0]
    change = onsite_change(vacancy, table_of("vogl1983"), 0.5)
    assert sum(c.any() for c in change) == 4
    for atom in np.flatnonzero([c.any() for c in change]):
        away = (centre - vacancy.positions[atom] + A / 2) % A - A / 2
        h = hybrids([away])
        np.testing.assert_allclose(change[atom], 0.5 * h.T @ h, atol=1e-12)


def test_one_neighbour_or_bent_bonds():
    tetrahedron = A / 4 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    bent = tetrahedron + 0.1 * np.random.default_rng(0).normal(size=(5, 3))
    change = onsite_change(ase.Atoms("Si5", bent), table_of("vogl1983"))
    assert not change[0].any()  # four neighbours, however bent
    sp = np.diag([1.0, 1, 1, 1, 0])
    for atom in range(1, 5):
        h = hybrids([bent[0] - bent[atom]])
        np.testing.assert_allclose(change[atom], sp - h.T @ h, atol=1e-12)  # all but the one bond


def test_composition_and_gradients():
    """Of a number made of all on-site elements, in positions, composition and shift: AD and central differences."""
    atoms, table = bj.slab(("Si", "Ge"), (2, 2), vacuum=10.0), bj.load_parameters(("Si", "Ge"), "vogl1983")
    rng = np.random.default_rng(1)
    weights = jnp.asarray(rng.normal(size=(4, 5, 5)))
    start = {
        "positions": jnp.asarray(atoms.positions + 0.05 * rng.normal(size=(4, 3))),
        "dangling_shift": jnp.array([3.0, 0.0, 0.0, 8.0]),
        "composition": jnp.array([0.2, 0.9, 0.5, 0.4]),
    }

    @jax.jit
    @jax.value_and_grad
    def number(p):
        return jnp.sum(weights * jnp.stack(bj.tight_binding(atoms, table, spin_orbit=False, **p).onsite))

    gradient = number(start)[1]
    direction = {n: jnp.asarray(rng.normal(size=a.shape)) for n, a in start.items()}
    step = 1e-4
    for name in start:
        there, back = (number({**start, name: start[name] + s * direction[name]})[0] for s in (step, -step))
        slope = float(jnp.sum(gradient[name] * direction[name]))
        assert slope == pytest.approx(float(there - back) / (2 * step), rel=1e-6) and abs(slope) > 0.1, name
    assert float(jnp.abs(gradient["dangling_shift"][jnp.array([0, 3])]).min()) > 0.01
    assert not gradient["dangling_shift"][1:3].any()  # these have four neighbours


@pytest.mark.slow
def test_hydrogen_and_composition():
    """Hydrogen stays hydrogen where the sites mix, with the bond of its site's label."""
    atoms = bj.slab(("Si", "Ge"), (1, 1, 1), hydrogen=1.48)
    table = bj.load_parameters(("Si", "Ge", "H"), "jancu1998")

    def h(composition):
        model = bj.tight_binding(atoms, table, composition=composition, spin_orbit=False)
        return bloch_hamiltonian(model, jnp.array([0.2, -0.1, 0.4]))

    fractions = np.array([0, 1, 0, 0, 0, 0, 0.0])
    labelled, mixed = jax.jit(lambda: (h(None), h(fractions)))()
    np.testing.assert_allclose(mixed, labelled, atol=1e-12)
    assert mixed.shape == (34, 34) and abs(mixed[0, 30]) > 1


@functools.cache
def surface_spectra():
    """Layer 0 at J above a semi-infinite crystal, energies across the projected gap: ideal, raised."""
    atoms, table = bj.slab("Si", 6), table_of("vogl1983")
    energy = np.linspace(-1.3, 1.75, 160)
    k = np.array([[*SURFACE_K[1], 0.0]])
    layers = find_layers(atoms)

    @jax.jit
    def outermost(shift):
        model = bj.tight_binding(atoms, table, spin_orbit=False, dangling_shift=shift)
        options = {"eta": 0.01, "resolve": "layer", "layers": layers, "substrate": 4}
        return bj.spectral_function(model, k, energy, **options)[0, :, 0]

    top = np.arange(6) == 5  # the lower end is that of the crystal below
    return energy, outermost(0.0 * top), outermost(8.0 * top)


@pytest.mark.slow
def test_surface_by_decimation_shows_the_dangling_bonds():
    energy, ideal, raised = surface_spectra()
    (slab,) = levels(bj.slab("Si", LAYERS), table_of("vogl1983"), SURFACE_K[1:2])
    e, outer = slab[0][0], slab[1][0]
    states = e[(e > -1.3) & (e < 1.75) & (outer > 0.9)]
    assert len(states) == 4  # two on either face
    peaks = energy[1:-1][(ideal[1:-1] > ideal[:-2]) & (ideal[1:-1] > ideal[2:]) & (ideal[1:-1] > 5)]
    np.testing.assert_allclose(peaks, states.reshape(2, 2).mean(1), atol=0.02)  # one step of the energies
    step = energy[1] - energy[0]
    assert ideal.sum() * step > 1.2  # most of two states
    assert raised.max() < 0.2 and raised.sum() * step < 0.1  # the tails of the bands


@pytest.mark.slow
def test_superlattice_by_decimation_is_the_integral_over_kz():
    atoms, table = bj.superlattice(("Si", "Ge"), (1, 3)), bj.load_parameters(("Si", "Ge"), "vogl1983")
    energy, k = jnp.linspace(-11.0, 6.0, 7), jnp.asarray([*SURFACE_K[3], 0.0])
    gamma, layers = jnp.full(7, 0.3), find_layers(atoms)

    @jax.jit
    def both(kz):
        model = bj.tight_binding(atoms, table, spin_orbit=False)
        _, bulk = surface_and_bulk_green(layered_hamiltonian(model, k, layers), energy, gamma)
        many = jnp.broadcast_to(k, (len(kz), 3)).at[:, 2].set(kz)
        a = bj.spectral_function(model, many, energy, eta=0.3, resolve="atom", method="eigh")
        return -jnp.einsum("iie->e", bulk).imag / jnp.pi, a.mean(0)[:, -1]  # layer 0 is the topmost atom

    period = atoms.cell[2, 2]
    found, expected = both(2 * np.pi / period * np.arange(64) / 64)
    np.testing.assert_allclose(found, expected, atol=1e-6 * float(expected.max()))


@pytest.mark.slow
def test_layers_of_a_hydrogenated_slab():
    atoms, table = bj.slab("Si", 5, hydrogen=1.48), table_of("jancu1998", "H")
    layers = find_layers(atoms)
    assert layers == (4, 3, 2, 1, 0, 4, 4, 0, 0)
    k, energy = np.array([[0.1, 0.2, 0.0]]), np.linspace(-12, 8, 7)

    @jax.jit
    def by_layer(k):
        model = bj.tight_binding(atoms, table, spin_orbit=False)
        options = {"resolve": "layer", "layers": layers, "eta": 0.2}
        return [bj.spectral_function(model, k, energy, method=m, **options) for m in ("layered", "eigh")]

    layered, eigh = by_layer(k)
    np.testing.assert_allclose(layered, eigh, atol=1e-10 * float(eigh.max()))


@pytest.mark.slow
def test_hydrogen_does_not_interfere_where_all_orbitals_emit_alike():
    atoms = bj.slab("Si", 5, hydrogen=1.48)
    model = bj.tight_binding(atoms, table_of("jancu1998", "H"), spin_orbit=False)
    amplitudes = stack._alike(model, find_layers(atoms)) > 0
    hydrogen = atoms.symbols[model.topology.atom_of()] == "H"
    assert (amplitudes.sum(axis=0) == 1).all()
    assert (amplitudes[:, hydrogen].any(axis=1) ^ amplitudes[:, ~hydrogen].any(axis=1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("coherent", [True, False])
def test_emission_of_a_hydrogenated_slab_is_counted_in_cells_of_the_crystal(coherent):
    """Its integral over energy is the number of orbitals of a cell, plus those of hydrogen, each seen through its depth."""
    atoms = bj.slab("Si", 5, hydrogen=1.48)
    model = bj.tight_binding(atoms, table_of("jancu1998", "H"), spin_orbit=False)
    instrument = bj.Instrument(photon_energy=100.0, escape_depth=6.0, matrix_elements="uniform")
    t = (np.arange(3000) + 0.5) / 3000 * np.pi - np.pi / 2  # E = 8 tan t: the integral over all energies

    @jax.jit
    def spectrum(x):
        k = jnp.array([0.1, 0.2, 0.3])
        gamma = jnp.full(x.shape, 0.5)
        return stack.stack_spectrum(model, instrument, find_layers(atoms), k, 100.0, x, gamma, coherent=coherent)[0]

    integral = (spectrum(jnp.asarray(8 * np.tan(t))) * 8 / np.cos(t) ** 2).sum() * np.pi / 3000
    seen = np.exp((atoms.positions[:, 2] - atoms.positions[:, 2].max()) / 6.0)
    silicon, hydrogen = seen[atoms.symbols == "Si"].sum(), seen[atoms.symbols == "H"].sum()
    assert float(integral) == pytest.approx(2 * (10 * silicon + hydrogen) / silicon, rel=1e-5)


def broken(atoms):
    del atoms[0]
    return atoms


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: bj.tight_binding(bj.slab("Si", 4, hydrogen=1.5), table_of("vogl1983")),
            ["lacks 'H' (atom 4)", "('Si', 'H')", "`dangling_shift`"],
        ),
        (lambda: bj.load_parameters(("Si", "H"), "vogl1983"), ["vogl1983", "hydrogen", "has none", "dangling_shift"]),
        (lambda: bj.load_parameters(("Ge", "H"), "jancu1998"), ["('Ge', 'H')", "those of Si only"]),
        (lambda: bj.load_parameters(("H", "Si"), "jancu1998"), ["('H', 'Si')"]),
        (
            lambda: bj.tight_binding(broken(bj.zincblende("Si", A, cubic=True)), table_of("vogl1983")),
            ["must have 4 neighbours", "atom", "(Si) has 3", "and 1 more are wrong", "`dangling_shift`"],
        ),
        (
            lambda: bj.tight_binding(bj.slab("Si", 4, hydrogen=1.2), table_of("jancu1998", "H")),
            ["must have a neighbour", "Si-H 1.480", "atom 4 (H)"],
        ),
        (
            lambda: bj.tight_binding(bj.slab("Si", 4), table_of("vogl1983"), dangling_shift=-1.0),
            ["`dangling_shift`", "≥ 0 (in eV)", "-1"],
        ),
        (
            lambda: bj.tight_binding(bj.slab("Si", 4), table_of("vogl1983"), dangling_shift=[1.0, 2.0]),
            ["`dangling_shift`", "(4,)", "(2,)"],
        ),
        (
            lambda: bj.tight_binding(
                bj.graphene(), bj.load_parameters("graphene", "pz"), spin_orbit=False, dangling_shift=1.0
            ),
            ["`dangling_shift`", "pz of graphene", "no sp3 hybrids"],
        ),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words) and "\n" not in text, text


def test_too_many_neighbours():
    atoms = bj.zincblende("Si", A, cubic=True)
    atoms += ase.Atoms("Si", positions=[atoms.positions[1] + [-0.5 * A, 0.05, 0.02]])
    atoms.positions[-1] = atoms.positions[0] + [0, 0, A / 2 - 0.4]
    with pytest.raises(ValueError, match=r"must have 4 neighbours, but atom \d+ \(Si\) has 5"):
        bj.tight_binding(atoms, table_of("vogl1983"))
