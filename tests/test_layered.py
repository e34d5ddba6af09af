"""The layered route is exact: it is the full matrix by another order of elimination, and so are its derivatives.

Si(001), one atom a layer, sp3s*; the references are dense matrices made by `bloch_hamiltonian`.
"""

import functools

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from crystals import build

from bandjax.hamiltonian import (
    LayeredHamiltonian,
    bloch_hamiltonian,
    find_layers,
    is_layered,
    layer_rows,
    layered_hamiltonian,
    repeating_unit,
    tight_binding,
)
from bandjax.materials import load_parameters
from bandjax.spectrum import (
    Emission,
    coherent_spectra,
    emission_spectra,
    layer_spectra,
    spectral,
    spectral_function,
    substrate_self_energy,
    surface_and_bulk_green,
)
from bandjax.spectrum.expansion import Expansion
from bandjax.spectrum.small_matrices import dagger, from_left, from_right, inverse, product

A = 5.431
LAYERS = 12
K = np.array([[0.0, 0.0, 0.0], [0.13, 0.27, 0.4], [0.3, -0.1, 0.0]])
ENERGY = np.linspace(-12.0, 8.0, 11)


def si001(layers, *, periodic=False, material="Si"):
    """Si(001) 1×1, the topmost atom last in the list; or a cell of the crystal."""
    plane = A / 2 * np.array([[1, 1, 0], [1, -1, 0]])
    steps = A / 4 * np.array([[0, 0, 0], [1, 1, 1], [0, 2, 2], [1, 3, 3]])
    positions = [steps[i % 4] + [0, 0, i // 4 * A] for i in range(layers)]
    height = layers * A / 4 + (0 if periodic else 10)
    symbols = [material[i % 2 * 2 :][:2] for i in range(layers)] if len(material) == 4 else [material] * layers
    return ase.Atoms(symbols, positions, cell=[*plane, [0, 0, height]], pbc=(True, True, periodic))


@functools.cache
def slab(layers=LAYERS, periodic=False):
    return tight_binding(si001(layers, periodic=periodic), load_parameters("Si", "vogl1983"), spin_orbit=False)


@functools.cache
def gallium_arsenide():
    return tight_binding(si001(5, material="GaAs"), load_parameters("GaAs", "klimeck2000"), spin_orbit=True)


@functools.partial(jax.jit, static_argnums=2)
def both_forms(model, k, layers):
    """Layers and the full matrix."""
    return layered_hamiltonian(model, k, layers), bloch_hamiltonian(model, k)


@jax.jit
def dense(h):
    """The full matrix of a layered one."""
    count, n, _ = h.diagonal.shape
    full = jax.scipy.linalg.block_diag(*h.diagonal)
    for i in range(count - 1):
        a, b = slice(i * n, (i + 1) * n), slice((i + 1) * n, (i + 2) * n)
        full = full.at[a, b].set(h.upper[i]).at[b, a].set(h.upper[i].conj().T)
    return full


@jax.jit
def dense_green(h, x, gamma, substrate=None):
    """(energy, row, row) by inversion."""
    count, n, _ = h.diagonal.shape
    z = (x + 1j * gamma)[:, None, None] * jnp.eye(count * n) - dense(h)
    if substrate is not None:
        z = z.at[:, -n:, -n:].add(-jnp.moveaxis(substrate, -1, 0))
    return jnp.linalg.inv(z)


def close(found, expected, tolerance):
    """Within the tolerance, of the largest."""
    scale = float(np.abs(expected).max())
    assert scale > 1e-3, "nothing is tested"
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("model", [slab, gallium_arsenide], ids=["Si", "GaAs with spin"])
def test_blocks_are_those_of_the_full_matrix(model):
    model = model()
    rows = layer_rows(model, find_layers(model)).ravel()
    h, full = both_forms(model, jnp.asarray(K[1]), find_layers(model))
    full = np.asarray(full)
    close(dense(h), full[rows][:, rows], 1e-15)
    assert np.abs(full.imag).max() > 0.1
    assert find_layers(model) == tuple(range(model.topology.n_atom))[::-1]  # the topmost atom is the last


def test_unequal_layers_are_padded():
    """Two atoms in the first layer, one in the second."""
    model = slab(3)
    h, full = both_forms(model, jnp.asarray(K[1]), (1, 0, 0))
    rows = layer_rows(model, (1, 0, 0))
    assert rows.shape == (2, 10) and (rows[1, 5:] == -1).all()
    padded = np.asarray(full)[rows.ravel()][:, rows.ravel()]
    padded = np.where((rows.ravel()[:, None] < 0) | (rows.ravel()[None] < 0), 0, padded)
    close(dense(h), padded, 1e-15)
    a, b = (
        spectral_function(model, K, ENERGY, resolve="orbital", method=m, layers=(1, 0, 0)) for m in ("layered", "eigh")
    )
    close(a, b, 1e-11)


@pytest.mark.parametrize(
    ("model", "resolve"), [(slab, None), (slab, "atom"), (gallium_arsenide, "orbital"), (gallium_arsenide, "layer")]
)
def test_agrees_with_diagonalisation(model, resolve):
    def sigma(e):
        return 0.1 * e - 0.01j * (1 + e**2)

    options = {"eta": 0.05, "resolve": resolve, "self_energy": sigma}
    layered, eigh = (spectral_function(model(), K, ENERGY, method=m, **options) for m in ("layered", "eigh"))
    close(layered, eigh, 1e-10)


def test_sum_rules():
    """Layers sum to the trace, and the energies' integral, whose tail is that of the moments, to the orbitals."""
    options = {"eta": 0.1, "method": "layered"}
    parts = spectral_function(slab(), K, ENERGY, resolve="layer", **options)
    close(parts.sum(-1), spectral_function(slab(), K, ENERGY, **options), 1e-13)
    t = (np.arange(4000) + 0.5) / 4000 * np.pi - np.pi / 2  # E = 5 tan t: the integral over all energies
    a = spectral_function(slab(), K[:1], 5 * np.tan(t), resolve="layer", eta=0.5, method="layered")
    integral = (a[0] * (5 / np.cos(t) ** 2)[:, None]).sum(0) * np.pi / 4000
    np.testing.assert_allclose(integral, 5, rtol=1e-6)


def test_coherent_sweep_is_the_inverse_between_amplitudes():
    rng = np.random.default_rng(0)
    h = layered_hamiltonian(slab(), jnp.asarray(K[1]))
    v = rng.normal(size=(2, LAYERS, 5)) + 1j * rng.normal(size=(2, LAYERS, 5))
    x, gamma = jnp.asarray(ENERGY), jnp.full(ENERGY.size, 0.05)
    g = dense_green(h, x, gamma)
    flat = v.reshape(2, -1)
    sweep = jax.jit(coherent_spectra)
    close(sweep(h, v, x, gamma), -np.einsum("vi,eij,vj->e", flat.conj(), g, flat).imag / np.pi, 1e-10)
    by_energy = v[..., None] * np.exp(1j * ENERGY)  # the phase drops out
    close(sweep(h, by_energy, x, gamma), sweep(h, v, x, gamma), 1e-12)
    amplitude = rng.normal(size=(3, 60)) + 1j * rng.normal(size=(3, 60))
    a, b = (spectral_function(slab(), K, ENERGY, amplitude=amplitude, method=m) for m in ("layered", "eigh"))
    close(a, b, 1e-10)


def everything(layers, n, amplitudes=2):
    """Random arguments of the sweeps, in one flat array and back; every one is non-zero."""
    rng = np.random.default_rng(4)
    h = layered_hamiltonian(slab(), jnp.asarray(K[1]))
    energy = jnp.linspace(-6.0, 4.0, 3)
    start = {
        "h": LayeredHamiltonian(h.diagonal[:layers], h.upper[: layers - 1]),
        "v": jnp.asarray(rng.normal(size=(amplitudes, layers, n)) + 1j * rng.normal(size=(amplitudes, layers, n))),
        "x": energy,
        "gamma": jnp.asarray([0.2, 0.3, 0.25]),
        "substrate": jnp.asarray(rng.normal(size=(n, n, 3)) * 0.1) - 1j * jnp.eye(n)[:, :, None],
    }
    weights = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(layers, n, 3)))
    return start, weights


