"""Windows, resolutions and kernels of a Chebyshev expansion: A_v(E) = Σ_n c_n(E) μ_n with moments μ_n = v†T_n((H − b)/a)v.

The spectrum lies in the window b ± a. Two kernels c_n:

* Lorentzian, exact: with z = (E + iη − Σ − b)/a and s = z − √(z² − 1), |s| < 1,

      1/(z − x) = (z² − 1)^(−1/2) [1 + 2 Σ_n sⁿ T_n(x)],

  cut off where the rest, below 2 exp(−N η/a) of a line's height, is within the tolerance: N = (a/η) ln(2/tolerance).
* Jackson: positive, nearly Gaussian, standard deviation π a √(1 − x²)/N at x = (E − b)/a. Every energy takes the N that
  makes it the wanted σ, so that N = π a/σ moments give one resolution at all energies.

Source: A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import Model, sparse
from bandjax.spectrum.bands import as_wave_vectors
from bandjax.spectrum.crossovers import CROSSOVER_EXPANSION
from bandjax.spectrum.energies import SelfEnergy, shifted_energies

TOLERANCE = 1e-6  # of the exact Lorentzian, relative to the height of a line
COARSEST = 1e-3  # an expansion that leaves more is refused
LANCZOS_STEPS = 40
MARGIN = 0.02  # of the width of the spectrum, added at either end to what Lanczos steps find
MOST_WINDOWS = 8  # wave vectors at which the window is looked for


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
    """Whether an expansion of some vectors takes less time than diagonalisation, by `crossovers.py`."""
    return model.n_orbital**2 > CROSSOVER_EXPANSION * expansion.count * vectors


def choose(
    model: Model, k: jax.Array, eta: ArrayLike, sigma: float | None, expansion: Expansion | None, vectors: int
) -> tuple[str, Expansion | None]:
    """What method "auto" is where both "eigh" and "chebyshev" would do, and the expansion, made where that tells."""
    if sigma is not None:
        return "chebyshev", expansion
    if expansion is None:
        least = Expansion(0.0, 0.0, 100)
        if not checks.is_concrete((model, k, eta)) or not pays(model, least, vectors):
            return "eigh", None
        expansion = chebyshev_expansion(model, eta=eta, k=k)
    return "chebyshev" if pays(model, expansion, vectors) else "eigh", expansion


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

    NaN at energies whose width, traced, has too few moments.

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
        coarse = gamma * (expansion.count + 1) < np.log(2 / COARSEST) * expansion.half
        series = jnp.where(coarse[:, None], jnp.nan, series)  # seen at run time only where widths are traced
        width, least = ("eta", np.log(2 / COARSEST)) if checks.is_concrete(gamma) else ("", 0.0)
        width_value = float(np.min(gamma)) if width else 1.0
    else:
        checks.positive("sigma", sigma, "eV")
        series = jackson_series(energy.astype(model.dtype), jnp.asarray(sigma, model.dtype), expansion)
        width, least, width_value = "sigma", np.pi, sigma
    wanted = least * expansion.half / width_value
    if expansion.count < np.floor(wanted):
        raise ValueError(
            f"Argument `expansion` must have at least {int(np.ceil(wanted))} moments for `{width}` = {width_value:g} eV, but has "
            f"{expansion.count}."
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
