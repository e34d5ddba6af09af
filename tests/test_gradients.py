"""First derivatives are exact: backward = forward = central difference, at degenerate k too; second ones raise.

Central differences of step h have an error ~ (h/γ)² of the derivative and ~ ε_mach/h of the value: with h = 2e-5 eV,
γ = 0.2 eV and values of order 10 both stay near 1e-8. Every comparison is relative to the largest component, and that
component is checked to be far from zero.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from crystals import CASES, GENERIC, PUBLISHED, SYMMETRIC, build, length_unit, name_of, structure

from bandjax.hamiltonian import bloch_hamiltonian, tight_binding
from bandjax.materials import Table, list_parameters, load_parameters
from bandjax.spectrum import bands, density_of_states, from_cubic, lorentzians, spectral_function, velocities
from bandjax.structure import zincblende

STEP = 2e-5
ETA = 0.2
ENERGY = np.linspace(-6.0, 8.0, 9)
DIFFERENCE = 1e-6  # of the largest component: what central differences give, see above
FORWARD = 1e-9  # the same rule forwards and backwards: rounding only
SINGLE = 1e-3  # float32: ε_mach 1e-7 over a group gap of 5e-3 γ


def gradient_checks(f, x, direction):
    """Gradient of f at x, its product with a direction, that product forwards, and central differences; x is flat."""
    gradient = jax.grad(f)(x)
    forward = jax.jvp(f, (x,), (direction,))[1]
    shifts = STEP * jnp.eye(x.size, dtype=x.dtype)
    both = jax.lax.map(f, jnp.concatenate([x + shifts, x - shifts]))
    return gradient, forward, (both[: x.size] - both[x.size :]) / (2 * STEP)


def assert_consistent(f, x, least=1e-2):
    """The claim of this file, for a scalar function of a flat array; returns the gradient."""
    x = jnp.asarray(x)
    direction = jnp.asarray(np.random.default_rng(5).normal(size=x.size))
    gradient, forward, difference = jax.jit(gradient_checks, static_argnums=0)(f, x, direction)
    scale = float(jnp.abs(difference).max())
    assert np.isfinite(gradient).all() and np.isfinite(forward)
    assert scale > least, "the derivative vanishes: nothing is tested"
    np.testing.assert_allclose(gradient, difference, rtol=0, atol=DIFFERENCE * scale)
    np.testing.assert_allclose(forward, gradient @ direction, rtol=0, atol=FORWARD * scale * x.size)
    return gradient


def random_weights(shape, seed=3):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def weighted(atoms, table, k, **options):
    """Randomly weighted A(k, E) of every orbital, as a function of the table's values in a flat array."""
    names, spec = list(table.values), table.spec
    size = sum(len(build_shells(spec, s)) for s in atoms.arrays.get("site", atoms.get_chemical_symbols()))
    weights = random_weights((len(k), ENERGY.size, size))

    def f(flat):
        values = Table(dict(zip(names, flat, strict=True)), spec)
        model = tight_binding(atoms, values, spin_orbit=bool(spec.spin_orbit))
        energy = jnp.asarray(ENERGY, flat.dtype)
        a = spectral_function(model, jnp.asarray(k, flat.dtype), energy, eta=ETA, resolve="orbital", **options)
        return jnp.sum(weights.astype(flat.dtype) * a)

    return f, jnp.stack(list(table.values.values()))


def build_shells(spec, species):
    """Names of a species' orbitals."""
    counts = {"p": 3, "d": 5, "eg": 2}
    return [shell for shell in spec.shells_of(str(species)) for _ in range(counts.get(shell, 1))]


def degenerate_k(atoms):
    """Γ, X, L, a point on Δ and one on Λ, or their counterparts in a layer."""
    return from_cubic(SYMMETRIC, length_unit(atoms))


def slow_unless(quick, *values):
    """A row of parameters, left to the slow run where it is not quick."""
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)


# One of each kind of table: sp3s*, sp3d5s* with and without on-site strain terms in the slow run
ONE_PER_TABLE = [
    ("Si", "vogl1983"),
    ("InAs", "boykin2004"),
    ("bilayer graphene", "pz"),
    ("square", "single_orbital"),
    ("square", "two_orbital"),
]