def coherent(p, w):
    return jnp.sum(w[0] * coherent_spectra(p["h"], p["v"], p["x"], p["gamma"], p["substrate"]))


def resolved(p, w):
    return jnp.sum(w[1] * layer_spectra(p["h"], p["x"], p["gamma"], p["substrate"]))


def coherent_by_inversion(p, w):
    g = dense_green(p["h"], p["x"], p["gamma"], p["substrate"])
    v = p["v"].reshape(len(p["v"]), -1)
    return jnp.sum(w[0] * -jnp.einsum("vi,eij,vj->e", v.conj(), g, v).imag / np.pi)


def resolved_by_inversion(p, w):
    g = jnp.diagonal(dense_green(p["h"], p["x"], p["gamma"], p["substrate"]), axis1=1, axis2=2)
    return jnp.sum(w[1] * (-g.imag.T / np.pi).reshape(w[1].shape))


@pytest.mark.parametrize(("f", "oracle"), [(coherent, coherent_by_inversion), (resolved, resolved_by_inversion)])
def test_gradients_are_those_of_inversion(f, oracle):
    """In H, amplitudes, energies, widths and substrate, backwards and forwards, without any step."""
    p, w = everything(5, 5)
    tangent = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(a.size).normal(size=a.shape), a.dtype), p)
    value, gradient = jax.jit(jax.value_and_grad(f))(p, w)
    exact, expected = jax.jit(jax.value_and_grad(oracle))(p, w)
    assert float(value) == pytest.approx(float(exact), rel=1e-11)
    for (path, found), right in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True
    ):
        if f is coherent or "v" not in str(path[0]):
            # in the oracle one triangle of H follows the other, so both have the same gradient
            close(found, right, 1e-9)
    forward, right = (
        jax.jit(lambda p, t, g=g: jax.jvp(lambda q: g(q, w), (p,), (t,))[1])(p, tangent) for g in (f, oracle)
    )
    assert float(forward) == pytest.approx(float(right), rel=1e-9) and abs(float(right)) > 1e-2


