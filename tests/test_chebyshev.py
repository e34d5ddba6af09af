"""The expansion is exact: moments are those of the eigenvalues, kernels have the stated resolution, derivatives follow."""

import functools

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bandjax.hamiltonian import apply_sparse, bloch_hamiltonian, bond_phases, sparse_hamiltonian, tight_binding
from bandjax.hamiltonian.sparse import to_channels
from bandjax.materials import load_parameters, load_table
from bandjax.spectrum import chebyshev_expansion, spectral_function, unfolded_bands, unfolded_spectral_function
from bandjax.spectrum.chebyshev import item_bytes
from bandjax.spectrum.expansion import Expansion, choose, jackson_series, lorentzian_series, series_of
from bandjax.spectrum.moments import chebyshev_moments
from bandjax.structure import alloy, slab, zincblende

K = np.array([[0.0, 0.0, 0.0], [0.3, 0.2, -0.7]])
ENERGY = np.linspace(-14.0, 9.0, 12)
ATOMS = zincblende("Si", 5.5).repeat((2, 1, 1))
TABLE = load_parameters(("Si", "Ge"), "vogl1983")
COMPOSITION = np.array([0.1, 0.9, 0.4, 0.6])
ETA = 0.5
WIDE = Expansion(-14.0, 14.0, 400)


@functools.cache
def mixed():
    return tight_binding(ATOMS, TABLE, composition=COMPOSITION, spin_orbit=False)


@functools.cache
def free_slab():
    """Atoms with fewer than four neighbours, with spin."""
    return tight_binding(slab("Si", 3, vacuum=10.0), load_parameters("Si", "vogl1983"))


@functools.cache
def expansion():
    return chebyshev_expansion(mixed(), eta=ETA, k=K, tolerance=1e-12, margin=0.05)


@functools.cache
def eigenvectors(k):
    return jax.jit(lambda q: jnp.linalg.eigh(bloch_hamiltonian(mixed(), q)))(jnp.asarray(K[k]))


def vectors(model, count=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, model.n_orbital)) + 1j * rng.normal(size=(count, model.n_orbital))


@pytest.mark.parametrize(
    "model", [pytest.param(mixed, marks=pytest.mark.slow), free_slab], ids=["alloy", "slab with spin"]
)
def test_the_sparse_product_is_that_of_the_full_matrix(model):
    model = model()
    v, k = vectors(model), jnp.asarray(K[1])

    @jax.jit
    def both(v):
        h = sparse_hamiltonian(model)
        product = apply_sparse(h, bond_phases(h, k), to_channels(model, k, v))
        return product, to_channels(model, k, (bloch_hamiltonian(model, k) @ v.T).T)

    found, expected = both(v)
    assert float(jnp.abs(expected).max()) > 10
    np.testing.assert_allclose(found, expected, atol=1e-13 * float(jnp.abs(expected).max()))


UNEQUAL = """
convention = "general"
lattice_constant = 5.5
values = { s = -1.0, p = 2.0, ss = -1.5, sp = 0.7 }
orbitals = { X = ["s"], Y = ["s", "p"] }
onsite = { X = { s = { s = 1 } }, Y = { s = { s = 1 }, p = { p = 1 } } }
[[bonds]]
pair = ["X", "Y"]
length = 2.4
integrals = [
  { shells = ["s", "s"], symmetry = "sigma", value = { ss = 1 } }, { shells = ["s", "p"], symmetry = "sigma", value = { sp = 1 } }
]
"""


@pytest.mark.slow
def test_atoms_with_fewer_orbitals_are_padded(tmp_path):
    """One orbital on X, four on Y."""
    (tmp_path / "unequal.toml").write_text(UNEQUAL, encoding="utf-8")
    atoms = ase.Atoms(zincblende("GaAs", 5.5))
    atoms.set_array("site", np.array(["X", "Y"]))
    model = tight_binding(atoms, load_table(tmp_path / "unequal.toml"), spin_orbit=False)
    options = {"eta": ETA, "resolve": "orbital"}
    found = spectral_function(model, K, ENERGY, method="chebyshev", **options)
    expected = spectral_function(model, K, ENERGY, method="eigh", **options)
    assert found.shape == (2, 12, 5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * float(expected.max()))  # the default tolerance


def test_moments_are_those_of_the_eigenvalues():
    model, plan, v, k = mixed(), expansion(), vectors(mixed()), jnp.asarray(K[1])

    @jax.jit
    def moments(v):
        h = sparse_hamiltonian(model)
        eye = jnp.eye(h.onsite.shape[-1])
        h = h._replace(onsite=(h.onsite - plan.centre * eye) / plan.half, hopping=h.hopping / plan.half)
        return chebyshev_moments(h, bond_phases(h, k), to_channels(model, k, v), 60)

    eps, u = eigenvectors(1)
    weight = np.abs(v @ u.conj()) ** 2
    expected = np.cos(np.arange(60)[:, None] * np.arccos((eps - plan.centre) / plan.half)) @ weight.T
    np.testing.assert_allclose(moments(v), expected, atol=1e-12 * float(weight.sum(axis=1).max()))


