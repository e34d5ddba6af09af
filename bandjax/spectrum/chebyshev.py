"""Spectral functions of large cells by Chebyshev expansion: only products H x, cost proportional to the number of atoms.

With the spectrum in the window b ± a, H̃ = (H − b)/a, φ_0 = v and φ_{n+1} = 2H̃φ_n − φ_{n−1}, one product gives two moments,

    μ_n = v†T_n(H̃)v:      μ_{2n} = 2 φ_n†φ_n − μ_0,      μ_{2n+1} = 2 φ_{n+1}†φ_n − μ_1,      A_v(E) = Σ_n c_n(E) μ_n,

and all energies share them. Two kernels c_n:

* Lorentzian, exact: with z = (E + iη − Σ − b)/a and s = z − √(z² − 1), |s| < 1,

      1/(z − x) = (z² − 1)^(−1/2) [1 + 2 Σ_n sⁿ T_n(x)],

  cut off where the rest, below 2 exp(−N η/a) of a line's height, is within the tolerance: N = (a/η) ln(2/tolerance).
* Jackson: positive, nearly Gaussian, standard deviation π a √(1 − x²)/N at x = (E − b)/a. Every energy takes the N that
  makes it the wanted σ, so that N = π a/σ moments give one resolution at all energies.

Derivatives never store the recursion. Tangents run along with it; cotangents run it backwards: it is reversible
(φ_{n−1} = 2H̃φ_n − φ_{n+1}), and so a few vectors are kept whatever N.

Source: A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.devices import cache_budget, map_chunks, refuse_beyond
from bandjax.hamiltonian import Model, SparseHamiltonian, sparse
from bandjax.spectrum.bands import as_wave_vectors
from bandjax.spectrum.energies import SelfEnergy, shifted_energies

TOLERANCE = 1e-6  # of the exact Lorentzian, relative to the height of a line
COARSEST = 1e-3  # an expansion that leaves more is refused
LANCZOS_STEPS = 40
MARGIN = 0.02  # of the width of the spectrum, added at either end to what Lanczos steps find
MOST_WINDOWS = 8  # wave vectors at which the window is looked for
VECTORS_AT_ONCE = 16  # unit and random vectors of one item of work
WORK_ARRAYS = 12  # vectors' arrays alive at once: recursion, gathered neighbours, their cotangents
DIVERGED = 1.01  # |μ_n| ≤ μ_0 inside the window; beyond, moments grow exponentially
CROSSOVER = 600.0  # "auto" expands where orbitals² > this × moments × vectors


class Expansion(NamedTuple):
    """Window of the spectrum in eV and number of moments: static, so that a model may be traced."""

    low: float
    high: float
    count: int

    @property
    def centre(self) -> float:
        return (self.high + self.low) / 2

    @property
    def half(self) -> float:
        """a, half the window's width in eV."""
        return (self.high - self.low) / 2


def chebyshev_expansion(
    model: Model,
    *,
    eta: ArrayLike | None = None,
    sigma: float | None = None,
    k: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    margin: float = MARGIN,
) -> Expansion:
    """Window and number of moments for a resolution: of Lorentzians (eta) or of the Jackson kernel (sigma), in eV.

    Args:
        model: Tight-binding model, not traced.
        eta: Least Lorentzian half width in eV that will be asked for, > 0.
        sigma: Standard deviation of the Jackson kernel in eV, > 0; one of both is given.
        k: Wave vectors in 1/Å, shape (k, 3), at (at most eight of) which the ends of the spectrum are sought by Lanczos
            steps; None: Γ.
        tolerance: Of the cut-off series of a Lorentzian, relative to the height of a line.
        margin: Of the width of the spectrum, added at either end; a fit that moves the bands needs more than the default.

    Raises:
        ValueError: the model or a width is traced, or a number is not > 0.
    """
    if (eta is None) == (sigma is None):
        raise ValueError("Arguments `eta` and `sigma` must be given one without the other, but are not.")
    if not checks.is_concrete((model, eta, sigma, k)):
        raise ValueError(
            "Argument `expansion` must be given where model, k or widths are traced; `chebyshev_expansion(model, …)` of "
            "plain numbers makes it."
        )
    for name, value in (("eta", eta), ("sigma", sigma), ("tolerance", tolerance), ("margin", margin)):
        if value is not None:
            checks.positive(name, value)
    k = as_wave_vectors(model, np.zeros((1, 3)) if k is None else k)
    k = k[np.unique(np.linspace(0, len(k) - 1, MOST_WINDOWS).astype(int))]
    low, high = (float(f(x)) for f, x in zip((np.min, np.max), _ends(model, k), strict=True))
    width = max(high - low, 1e-3)
    low, high = low - margin * width, high + margin * width
    half = (high - low) / 2
    count = np.pi * half / sigma if eta is None else half / float(np.min(eta)) * np.log(2 / tolerance)
    return Expansion(low, high, 2 * int(np.ceil(max(count, 4) / 2)))