def by_library(p):
    """inverse(a u) b and u† a by numpy's words."""
    a = jnp.moveaxis(p["a"], -1, 0)
    out = jnp.linalg.inv(jnp.einsum("eij,jk->eik", a, p["u"])) @ jnp.moveaxis(p["b"], -1, 0)
    return jnp.moveaxis(out + jnp.einsum("ji,ejk->eik", p["u"].conj(), a), 0, -1)


def by_small_matrices(p):
    return product(inverse(from_right(p["a"], p["u"])), p["b"]) + from_left(dagger(p["u"]), p["a"])


def test_derivatives_of_small_matrices():
    """Those of the library's functions, both ways; the numbers of the sweeps are made of nothing else."""
    rng = np.random.default_rng(5)
    shapes = {"a": (3, 3, 4), "u": (3, 3), "b": (3, 3, 4)}
    p, t = ({n: jnp.asarray(rng.normal(size=s) + 1j * rng.normal(size=s)) for n, s in shapes.items()} for _ in "pt")
    p["a"] -= 6j * jnp.eye(3)[:, :, None]
    p["u"] += 6 * jnp.eye(3)
    weights = jnp.asarray(rng.normal(size=(3, 3, 4)) + 1j * rng.normal(size=(3, 3, 4)))

    @jax.jit
    def derivatives(p, t):
        both = []
        for f in (by_small_matrices, by_library):
            gradient = jax.grad(lambda p, f=f: jnp.sum(weights * f(p)).real)(p)
            both.append((gradient, jax.jvp(f, (p,), (t,))[1]))
        return both

    found, expected = derivatives(p, t)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("f", [coherent, resolved])
def test_a_second_derivative_raises(f):
    p, w = everything(3, 5)
    for second in (jax.hessian, lambda g: jax.grad(jax.grad(g)), lambda g: jax.jacfwd(jax.jacfwd(g))):
        with pytest.raises(TypeError, match="first derivative only"):
            second(lambda e: f({**p, "x": p["x"] + e}, w))(0.0)


def from_model(x, **options):
    """A(k, E) as a function of the values of the table and of k, in chunks."""
    table = load_parameters("Si", "vogl1983")
    values = table.replace(**dict(zip(table.values, x[: len(table.values)], strict=True)))
    model = tight_binding(si001(5), values, spin_orbit=False)
    k = jnp.asarray(K) + x[len(table.values) :].reshape(3, 3)
    layers = find_layers(si001(5))
    a = spectral_function(model, k, ENERGY, eta=0.2, layers=layers, **options)
    return jnp.sum(jnp.asarray(np.random.default_rng(1).normal(size=a.shape)) * a)


