"""Atomic orbitals and their Fourier transforms: Slater-type radial functions with exponents from Slater's rules.

    R(r) = N r^(n*−1) exp(−ζ r),    ζ = (Z − σ)/(n* a0),    N² = (2ζ)^(2n*+1)/Γ(2n*+1)

n* is the effective principal quantum number and σ the screening by the other electrons. The valence shell gives s and
p (one exponent for both). Shells that the free atom leaves empty are those of an atom whose valence shell has lent one
electron: s* is the s shell of the next principal number; d is that of the valence principal number (3d of Si, 5d of
In; in the d and f blocks the (n−1)d shell), where every other electron counts in full and ζ = 1/(n* a0) remains. Such
orbitals are wide; a solid's are narrower. Shells are filled in Madelung's order (Cr, Cu and the like not excepted).

The Fourier transform of R(r) Y_l(r̂), as a polynomial in K times functions of K² that are smooth at 0, is
4π (−i)^l G_0(K) S_l(K) with S_l(K) = K^l Y_l(K̂) and

    G_m(K) = (−1)^m ∫ r^(2+m) R(r) j_(l+m)(Kr) / K^(l+m) dr,        ∇_K G_m = K G_(m+1).

G depends on n* and K/ζ only, apart from a power of ζ, and is tabulated once for each (l, n*) on even steps of
u = ln(1 + K²/ζ²), with its exact slope; between them it is a cubic. Not covered: the nodes that valence orbitals have
near the nucleus. They matter at K well above ζ, several hundred eV and more.

Source: J. C. Slater, Phys. Rev. 36, 57 (1930) (after): n*, screening constants and their groups.
"""

import functools
import math
from typing import NamedTuple

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from bandjax.hamiltonian.slater_koster import angular_momentum
from bandjax.units import BOHR

DEFAULT_ZETA = 2.0  # 1/Å, of sites that are no atoms (symbol X), with n* = l + 1; C 2p has 3.1, Si 3p 2.6
STEP = 0.01  # of u: the cubic is then right to 1e-7 of the value (more only where G changes its sign)
STEPS = 1000  # to K = 148 ζ; beyond (10 keV and more for any orbital here) the last value is held

_EFFECTIVE = {1: 1.0, 2: 2.0, 3: 3.0, 4: 3.7, 5: 4.0, 6: 4.2, 7: 4.2, 8: 4.2}  # Slater gives none beyond 6
_MADELUNG = sorted(((n, order) for n in range(1, 8) for order in range(min(n, 4))), key=lambda nl: (sum(nl), nl[0]))


class SlaterOrbital(NamedTuple):
    """A Slater-type radial function: l, effective principal quantum number and exponent in 1/Å."""

    l: int  # noqa: E741
    n: float
    zeta: float


@functools.cache
def slater_orbital(symbol: str, shell: str) -> SlaterOrbital:
    """The radial function of a shell of `SHELLS` by Slater's rules.

    Args:
        symbol: Chemical symbol; anything else ("X") gets ζ = `DEFAULT_ZETA` and n* = l + 1 (s*: 2).
        shell: A key of `bandjax.materials.SHELLS`.
    """
    order = angular_momentum(shell)
    number = ase.data.atomic_numbers.get(symbol, 0)
    if number == 0:
        return SlaterOrbital(order, order + (2.0 if shell == "s*" else 1.0), DEFAULT_ZETA)
    filled = configuration(number)
    valence = max(n for n, _ in filled)
    n = valence
    if shell == "s*":
        n = valence + 1
    elif order == 2 and list(filled)[-1][1] >= 2:  # d and f block
        n = valence - 1
    n = max(n, order + 1)
    charge = number - screening(filled, n, order)
    return SlaterOrbital(order, _EFFECTIVE[n], charge / _EFFECTIVE[n] / BOHR)


def configuration(number: int) -> dict[tuple[int, int], int]:
    """Electrons in each shell (n, l) of a neutral atom, in the order of filling."""
    filled, left = {}, number
    for n, order in _MADELUNG:
        if left > 0:
            filled[n, order] = min(left, 2 * (2 * order + 1))
            left -= filled[n, order]
    return filled