def sigma(e):
    return 0.1 * e - 0.05j * (1 + 0.01 * e**2)


@pytest.mark.parametrize("resolve", ["orbital", pytest.param("atom", marks=pytest.mark.slow), None])
def test_agrees_with_diagonalisation(resolve):
    options = {"eta": ETA, "resolve": resolve, "self_energy": sigma}
    found = spectral_function(mixed(), K, ENERGY, method="chebyshev", expansion=expansion(), **options)
    expected = spectral_function(mixed(), K, ENERGY, method="eigh", **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * float(expected.max()))


def test_tolerance_bounds_the_error():
    """The promised error relative to a line's height is kept, and not by using far too many moments."""
    eps, gamma = jnp.linspace(-1.9, 1.9, 39), jnp.full(201, 0.05)
    x = jnp.linspace(-2.5, 2.5, 201)
    for tolerance in (1e-3, 1e-6):
        plan = Expansion(-2.0, 2.0, int(np.ceil(2 / 0.05 * np.log(2 / tolerance))))
        series = lorentzian_series(x, gamma, plan)
        lines = series @ jnp.cos(jnp.arange(plan.count)[:, None] * jnp.arccos((eps - plan.centre) / plan.half))
        exact = gamma[:, None] / np.pi / ((x[:, None] - eps) ** 2 + gamma[:, None] ** 2)
        error = float(jnp.abs(lines - exact).max()) * np.pi * 0.05
        assert tolerance / 100 < error < tolerance


@pytest.mark.parametrize("width", [pytest.param(0.05, marks=pytest.mark.slow), 0.2])
def test_the_jackson_kernel_has_the_stated_width(width):
    """Positive, of weight 1, and of standard deviation σ at every energy but the last few σ of the window."""
    plan = Expansion(-13.0, 12.0, 2 * int(np.ceil(np.pi * 12.5 / width / 2)))
    level = np.array([-11.0, -7.0, -0.5, 4.0, 10.5])
    x = np.linspace(-12.9, 11.9, 6001)
    series = np.asarray(jackson_series(jnp.asarray(x), jnp.asarray(width), plan))
    lines = series @ np.cos(np.arange(plan.count)[:, None] * np.arccos((level - plan.centre) / plan.half))
    assert lines.min() > -1e-9 * lines.max()
    step = x[1] - x[0]
    near = np.abs(x[:, None] - level) < 6 * width  # tails beyond hold little weight, but far out
    weight = np.where(near, lines, 0).sum(axis=0) * step
    spread = np.sqrt((np.where(near, lines, 0) * (x[:, None] - level) ** 2).sum(axis=0) * step / weight)
    np.testing.assert_allclose(weight, 1, atol=0.02)
    np.testing.assert_allclose(spread, width, rtol=0.05)


@pytest.mark.slow
def test_unfolding_by_expansion():
    small = zincblende("Si", 5.5)
    options = {"eta": ETA, "resolve": "orbital"}
    found = unfolded_spectral_function(mixed(), small, K, ENERGY, method="chebyshev", expansion=expansion(), **options)
    expected = unfolded_spectral_function(mixed(), small, K, ENERGY, method="eigh", **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * float(expected.max()))


@pytest.mark.slow
def test_derivatives_of_moments():
    """The recursion run backwards is the transpose of the tangents, and both follow a central difference."""
    h, k, rng = sparse_hamiltonian(mixed()), jnp.asarray(K[1]), np.random.default_rng(3)
    arrays = (h.onsite / 20, h.hopping / 20, bond_phases(h, k), to_channels(mixed(), k, vectors(mixed(), 2)))
    d = tuple(jnp.asarray(0.1 * rng.normal(size=np.shape(a))) for a in arrays)
    d = (d[0] + jnp.swapaxes(d[0], 1, 2), arrays[1] * 0.3, jnp.zeros_like(d[2]), d[3])  # H stays Hermitian
    weight = rng.normal(size=(12, 2))

    @jax.jit
    def f(t):
        onsite, hopping, phase, x = (a + t * b for a, b in zip(arrays, d, strict=True))
        return jnp.sum(weight * chebyshev_moments(h._replace(onsite=onsite, hopping=hopping), phase, x, 12))

    reverse, (_, forward) = jax.jit(jax.grad(f))(0.0), jax.jit(lambda t: jax.jvp(f, (t,), (1.0,)))(0.0)
    step = 1e-4
    difference = (f(step) - f(-step)) / (2 * step)
    assert abs(difference) > 0.1
    np.testing.assert_allclose([forward, reverse], difference, rtol=1e-6)
    with pytest.raises(TypeError, match="first derivative only"):
        jax.grad(jax.grad(f))(0.0)