def start():
    values = list(load_parameters("Si", "vogl1983").values.values())
    return jnp.concatenate([jnp.asarray(values), jnp.zeros(9)])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"resolve": "layer"}, marks=pytest.mark.slow),
        {"amplitude": np.random.default_rng(2).normal(size=(3, 25)) + 1j},
    ],
    ids=["layer", "v"],
)
def test_gradient_of_a_spectral_function(options):
    """Against diagonalisation, with one item a chunk, in both modes."""
    f = functools.partial(from_model, method="layered", budget=1.0, **options)
    gradient = jax.jit(jax.grad(f))(start())
    close(gradient, jax.jit(jax.grad(functools.partial(from_model, method="eigh", **options)))(start()), 1e-8)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=start().size))
    forward = jax.jit(lambda t: jax.jvp(f, (start(),), (t,))[1])(direction)
    assert float(forward) == pytest.approx(float(gradient @ direction), rel=1e-9)


@pytest.mark.slow
def test_decimation_is_a_deep_slab():
    """With η = 0.3 eV, states that reached the other face of 400 layers have decayed."""
    h = layered_hamiltonian(slab(), jnp.asarray(K[1]))
    x, gamma = jnp.asarray(ENERGY), jnp.full(ENERGY.size, 0.3)
    unit = repeating_unit(h, 4)
    deep = LayeredHamiltonian(
        jnp.tile(unit.diagonal, (100, 1, 1)),
        jnp.tile(jnp.concatenate([unit.upper, unit.closing[None]]), (100, 1, 1))[:-1],
    )
    whole = layer_spectra(deep, x, gamma)
    surface, bulk = surface_and_bulk_green(unit, x, gamma)
    close(-np.einsum("iie->ie", surface).imag / np.pi, whole[0], 1e-9)
    close(-np.einsum("iie->ie", bulk).imag / np.pi, whole[200], 1e-9)
    assert float(jnp.abs(whole[0] - whole[200]).max()) > 0.1  # surface and bulk differ

    # a periodic cell has the same unit; and the stack on its substrate is the deep slab, wherever it is cut
    cell = layered_hamiltonian(slab(4, True), jnp.asarray(K[1]))
    np.testing.assert_allclose(np.asarray(surface_and_bulk_green(cell, x, gamma)[1]), bulk, atol=1e-9)
    below = substrate_self_energy(unit, unit.closing, x, gamma)
    close(layer_spectra(h, x, gamma, below), whole[:LAYERS], 1e-9)
    through = spectral_function(slab(), K[1:2], ENERGY, eta=0.3, resolve="layer", substrate=4)
    close(through[0], whole[:LAYERS].sum(1).T, 1e-9)


def test_bulk_by_decimation_is_the_integral_over_kz():
    h = layered_hamiltonian(slab(), jnp.asarray(K[1]))
    x, gamma = jnp.asarray(ENERGY), jnp.full(ENERGY.size, 0.3)
    _, bulk = surface_and_bulk_green(repeating_unit(h, 4), x, gamma)
    kz = 2 * np.pi / A * np.arange(64) / 64
    k = np.concatenate([np.repeat(K[1:2, :2], 64, axis=0), kz[:, None]], axis=1)
    mean = spectral_function(slab(4, True), k, ENERGY, eta=0.3, resolve="atom", method="eigh").mean(0)
    close(-np.einsum("iie->e", bulk).imag / np.pi, mean[:, 0], 1e-6)


def test_factorised_amplitudes_are_those_written_out():
    """Photoemission's amplitudes and all their derivatives, against the same amplitudes as a plain array."""
    p, w = everything(4, 5)
    rng = np.random.default_rng(7)
    kinds, energies = 3, p["x"].size
    emission = Emission(
        jnp.asarray(rng.normal(size=(2, kinds, energies)) + 1j * rng.normal(size=(2, kinds, energies))),
        jnp.asarray(rng.random((kinds, 4, 5))), jnp.asarray(rng.random((4, 5)) * 5), jnp.asarray(0.06), jnp.asarray([4.9, 5.0, 5.1]),
    )  # fmt: skip

    def factorised(h, e):
        return jnp.sum(w[0] * emission_spectra(h, e, p["x"], p["gamma"], p["substrate"]))

    def written_out(h, e):
        wave = jnp.exp(-e.depth[..., None] * (e.decay + 1j * e.kz))
        v = jnp.einsum("ake,kln->alne", e.element, e.share) * wave
        return jnp.sum(w[0] * coherent_spectra(h, v, p["x"], p["gamma"], p["substrate"]))

    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1)))(p["h"], emission) for f in (factorised, written_out))
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-12)
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        assert np.abs(b).max() > 1e-3
        close(a, b, 1e-11)