def screening(filled: dict[tuple[int, int], int], n: int, order: int) -> float:
    """Slater's σ for one electron in the shell (n, l), taken from the outermost group where that shell is empty.

    0.35 for each other electron of the group (0.30 in 1s), groups being (1s)(2s2p)(3s3p)(3d)(4s4p)(4d)(4f)…; for s and
    p 0.85 for each electron one principal number below and 1.00 for those further in; for d and f 1.00 for all inside.
    """
    groups: dict[tuple[int, int], int] = {}
    for (m, angular), count in filled.items():
        key = (m, angular if angular >= 2 else 0)
        groups[key] = groups.get(key, 0) + count
    own = (n, order if order >= 2 else 0)
    groups[own if own in groups else max(groups)] -= 1
    sigma = 0.0
    for key, count in groups.items():
        if key == own:
            sigma += count * (0.30 if n == 1 else 0.35)
        elif key < own:
            sigma += count * (0.85 if order < 2 and key[0] == n - 1 else 1.0)
    return sigma


def radial_function(orbital: SlaterOrbital, r: np.ndarray) -> np.ndarray:
    """R(r) in Å^(−3/2) at r in Å; ∫ R² r² dr = 1."""
    return orbital.zeta**1.5 * _norm(orbital.n) * (orbital.zeta * r) ** (orbital.n - 1) * np.exp(-orbital.zeta * r)


def _norm(n: float) -> float:
    return math.sqrt(2 ** (2 * n + 1) / math.gamma(2 * n + 1))


def form_factors(orbitals: tuple[SlaterOrbital, ...], k_squared: jax.Array) -> tuple[jax.Array, jax.Array]:
    """G_0 and G_1 of each orbital at one K² in 1/Å², two arrays of shape (orbital,); units Å^(3/2+l) and Å^(7/2+l)."""
    dtype = k_squared.dtype
    zeta = np.array([o.zeta for o in orbitals])
    table = jnp.asarray(np.stack([_table(o.l, o.n) for o in orbitals]), dtype)  # (orbital, cell, m, power)
    u = jnp.minimum(jnp.log1p(k_squared / jnp.asarray(zeta**2, dtype)) / STEP, STEPS)
    cell = jnp.clip(jax.lax.stop_gradient(u).astype(int), 0, STEPS - 1)
    c = table[np.arange(len(orbitals)), cell]
    t = (u - cell)[:, None]
    g = c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))
    power = np.array([1.5 + o.l for o in orbitals])
    return g[:, 0] * jnp.asarray(zeta**-power, dtype), g[:, 1] * jnp.asarray(zeta ** -(power + 2), dtype)


@functools.cache
def _table(order: int, n: float) -> np.ndarray:
    """Cubics of G_0 and G_1 for ζ = 1 in every cell of u, shape (cell, m, power of the place in the cell)."""
    u = STEP * np.arange(STEPS + 1)
    x = np.sqrt(np.expm1(u))
    g = [_transform(order, n, m, x) for m in range(3)]
    cubics = []
    for m in range(2):  # dG_m/du = (1 + x²) G_(m+1)/2
        left, right = g[m][:-1], g[m][1:]
        slope = STEP * (1 + x**2) * g[m + 1] / 2
        rise = right - left
        square, cube = 3 * rise - 2 * slope[:-1] - slope[1:], slope[:-1] + slope[1:] - 2 * rise
        cubics.append(np.stack([left, slope[:-1], square, cube], axis=-1))
    return np.stack(cubics, axis=1)


def _transform(order: int, n: float, m: int, x: np.ndarray) -> np.ndarray:
    """G_m(x) for ζ = 1, as Gauss' hypergeometric function (Gradshteyn, Ryzhik 6.621.1, turned to an argument < 1)."""
    total = order + m
    p = n + 2 + m + total
    factor = math.sqrt(math.pi) * math.gamma(p) / (2 ** (total + 1) * math.gamma(total + 1.5))
    shape = scipy.special.hyp2f1(p / 2, (order - n) / 2, total + 1.5, x**2 / (1 + x**2))
    return (-1) ** m * _norm(n) * factor * (1 + x**2) ** (-p / 2) * shape