@pytest.mark.parametrize("case", [slow_unless(c in ONE_PER_TABLE, c) for c in CASES], ids=name_of)
def test_every_value_of_a_table_at_degenerate_k(case):
    atoms, table, _ = build(*case)
    assert_consistent(*weighted(atoms, table, degenerate_k(atoms)))


@pytest.mark.slow
@pytest.mark.parametrize("entry", list_parameters(), ids=lambda e: f"{e.material}-{e.table}".replace(" ", "_"))
def test_every_value_of_every_table(entry):
    table = load_parameters(entry.material, entry.table)
    atoms = structure(entry.material, table)
    k = np.concatenate([degenerate_k(atoms), from_cubic(GENERIC, length_unit(atoms))])
    assert_consistent(*weighted(atoms, table, k))


@pytest.mark.parametrize("case", [slow_unless(c == ("square", "two_orbital"), c) for c in CASES], ids=name_of)
def test_single_precision(case):
    """A float32 table gives a float32 model, spectrum and gradient."""
    atoms, table, _ = build(*case)
    f, x = weighted(atoms, table, degenerate_k(atoms))
    (_, exact), (value, single) = (jax.jit(jax.value_and_grad(f))(x.astype(t)) for t in (jnp.float64, jnp.float32))
    assert value.dtype == single.dtype == jnp.float32
    np.testing.assert_allclose(single, exact, rtol=0, atol=SINGLE * float(jnp.abs(exact).max()))


@pytest.mark.parametrize("case", [CASES[i] for i in (0, 3, 4, 5, 9)], ids=name_of)
def test_single_precision_goes_through_the_model(case):
    atoms, table, model = build(*case)
    single = jax.tree.map(lambda v: v.astype(jnp.float32), table)
    made = tight_binding(atoms, single, spin_orbit=model.topology.spin_orbit)
    assert {x.dtype for x in jax.tree.leaves(made)} <= {np.dtype("float32"), np.dtype("complex64")}
    assert bands(made, np.zeros((1, 3))).dtype == jnp.float32


@functools.cache
def silicon():
    _, _, model = build("Si", "vogl1983")
    return model


def spectrum_of_everything_else(x):
    """A(k, E) of silicon as a function of k, energies, η, self-energy and a complex amplitude, in one flat array."""
    model = silicon()
    k = jnp.asarray(from_cubic([[0, 0, 0], [1, 0, 0], [0.2, 0.2, 0.2]], 5.431))
    k, x = k + x[:9].reshape(3, 3), x[9:]
    energy, x = jnp.linspace(-3.0, 4.0, 5) + x[:5], x[5:]
    eta, a, b, c, x = ETA + x[0], x[1], x[2], x[3], x[4:]
    v = (x[: 3 * model.n_orbital] + 1j * x[3 * model.n_orbital :]).reshape(3, model.n_orbital)
    rng = np.random.default_rng(7)
    v = v + rng.normal(size=v.shape) + 1j * rng.normal(size=v.shape)

    def self_energy(e):
        return (0.1 + a) * e - 1j * (0.03 + b + (0.02 + c) * e**2)

    spectrum = spectral_function(model, k, energy, eta=eta, self_energy=self_energy, amplitude=v)
    trace = spectral_function(model, k, energy, eta=eta, self_energy=self_energy, resolve="atom")
    return jnp.sum(random_weights((3, 5)) * spectrum) + jnp.sum(random_weights((3, 5, 2), 4) * trace)


def test_momentum_energy_width_self_energy_and_amplitude():
    size = 9 + 5 + 4 + 2 * 3 * silicon().n_orbital
    gradient = assert_consistent(spectrum_of_everything_else, jnp.zeros(size))
    for part in (slice(0, 9), slice(9, 14), *(slice(i, i + 1) for i in range(14, 18)), slice(18, None)):
        assert np.abs(gradient[part]).max() > 1e-2, part


STRAIN = np.array([[0.01, 0.004, 0], [0.004, -0.005, 0.002], [0, 0.002, 0.003]])