@pytest.mark.slow
def test_derivatives():
    """Forward = reverse = central difference, at Γ too; in composition, positions, cell, k, energy, width, amplitude."""
    rng = np.random.default_rng(1)
    v, weight = vectors(mixed(), 2), rng.normal(size=(2, ENERGY.size))
    x = (COMPOSITION, ATOMS.positions, np.asarray(ATOMS.cell), K, ENERGY, np.full(ENERGY.size, 0.6), v)
    d = tuple(0.3 * rng.normal(size=np.shape(a)) for a in x)

    @jax.jit
    def f(t):
        c, positions, cell, k, energy, eta, v = (a + t * b for a, b in zip(x, d, strict=True))
        m = tight_binding(ATOMS, TABLE, positions=positions, cell=cell, composition=c, spin_orbit=False)
        options = {"method": "chebyshev", "expansion": expansion()}
        return jnp.sum(weight * spectral_function(m, k, energy, eta=eta, amplitude=v, **options))

    reverse, (_, forward) = jax.jit(jax.grad(f))(0.0), jax.jit(lambda t: jax.jvp(f, (t,), (1.0,)))(0.0)
    step = 1e-4
    difference = (f(step) - f(-step)) / (2 * step)
    assert abs(difference) > 0.1
    np.testing.assert_allclose([forward, reverse], difference, rtol=1e-6)


def gradient_of_moments(count):
    """Compiled gradient of a sum over moments, in every block and vector."""
    h = sparse_hamiltonian(mixed())
    phase, x = bond_phases(h, jnp.asarray(K[1])), to_channels(mixed(), jnp.asarray(K[1]), vectors(mixed(), 64))

    def f(onsite, hopping, phase, x):
        return (chebyshev_moments(h._replace(onsite=onsite, hopping=hopping), phase, x, count) ** 2).sum()

    return jax.jit(jax.grad(f, (0, 1, 2, 3))).lower(h.onsite / 20, h.hopping / 20, phase, x).compile()


@pytest.mark.slow
def test_a_gradient_does_not_store_the_recursion():
    few, many = (gradient_of_moments(count).memory_analysis().temp_size_in_bytes for count in (20, 400))
    vector = mixed().n_orbital * 2 * 64 * 8  # bytes
    assert many - few < 190 * vector / 4  # the moments grow, which are a vector's 40th here; 190 vectors are not stored


@pytest.mark.slow
def test_a_trace_by_random_vectors():
    """Within four standard errors of the exact trace, by their own spread; other keys differ."""
    small = expansion()
    options = {"eta": ETA, "method": "chebyshev", "expansion": small, "samples": 8}
    found = np.stack(
        [spectral_function(mixed(), K[1:], ENERGY, key=jax.random.key(i), **options)[0] for i in range(12)]
    )
    exact = np.asarray(spectral_function(mixed(), K[1:], ENERGY, eta=ETA)[0])
    error = found.std(axis=0, ddof=1) / np.sqrt(12)
    assert (error > 1e-3 * exact.max()).any()
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - exact), 4 * error + 1e-9)


@pytest.mark.slow
def test_a_window_that_is_too_narrow_shows():
    wide = expansion()
    narrow = Expansion(wide.low + 3, wide.high - 3, wide.count)
    v = vectors(mixed(), 2)
    a = spectral_function(mixed(), K, ENERGY, eta=ETA, amplitude=v, method="chebyshev", expansion=narrow)
    assert np.isnan(np.asarray(a)).all()


def test_too_few_moments_for_a_traced_width_show():
    """Energies whose line is too narrow are NaN, at the number of moments where plain widths are refused; others are not."""
    few, energy = Expansion(-13.0, 12.0, 400), jnp.asarray(ENERGY)
    least = np.log(1e3 * 2) * few.half / few.count  # 0.2375 eV
    eta = np.where(np.arange(energy.size) % 2, 1.01, 0.99) * least
    series = jax.jit(lambda eta: series_of(mixed(), K, energy, eta, None, None, few)[1])(eta)
    np.testing.assert_array_equal(np.isnan(series), np.broadcast_to((eta < least)[:, None], series.shape))
    with pytest.raises(ValueError, match="at least 405 moments"):
        series_of(mixed(), K, energy, eta, None, None, few)
    series_of(mixed(), K, energy, eta + 0.02 * least, None, None, few)