@pytest.mark.slow
def test_gradient_through_the_substrate():
    """Central differences in k and in the energy of one bulk orbital, which every unit shares."""
    x, gamma = jnp.asarray(ENERGY), jnp.full(ENERGY.size, 0.2)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(5, ENERGY.size)))

    def f(p):
        h = layered_hamiltonian(slab(), jnp.asarray(K[1]).at[:2].add(p[:2]))
        h = h._replace(diagonal=h.diagonal.at[:, 1, 1].add(p[2]))
        below = substrate_self_energy(repeating_unit(h, 4), repeating_unit(h, 4).closing, x, gamma)
        return jnp.sum(weights * layer_spectra(h, x, gamma, below)[-1])

    gradient = jax.jit(jax.grad(f))(jnp.zeros(3))
    steps = 2e-5 * jnp.eye(3)
    both = jax.jit(jax.vmap(f))(jnp.concatenate([steps, -steps]))
    close(gradient, (both[:3] - both[3:]) / 4e-5, 1e-6)


def test_single_precision():
    single = jax.tree.map(lambda a: a.astype("float32"), slab())
    a = spectral_function(single, K, ENERGY.astype("float32"), eta=0.2, resolve="layer", method="layered")
    assert a.dtype == jnp.float32
    close(a, spectral_function(slab(), K, ENERGY, eta=0.2, resolve="layer", method="eigh"), 1e-3)


def test_auto_takes_the_layers_of_a_stack_only(monkeypatch):
    monkeypatch.setattr(spectral, "CROSSOVER_LAYERS", 6)
    layers = find_layers(slab(6))
    mixed = (1, 0, *layers[2:])
    assert is_layered(slab(6), layers) and not is_layered(slab(6), mixed)
    auto, layered, other, eigh = (
        spectral_function(slab(6), K, ENERGY, layers=i, method=m)
        for i, m in ((layers, "auto"), (layers, "layered"), (mixed, "auto"), (mixed, "eigh"))
    )
    assert (auto == layered).all() and (other == eigh).all() and not (auto == eigh).all()


@pytest.mark.parametrize("wish", [{"sigma": 1.0}, {"eta": 2.0, "key": jax.random.key(0), "samples": 2}])
def test_auto_expands_a_stack_where_only_that_serves(wish, monkeypatch):
    monkeypatch.setattr(spectral, "CROSSOVER_LAYERS", 3)
    window = Expansion(-14.0, 14.0, 120)
    auto, expanded = (
        spectral_function(slab(), K[:1], ENERGY, layers=find_layers(slab()), expansion=window, method=m, **wish)
        for m in ("auto", "chebyshev")
    )
    assert (auto == expanded).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layered_hamiltonian(slab(4), K[0], (0, 2, 1, 3)), ["spans 2", "adjacent layers"]),
        (lambda: layered_hamiltonian(slab(4), K[0], (0, 1, 3, 2)), ["spans 2", "atoms 1", "2"]),
        (lambda: layered_hamiltonian(slab(4), K[0], (0, 1, 1)), ["`layers`", "4 atoms", "3 numbers"]),
        (lambda: layered_hamiltonian(slab(4), K[0], (0, 1, 3, 4)), ["`layers`", "without gaps"]),
        (lambda: layered_hamiltonian(slab(4, True), K[0], (0, 1, 2, 3)), ["numbered from the top"]),
        (lambda: repeating_unit(layered_hamiltonian(slab(4), K[0]), 4), ["`period`", "1 to 3", "is 4"]),
        (lambda: surface_and_bulk_green(layered_hamiltonian(slab(4), K[0]), ENERGY, ENERGY), ["`unit`", "closing"]),
        (lambda: find_layers(si001(4), tolerance=0.0), ["`tolerance`", "is 0"]),
        (lambda: spectral_function(slab(4, True), K, ENERGY, method="layered"), ["must not repeat", "'layered'"]),
        (lambda: spectral_function(slab(4), K, ENERGY, method="eigh", substrate=2), ["`substrate`", "'eigh'"]),
        (lambda: spectral_function(slab(4), K, ENERGY, substrate=4), ["`period`", "is 4"]),
        (lambda: spectral_function(build("Si", "vogl1983")[2], K, ENERGY, method="layered"), ["must not repeat"]),
        (lambda: spectral_function(slab(4), K, ENERGY, resolve="layers"), ["`resolve`", "'layer'"]),
        (
            lambda: jax.jit(lambda m: spectral_function(m, K, ENERGY, resolve="layer"))(slab(4)),
            ["`layers`", "traced", "find_layers"],
        ),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value), str(error.value)