@pytest.mark.parametrize(
    ("material", "table", "law", "strain"),
    [
        slow_unless(quick, *row, strain)
        for row, strain, quick in (
            (("Si", "niquet2009", "table"), 0, False),
            (("Si", "niquet2009", "table"), 1, False),
            (("Si", "boykin2004", "table"), 0, False),
            (("Si", "boykin2004", "table"), 1, True),
            (("GaAs", "klimeck2000", "harrison"), 0, True),
            (("GaAs", "klimeck2000", "harrison"), 1, False),
            ((("Si", "Ge"), "niquet2009", "table"), 0, False),
            ((("Si", "Ge"), "niquet2009", "table"), 1, False),
        )
    ],
    ids=str,
)
def test_positions_and_cell(material, table, law, strain):
    """At Γ and off symmetry, in the cubic and in a strained crystal; a step of 2e-5 Å moves levels by ~1e-4 eV."""
    values = load_parameters(material, table)
    atoms = structure(material, values)
    turn = np.eye(3) + strain * STRAIN
    atoms.set_cell(np.asarray(atoms.cell) @ turn.T, scale_atoms=True)
    k = np.array([[0, 0, 0], [0.41, -0.13, 0.27]])

    def f(x):
        positions, cell = x[:6].reshape(2, 3), x[6:].reshape(3, 3)
        model = tight_binding(atoms, values, positions=positions, cell=cell, spin_orbit=False, distance_law=law)
        a = spectral_function(model, k, ENERGY, eta=0.4, resolve="orbital")
        return jnp.sum(random_weights(a.shape) * a)

    x = np.concatenate([atoms.positions.ravel(), np.asarray(atoms.cell).ravel()])
    gradient = assert_consistent(f, x)[:6].reshape(2, 3)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-9 * float(jnp.abs(gradient).max()))  # no net force


@pytest.mark.slow
def test_exponents_of_a_strained_crystal():
    """The distance laws' constants have a derivative only away from the reference geometry."""
    values = load_parameters("Si", "niquet2009")
    atoms = zincblende("Si", 5.431)
    atoms.set_cell(np.asarray(atoms.cell) @ (np.eye(3) + STRAIN).T, scale_atoms=True)
    f, x = weighted(atoms, values, np.array([[0, 0, 0], [0.41, -0.13, 0.27]]))
    gradient = dict(zip(values.values, assert_consistent(f, x), strict=True))
    assert all(abs(g) > 0 for g in gradient.values())


@pytest.mark.parametrize("q", [0.0, 1e-9, 1e-6, 1e-3])
def test_graphene_at_the_crossing(q):
    """At and near K the amplitude's spectrum is linear in k; eigenvectors jump there, the spectrum does not."""
    _, _, model = build("graphene", "pz")
    corner = np.array([4 * np.pi / (3 * 2.46), q, 0])
    v = np.array([[1.0, 0.5 + 0.3j]])
    energy = np.linspace(-1, 1, 7)

    def f(x, method="eigh"):
        a = spectral_function(model, x[None], energy, eta=0.1, amplitude=v, method=method)
        return jnp.sum(random_weights((1, 7)) * a)

    gradient, oracle = (jax.jit(jax.grad(f), static_argnums=1)(corner, method) for method in ("eigh", "solve"))
    assert np.abs(oracle[:2]).max() > 1
    np.testing.assert_allclose(gradient, oracle, rtol=0, atol=1e-8 * float(np.abs(oracle).max()))


@functools.cache
def whole_gradient(case):
    """Value and gradient of a table's spectrum in one piece."""
    atoms, table, _ = build(*case)
    f, x = weighted(atoms, table, degenerate_k(atoms))
    return jax.jit(jax.value_and_grad(f))(x)


@pytest.mark.parametrize("case", [slow_unless(True, PUBLISHED[1]), slow_unless(False, PUBLISHED[4])], ids=name_of)
def test_gradient_is_that_of_inversion(case):
    """Without any step: the gradient through z − H inverted, which knows no eigenvectors."""
    atoms, table, _ = build(*case)
    g, x = weighted(atoms, table, degenerate_k(atoms), method="solve")
    gradient, oracle = whole_gradient(case)[1], jax.jit(jax.grad(g))(x)
    np.testing.assert_allclose(gradient, oracle, rtol=0, atol=1e-9 * float(jnp.abs(oracle).max()))