@pytest.mark.slow
def test_single_precision():
    table, cell = jax.tree.map(lambda a: a.astype(np.float32), TABLE), np.asarray(ATOMS.cell).astype(np.float32)
    positions, c = ATOMS.positions.astype(np.float32), COMPOSITION.astype(np.float32)
    model = tight_binding(ATOMS, table, positions=positions, cell=cell, composition=c, spin_orbit=False)
    v, energy = vectors(mixed(), 2), ENERGY.astype(np.float32)
    options = {"eta": np.float32(ETA), "method": "chebyshev", "expansion": expansion()}
    found = spectral_function(model, K, energy, amplitude=v.astype(np.complex64), **options)
    expected = spectral_function(mixed(), K, ENERGY, amplitude=v, eta=ETA)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.max()))  # rounding of some 10³ products


def test_auto_follows_the_table_of_crossovers(monkeypatch):
    assert choose(mixed(), K, ETA, None, None, 1) == ("eigh", None)
    monkeypatch.setattr("bandjax.spectrum.expansion.CROSSOVER_EXPANSION", 1e-3)
    assert choose(mixed(), K, ETA, None, None, 1) == ("chebyshev", chebyshev_expansion(mixed(), eta=ETA, k=K))
    assert choose(mixed(), K, ETA, None, expansion(), 1) == ("chebyshev", expansion())
    assert choose(mixed(), K, ETA, 0.1, None, 1) == ("chebyshev", None)


def call(**options):
    return lambda: spectral_function(mixed(), K, ENERGY, **options)


WRONG = {
    "both widths": (lambda: chebyshev_expansion(mixed(), eta=0.1, sigma=0.1), "`eta` and `sigma`"),
    "no width": (lambda: chebyshev_expansion(mixed()), "`eta` and `sigma`"),
    "a width of zero": (lambda: chebyshev_expansion(mixed(), sigma=0.0), "`sigma` must be > 0"),
    "a traced model": (
        lambda: jax.grad(lambda c: spectral_function(
            tight_binding(ATOMS, TABLE, composition=c, spin_orbit=False), K, ENERGY, method="chebyshev").sum())(COMPOSITION),
        "`expansion` must be given",
    ),
    "too few moments for η": (
        call(eta=0.01, method="chebyshev", expansion=Expansion(-13.0, 12.0, 400)), r"at least \d+ moments for `eta` = 0.01 eV",
    ),
    "too few moments for σ": (
        call(sigma=0.01, method="chebyshev", expansion=Expansion(-13.0, 12.0, 400)), r"at least \d+ moments.*`sigma`",
    ),
    "Jackson kernel by diagonalisation": (call(sigma=0.1, method="eigh"), "`sigma`.*'eigh'"),
    "self-energy and Jackson kernel": (call(sigma=0.1, method="chebyshev", self_energy=-0.1j), "`self_energy`"),
    "random vectors for atoms": (call(key=jax.random.key(0), resolve="atom"), "`key`"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case):
    run, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        run()


def test_a_cell_beyond_the_memory_budget(monkeypatch):
    """The sentence says what would fit."""
    monkeypatch.setattr("bandjax.devices.NEVER_REFUSED", 1)
    with pytest.raises(
        ValueError, match=r"diagonalisation of 20 orbitals, .* which holds 8 orbitals; method 'chebyshev'"
    ):
        spectral_function(mixed(), K, ENERGY, budget=8 * 16 * 8.5**2, method="eigh")
    with pytest.raises(
        ValueError, match=r"16 vectors of method 'chebyshev' over 20 orbitals.* which holds some 2 atoms"
    ):
        spectral_function(mixed(), K, ENERGY, sigma=0.3, expansion=WIDE, budget=0.6 * item_bytes(mixed(), 16))


@pytest.mark.slow
def test_512_atoms_against_diagonalisation():
    """Unfolded spectra of a random alloy: both kernels against lines of the same shape at the eigenvalues."""
    atoms = alloy(("Si", "Ge"), 0.5, repeat=4, seed=1)
    model, small = tight_binding(atoms, TABLE, spin_orbit=False), zincblende("Si", 5.5)
    k = K[1:]
    energy = np.linspace(-13.0, 7.0, 50)
    plan = chebyshev_expansion(model, eta=0.2, tolerance=1e-11)
    found = unfolded_spectral_function(model, small, k, energy, eta=0.2, method="chebyshev", expansion=plan)
    expected = unfolded_spectral_function(model, small, k, energy, eta=0.2, method="eigh")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * float(expected.max()))
    plan = chebyshev_expansion(model, sigma=0.1)
    eps, weight = (np.asarray(a[0]) for a in unfolded_bands(model, small, k))
    lines = np.cos(np.arange(plan.count)[:, None] * np.arccos((eps - plan.centre) / plan.half))
    expected = jackson_series(jnp.asarray(energy), jnp.asarray(0.1), plan) @ (lines @ weight)
    found = unfolded_spectral_function(model, small, k, energy, sigma=0.1, expansion=plan)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * float(expected.max()))