@jax.jit
def _ends(model: Model, k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Least and largest energy that Lanczos steps leave possible at each k: Ritz values less and plus their residuals."""
    h = sparse.sparse_hamiltonian(model)
    rows = sparse.orbital_rows(model)
    spins = 2 if model.topology.spin_orbit else 1
    random = np.random.default_rng(0).normal(size=(*rows.shape, 2, spins)) * (rows >= 0)[..., None, None]
    start = jnp.asarray(random / np.linalg.norm(random), model.dtype)

    def one(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        phase = sparse.bond_phases(h, q)

        def step(carry: tuple, _: None) -> tuple:
            before, x, beta = carry
            y = sparse.apply_sparse(h, phase, x) - beta * before
            alpha = jnp.vdot(y, x)
            y = y - alpha * x
            beta = jnp.linalg.norm(y)
            return (x, y / jnp.maximum(beta, jnp.finfo(beta.dtype).tiny), beta), (alpha, beta)

        zero = jnp.zeros((), model.dtype)
        _, (alpha, beta) = jax.lax.scan(step, (jnp.zeros_like(start), start, zero), None, length=LANCZOS_STEPS)
        ritz, u = jnp.linalg.eigh(jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1))
        residual = beta[-1] * jnp.abs(u[-1])
        return jnp.min(ritz - residual), jnp.max(ritz + residual)

    return jax.lax.map(one, k)


def pays(model: Model, expansion: Expansion, vectors: int) -> bool:
    """Whether an expansion of some vectors takes less time than diagonalisation, by `CROSSOVER`."""
    return model.n_orbital**2 > CROSSOVER * expansion.count * vectors


def choose(
    model: Model, k: jax.Array, eta: ArrayLike, sigma: float | None, expansion: Expansion | None, vectors: int
) -> str:
    """What method "auto" is where both "eigh" and "chebyshev" would do."""
    if sigma is not None:
        return "chebyshev"
    if expansion is None:
        least = Expansion(0.0, 0.0, 100)
        if not checks.is_concrete((model, k, eta)) or not pays(model, least, vectors):
            return "eigh"
        expansion = chebyshev_expansion(model, eta=eta, k=k)
    return "chebyshev" if pays(model, expansion, vectors) else "eigh"


def series_of(
    model: Model,
    k: jax.Array,
    energy: jax.Array,
    eta: ArrayLike,
    sigma: float | None,
    self_energy: SelfEnergy,
    expansion: Expansion | None,
) -> tuple[Expansion, jax.Array]:
    """The expansion, made where it is None, and c_n(E): of Jackson's kernel where `sigma` is given, else of Lorentzians.

    Raises:
        ValueError: too few moments for the widths, a self-energy beside `sigma`, or what the called functions raise.
    """
    if sigma is not None and self_energy is not None:
        raise ValueError("Argument `self_energy` must be None where `sigma` is given, but is not.")
    if expansion is None:
        chosen = {"eta": eta} if sigma is None else {"sigma": sigma}
        expansion = chebyshev_expansion(model, k=k, **chosen)
    if sigma is None:
        x, gamma = shifted_energies(model, energy, eta, self_energy)
        series = lorentzian_series(x, gamma, expansion)
        width, least = ("eta", np.log(2 / COARSEST)) if checks.is_concrete(gamma) else ("", 0.0)
        width_value = float(np.min(gamma)) if width else 1.0
    else:
        checks.positive("sigma", sigma, "eV")
        series = jackson_series(energy.astype(model.dtype), jnp.asarray(sigma, model.dtype), expansion)
        width, least, width_value = "sigma", np.pi, sigma
    wanted = least * expansion.half / width_value
    if expansion.count < np.floor(wanted):
        raise ValueError(
            f"Argument `expansion` must have at least {int(np.ceil(wanted))} moments for a `{width}` of {width_value:g} eV, but "
            f"has {expansion.count}."
        )
    return expansion, series


def lorentzian_series(x: jax.Array, gamma: jax.Array, expansion: Expansion) -> jax.Array:
    """c_n(E) of Lorentzians: x = E − Re Σ and γ = η − Im Σ in eV, shape (energy,). Returns 1/eV, (energy, moment)."""
    z = jax.lax.complex((x - expansion.centre) / expansion.half, gamma / expansion.half)
    root = jnp.sqrt(z - 1) * jnp.sqrt(z + 1)  # the branch on which |z + root| > 1
    n = jnp.arange(expansion.count, dtype=x.dtype)
    powers = jnp.exp(-n * jnp.log(z + root)[:, None])
    return -jnp.where(n == 0, 1, 2) * (powers / root[:, None]).imag / (np.pi * expansion.half)


def jackson_series(energy: jax.Array, sigma: jax.Array, expansion: Expansion) -> jax.Array:
    """c_n(E) of the Jackson kernel of standard deviation σ (eV). Returns 1/eV, (energy, moment); 0 outside the window."""
    x = (energy - expansion.centre) / expansion.half
    inside = jnp.abs(x) < 1
    x = jnp.where(inside, x, 0)
    root = jnp.sqrt(1 - x**2)
    order = jnp.clip(jnp.ceil(np.pi * expansion.half * root / sigma), 2, expansion.count)[:, None]
    n = jnp.arange(expansion.count, dtype=energy.dtype)
    angle = np.pi / (order + 1)
    damping = ((order - n + 1) * jnp.cos(n * angle) + jnp.sin(n * angle) / jnp.tan(angle)) / (order + 1)
    damping = jnp.where(n < order, damping, 0) * jnp.where(n == 0, 1, 2)
    series = damping * jnp.cos(n * jnp.arccos(x)[:, None]) / (np.pi * expansion.half * root)[:, None]
    return jnp.where(inside[:, None], series, 0)


Start = Callable[[Model, jax.Array, Any, Any, int], jax.Array]


def expanded_spectra(
    model: Model,
    k: jax.Array,
    start: Start,
    items: Any,
    shared: Any,
    series: jax.Array,
    expansion: Expansion,
    vectors: int,
    budget: float | None = None,
    mesh: Mesh | None = None,
) -> jax.Array:
    """A_v(E) of several vectors at every k: one recursion for all energies; differentiable in all arrays.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, (item, 3).
        start: Function of (model, one k, one item, shared, vectors) that gives the vectors over the rows of H, atomic
            gauge, shape (vector, orbital); defined once in a module, so that it compiles once.
        items: Pytree with a leading axis (item,), or None.
        shared: Pytree that is the same for all items, or None.
        series: c_n(E), shape (energy, moment).
        expansion: Window and number of moments.
        vectors: How many vectors an item has.
        budget, mesh: As in `spectral_function`.

    Returns:
        1/eV times |v|², shape (item, vector, energy); NaN where moments show that the spectrum leaves the window.

    Raises:
        ValueError: the vectors of one item are beyond the memory budget.
    """
    need = item_bytes(model, vectors)
    refuse_beyond(
        need,
        budget,
        f"the {vectors} vectors of method 'chebyshev' over {model.n_orbital} orbitals",
        lambda limit: f"some {int(model.topology.n_atom * limit / need)} atoms",
    )
    return _spectra(model, k, items, shared, series, start, expansion, vectors, budget, mesh)


def resolved_spectra(
    model: Model,
    k: jax.Array,
    series: jax.Array,
    expansion: Expansion,
    amplitude: jax.Array | None,
    owner: np.ndarray | None,
    key: jax.Array | None,
    samples: int,
    budget: float | None,
    mesh: Mesh | None,
) -> jax.Array:
    """A of one amplitude (k, orbital), of every group of rows of H (`owner`, one a row), or the trace, (k, energy[, group])."""
    expand = partial(expanded_spectra, budget=budget, mesh=mesh)
    if amplitude is not None:
        return expand(model, k, _given, amplitude, None, series, expansion, 1)[:, 0]
    vectors = min(VECTORS_AT_ONCE, model.n_orbital if key is None else samples)
    blocks = -(-(model.n_orbital if key is None else samples) // vectors)
    at = jnp.repeat(k, blocks, axis=0)
    if key is not None:
        out = expand(model, at, _random, jax.random.split(key, len(at)), None, series, expansion, vectors)
        return out.reshape(len(k), blocks * vectors, -1).mean(axis=1)
    rows = jnp.tile(jnp.arange(blocks) * vectors, len(k))
    out = expand(model, at, _unit, rows, None, series, expansion, vectors)
    out = out.reshape(len(k), blocks * vectors, -1)[:, : model.n_orbital]
    if owner is None:
        return out.sum(axis=1)
    return jnp.swapaxes(jax.vmap(lambda a: jax.ops.segment_sum(a, owner, int(owner.max()) + 1))(out), 1, 2)


def _given(model: Model, k: jax.Array, amplitude: jax.Array, _: None, vectors: int) -> jax.Array:
    return amplitude[None]


def _unit(model: Model, k: jax.Array, row: jax.Array, _: None, vectors: int) -> jax.Array:
    """Unit vectors from a row on; past the last row they are zero."""
    return jax.nn.one_hot(row + jnp.arange(vectors), model.n_orbital, dtype=model.dtype)


def _random(model: Model, k: jax.Array, key: jax.Array, _: None, vectors: int) -> jax.Array:
    """Numbers of modulus 1: their spectral functions are traces on average."""
    angle = 2 * np.pi * jax.random.uniform(key, (vectors, model.n_orbital), model.dtype)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def item_bytes(model: Model, vectors: int) -> int:
    """Estimate of the memory that the recursion of some vectors takes."""
    rows = sparse.orbital_rows(model)
    spins = 2 if model.topology.spin_orbit else 1
    blocks = rows.size * rows.shape[1] * (2 * 5 + (32 if spins == 2 else 0))  # and their cotangents
    return model.dtype.itemsize * (WORK_ARRAYS * rows.size * 2 * spins * vectors + blocks)


@partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _spectra(model, k, items, shared, series, start, expansion, vectors, budget, mesh):
    h = sparse.sparse_hamiltonian(model)
    h = h._replace(
        onsite=(h.onsite - expansion.centre * jnp.eye(h.onsite.shape[-1], dtype=model.dtype)) / expansion.half,
        coupling=None if h.coupling is None else h.coupling / expansion.half,
        hopping=h.hopping / expansion.half,
    )

    def one(item: tuple) -> jax.Array:
        q, extra = item
        x = sparse.to_channels(model, q, start(model, q, extra, shared, vectors))
        mu = chebyshev_moments(h, sparse.bond_phases(h, q), x, expansion.count)
        mu = mu.reshape(expansion.count, -1, vectors).sum(axis=1)  # over spins
        out = jnp.matmul(series, mu, precision="highest").T
        fits = jnp.max(jnp.abs(mu), axis=0) <= DIVERGED * mu[0]
        return jnp.where(fits[:, None], out, jnp.nan)

    return map_chunks(
        one, (k, items), bytes_per_item=item_bytes(model, vectors), budget=cache_budget(budget), mesh=mesh
    )


def chebyshev_moments(h: SparseHamiltonian, phase: jax.Array, x: jax.Array, count: int) -> jax.Array:
    """μ_n = x†T_n(H)x of every channel for a Hamiltonian whose spectrum lies within ±1.

    Args:
        h: Scaled sparse Hamiltonian.
        phase: `bond_phases` at the wave vector.
        x: Vectors (atom, n, 2, channel).
        count: Number of moments, even and ≥ 4.

    Returns:
        Shape (moment, channel). Exact first derivatives in both modes; a second derivative raises TypeError.
    """
    return _moments(count, h, phase, x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _moments(count: int, h: SparseHamiltonian, phase: jax.Array, x: jax.Array) -> jax.Array:
    return _recursion(count, h, phase, x)[0]


@_moments.defjvp
def _moments_jvp(count: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    h, phase, x = primals
    dh, dphase, dx = tangents
    h, phase, x = _once((h, phase, x))
    moments, last = _recursion(count, h, phase, x)
    arrays, rebuild = _without_integers(h)

    def forward(t: tuple) -> jax.Array:
        run = lambda arrays, phase, x: _recursion(count, rebuild(arrays), phase, x)[0]  # noqa: E731
        return jax.jvp(run, (arrays, phase, x), t)[1]

    def backward(ct: jax.Array) -> tuple:
        ch, cphase, cx = _backwards(count, h, phase, last, ct)
        return _without_integers(ch)[0], cphase, cx

    return moments, _linear(forward, backward, (_without_integers(dh)[0], dphase, dx))


def _recursion(count: int, h: SparseHamiltonian, phase: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple]:
    """Moments (moment, channel), and φ_M, φ_{M+1} with M = count/2 − 1."""

    def step(carry: tuple, _: None) -> tuple:
        before, here = carry
        after = 2 * sparse.apply_sparse(h, phase, here) - before
        return (here, after), (_dot(here, here), _dot(after, here))

    first = sparse.apply_sparse(h, phase, x)
    mu = jnp.stack([_dot(x, x), _dot(first, x)])
    last, doubled = jax.lax.scan(step, (x, first), None, length=count // 2 - 1)
    rest = 2 * jnp.stack(doubled, axis=1) - mu
    return jnp.concatenate([mu[None], rest]).reshape(count, -1), last


def _backwards(count: int, h: SparseHamiltonian, phase: jax.Array, last: tuple, ct: jax.Array) -> tuple:
    """Cotangents of h, phase and x by the recursion run backwards.

    With p_n and r_n the weights of φ_n†φ_n and φ_{n+1}†φ_n in Σ_m ct_m μ_m, and g_n = 2 p_n φ_n + r_n φ_{n+1} + r_{n−1} φ_{n−1},

        λ_n = g_n + 2H̃λ_{n+1} − λ_{n+2}    (H̃λ_1 for n = 0),      H̄ = Σ_n 2 λ_{n+1} φ_n†    (λ_1 φ_0† for n = 0).
    """
    pairs = ct.reshape(count // 2, 2, -1)
    start = pairs[0] - pairs[1:].sum(axis=0)
    p = jnp.concatenate([start[None, 0], 2 * pairs[1:, 0]])
    r = jnp.concatenate([start[None, 1], 2 * pairs[1:, 1]])
    here, after = last  # φ_M, φ_{M+1}

    def step(carry: tuple, weights: tuple) -> tuple:
        after, here, two_on, one_on, total = carry
        p, r, r_before = weights
        before = 2 * sparse.apply_sparse(h, phase, here) - after
        total = _add(total, sparse.sparse_cotangents(h, phase, here, 2 * one_on))
        new = 2 * p * here + r * after + r_before * before
        new = new + 2 * sparse.apply_sparse(h, phase, one_on) - two_on
        return (here, before, one_on, new, total), None

    nothing = jax.tree.map(jnp.zeros_like, (h, phase))
    carry = (after, here, jnp.zeros_like(here), r[-1] * here, nothing)
    (after, here, two_on, one_on, total), _ = jax.lax.scan(step, carry, (p[1:], r[1:], r[:-1]), reverse=True)
    total = _add(total, sparse.sparse_cotangents(h, phase, here, one_on))
    cx = 2 * p[0] * here + r[0] * after + sparse.apply_sparse(h, phase, one_on) - two_on
    return *total, cx


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=(0, 1, 2))


def _add(a: tuple, b: tuple) -> tuple:
    (ha, pa), (hb, pb) = a, b
    (xa, rebuild), (xb, _) = _without_integers(ha), _without_integers(hb)
    return rebuild(jax.tree.map(jnp.add, xa, xb)), pa + pb


def _without_integers(h: SparseHamiltonian) -> tuple[tuple, Callable[[tuple], SparseHamiltonian]]:
    """The arrays of h that the recursion differentiates, and what puts them back."""
    return (h.onsite, h.coupling, h.hopping), lambda a: h._replace(onsite=a[0], coupling=a[1], hopping=a[2])


def _linear(forward: Callable, backward: Callable, x: Any) -> jax.Array:
    """forward(x), a linear map whose transpose is `backward`.

    JAX gives a map its own transpose, and maps it over batches too, only as a linear solve: here that of the triangular
    system (1, 0; −forward, 1)(x, y) = (x, 0). All its entries must be of the same kind, hence the added zero.
    """
    zero = 0 * sum(jnp.ravel(leaf)[0] for leaf in jax.tree.leaves(x))
    x = jax.tree.map(lambda leaf: leaf + zero, x)
    out = jax.eval_shape(forward, x)
    solved = jax.lax.custom_linear_solve(
        lambda b: b,
        (x, jnp.full(out.shape, zero)),
        lambda _, b: (b[0], b[1] + forward(b[0])),
        lambda _, b: (jax.tree.map(jnp.add, b[0], backward(b[1])), b[1]),
        symmetric=True,
    )
    return solved[1]


@jax.custom_jvp
def _once(x: Any) -> Any:
    return x


@_once.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(
        "A spectral function by method 'chebyshev' has a first derivative only, but a second one is asked for."
    )