@pytest.mark.slow
def test_both_ways_through_the_projectors_agree(monkeypatch):
    """Few projectors and many take two ways to one derivative; at Γ, with levels left out of the sum."""
    atoms, table, _ = build("GaAs", "klimeck2000")
    x = jnp.linspace(-12.0, 12.0, 40)
    gamma, k = jnp.full(40, 0.1), jnp.zeros(3)
    weights = random_weights((2, 20))

    def f(values):
        model = tight_binding(atoms, table.replace(**dict(zip(table.values, values, strict=True))))
        return lorentzians.weighted_lorentzians(bloch_hamiltonian(model, k), weights, x, gamma, (0, 10))

    start = jnp.array(list(table.values.values()))
    by_projector = jax.jacfwd(f)(start)
    monkeypatch.setattr(lorentzians, "FEW", 1)
    by_orbital = jax.jacfwd(f)(start)
    assert jnp.abs(by_projector).max() > 1
    np.testing.assert_allclose(by_projector, by_orbital, rtol=0, atol=1e-12 * float(jnp.abs(by_orbital).max()))


@pytest.mark.slow
def test_many_tables_at_once():
    atoms, table, _ = build("Si", "vogl1983")
    f, x = weighted(atoms, table, degenerate_k(atoms))
    many = x + 0.02 * random_weights((3, x.size))
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(f)))(many)
    one_by_one = [jax.jit(jax.value_and_grad(f))(row) for row in many]
    np.testing.assert_allclose(value, [v for v, _ in one_by_one], rtol=1e-12)
    np.testing.assert_allclose(gradient, [g for _, g in one_by_one], rtol=0, atol=1e-9 * np.abs(gradient).max())
    assert np.ptp(value) > 1e-3


@pytest.mark.parametrize("budget", [slow_unless(False, 1.0), 40e3])
def test_chunks_have_the_same_gradient(budget):
    """Chunks that do not divide the number of items; one item at a time, which the next test takes too."""
    atoms, table, _ = build(*PUBLISHED[1])
    pieces, x = weighted(atoms, table, degenerate_k(atoms), budget=budget)
    (value, gradient), (expected, slope) = jax.jit(jax.value_and_grad(pieces))(x), whole_gradient(PUBLISHED[1])
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-10 * float(jnp.abs(slope).max()))


def test_density_of_states_in_chunks():
    atoms, table, _ = build("Si", "vogl1983")

    def f(flat, budget=None):
        model = tight_binding(atoms, Table(dict(zip(table.values, flat, strict=True)), table.spec), spin_orbit=False)
        return jnp.sum(random_weights(9) * density_of_states(model, ENERGY, eta=ETA, grid=(2, 2, 2), budget=budget))

    x = jnp.stack(list(table.values.values()))
    whole, pieces = assert_consistent(f, x), jax.jit(jax.grad(functools.partial(f, budget=1.0)))(x)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-11)


def test_second_derivatives_raise():
    atoms, table, model = build("Si", "vogl1983")
    f, x = weighted(atoms, table, degenerate_k(atoms)[:2])
    direction = jnp.ones_like(x)

    def energy(flat):
        made = tight_binding(atoms, Table(dict(zip(table.values, flat, strict=True)), table.spec))
        return bands(made, np.zeros((1, 3))).sum()

    def amplitude(q):
        return spectral_function(model, q[None], ENERGY, eta=ETA, amplitude=np.ones((1, model.n_orbital))).sum()

    for function, at in ((f, x), (energy, x), (amplitude, jnp.zeros(3))):
        along = direction[: at.size]
        with pytest.raises(TypeError, match="first derivative only"):
            jax.jvp(jax.jit(jax.grad(function)), (at,), (along,))
        with pytest.raises(TypeError, match="first derivative only"):
            jax.jit(jax.grad(lambda y, g=function, d=along: jax.jvp(g, (y,), (d,))[1]))(at)


@pytest.mark.parametrize("case", [("GaAs", "jancu1998"), ("graphene", "pz"), ("square", "two_orbital")], ids=name_of)
def test_velocities_are_slopes_of_bands(case):
    _, _, model = build(*case)
    k, d, h = np.array([[0.31, -0.22, 0.17]]), np.array([1.0, 2.0, -0.5]), 1e-4
    d /= np.linalg.norm(d)
    slope = (bands(model, k + h * d) - bands(model, k - h * d)) / (2 * h)
    found = velocities(model, k, 3 * d)
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-6 * float(jnp.abs(slope).max()))
    tangent = jax.jvp(lambda q: bands(model, q), (k,), (d[None],))[1]
    np.testing.assert_allclose(found, tangent, rtol=0, atol=1e-10)
    assert float(jnp.abs(slope).max()) > 0.5
