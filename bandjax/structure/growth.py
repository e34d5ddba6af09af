"""Where the atoms of a pseudomorphic (001) stack sit, as a differentiable function of composition and strain.

Axes are the cubic ones, z is the growth axis, and a monolayer holds one atom in the cell a∥/2 (1, 1, 0), a∥/2 (−1, 1, 0).
Layers follow each other with the lateral period four of zinc blende,

    (0, 0), (¼, ¼), (½, 0), (¾, ¼)  in units of a∥,

and neighbouring layers l, l + 1 are (a⊥(x_l) + a⊥(x_l+1))/8 apart. A compound such as GaAs/InAs grows in bilayers, cation
below anion; its spacings are those of the cation, which is an end of every bond, so x counts bilayers there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.materials import Elastic, elastic_constants, interpolate, out_of_plane_constant
from bandjax.structure.crystal import elements_of

LATERAL = np.array([[0, 0], [0.25, 0.25], [0.5, 0], [0.75, 0.25]])  # of the four kinds of layer, in units of a∥
# missing neighbours below an even layer, and above an even and an odd one
_BELOW = np.array([[1, -1, -1], [-1, 1, -1]]) / np.sqrt(3)
_ABOVE = {0: np.array([[1, 1, 1], [-1, -1, 1]]) / np.sqrt(3), 1: np.array([[1, -1, 1], [-1, 1, 1]]) / np.sqrt(3)}


class Pair(NamedTuple):
    """Two end materials that grow on each other: what mixes, and on which lattice."""

    elastic: tuple[Elastic, Elastic]
    mixing: tuple[str, str]  # the elements whose fraction the composition is
    common: str | None  # the shared anion of two compounds; None for two elements

    @property
    def layers(self) -> int:
        """Monolayers for each entry of a composition: 2 for compounds, which grow in bilayers."""
        return 1 if self.common is None else 2


def pair_of(materials: str | tuple[str, str]) -> Pair:
    """The two end materials of a stack; a single name is a stack of one material.

    Raises:
        ValueError: not one or two names, a material without elastic constants, an element with a compound, or
            compounds without a common anion.
    """
    names = (materials, materials) if isinstance(materials, str) else tuple(materials)
    if len(names) != 2:
        raise ValueError(f"Argument `materials` must be one or two names, but is {materials!r}.")
    elastic = elastic_constants(names[0]), elastic_constants(names[1])
    first, second = elements_of(names[0]), elements_of(names[1])
    if len(first) != len(second) or (len(first) == 2 and first[1] != second[1]):
        raise ValueError(
            f"Argument `materials` must be two elements or two compounds with a common anion, but is {materials!r}."
        )
    return Pair(elastic, (first[0], second[0]), first[1] if len(first) == 2 else None)


def in_plane_constant(substrate: str | ArrayLike) -> ArrayLike:
    """a∥ in Å: the lattice constant of a material, or the number itself (possibly traced).

    Raises:
        ValueError: an unknown material, or a number ≤ 0.
    """
    if not isinstance(substrate, str):
        checks.positive("substrate", substrate, "Å")
        return substrate
    try:
        return elastic_constants(substrate).lattice_constant
    except ValueError as error:
        raise ValueError(f"Argument `substrate` must be a number in Å or a known material: {error}") from error


def stack_positions(
    composition: ArrayLike,
    a_parallel: ArrayLike,
    materials: str | tuple[str, str] | Pair = ("Si", "Ge"),
    *,
    vacuum: float | None = None,
    hydrogen: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Positions and cell of a (001) stack; differentiable in `composition` and `a_parallel`.

    The same numbers as `superlattice`, `slab` and `graded` put into their `ase.Atoms`, in the same order, so that
    `tight_binding(atoms, table, positions=…, cell=…, composition=…)` can be traced.

    Args:
        composition: Fraction of the second material, bottom to top, shape (layer,); of compounds (bilayer,).
        a_parallel: In-plane cubic lattice constant in Å, > 0.
        materials: One or two names with elastic constants: "Si", ("Si", "Ge"), ("GaAs", "InAs"); or a pair, whose elastic
            constants may be traced.
        vacuum: None stacks periodically along z; a height in Å makes a finite slab, surface up.
        hydrogen: Bond length in Å of two hydrogen atoms on each end of a slab, after all others, or None.

    Returns:
        (positions (atom, 3), cell (3, 3), rows) in Å. The lowest layer is at z = 0.

    Raises:
        ValueError: a composition outside [0, 1] or without layers, lengths ≤ 0, unknown materials, a periodic stack
            with an odd number of layers, hydrogen on a periodic stack.
    """
    pair = materials if isinstance(materials, Pair) else pair_of(materials)
    checks.shape_is("composition", composition, ("layer",))
    checks.fraction("composition", composition)
    checks.positive("a_parallel", a_parallel, "Å")
    n = np.shape(composition)[0] * pair.layers
    _check_ends(n, vacuum, hydrogen)

    dtype = jnp.result_type(jnp.asarray(composition), a_parallel, 1.0)
    composition, a = jnp.asarray(composition, dtype), jnp.asarray(a_parallel, dtype)
    height = out_of_plane_constant(interpolate(*pair.elastic, composition), a)
    above = jnp.roll(height, -1)
    spacing = (height + above) / 8 if pair.common is None else jnp.stack([height, above], axis=1).ravel() / 4
    z = jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(spacing)])
    positions = jnp.concatenate([a * jnp.asarray(LATERAL[np.arange(n) % 4], dtype), z[:n, None]], axis=1)
    if hydrogen is not None:
        below, above = (jnp.asarray(hydrogen * d, dtype) for d in (_BELOW, _ABOVE[(n - 1) % 2]))
        ends = [positions[0] + below, positions[-1] + above]
        positions = jnp.concatenate([positions, *ends])
    if vacuum is None:
        third = jnp.stack([a / 2 * (n % 4 == 2), jnp.zeros_like(a), z[n]])
    else:
        third = jnp.stack([jnp.zeros_like(a), jnp.zeros_like(a), z[n - 1] + vacuum])
    in_plane = a / 2 * jnp.array([[1, 1, 0], [-1, 1, 0]], dtype)
    return positions, jnp.concatenate([in_plane, third[None]])


def _check_ends(n: int, vacuum: float | None, hydrogen: float | None) -> None:
    if n == 0:
        raise ValueError("Argument `composition` must have at least one layer, but is empty.")
    if vacuum is None and n % 2:
        raise ValueError(
            f"A periodic (001) stack must have an even number of monolayers, but has {n}: it is not commensurate; "
            "repeat it twice, or pass `vacuum` for a slab."
        )
    if vacuum is None and hydrogen is not None:
        raise ValueError("Argument `hydrogen` must be None for a periodic stack, which has no ends, but is given.")
    if vacuum is not None:
        checks.positive("vacuum", vacuum, "Å")
    if hydrogen is not None:
        checks.positive("hydrogen", hydrogen, "Å")


def erf_profile(z: ArrayLike, edges: ArrayLike, sigma: ArrayLike, fractions: ArrayLike) -> jax.Array:
    """Composition through interdiffused interfaces, x(z) = f_0 + Σ_i (f_i+1 − f_i) ½ [1 + erf((z − e_i)/(√2 σ_i))].

    Everything may be traced.

    Args:
        z: Where, in any unit (layer index or Å), shape (layer,).
        edges: Interfaces in the unit of `z`, shape (edge,).
        sigma: Standard deviations of the interfaces in the unit of `z`, > 0; a number or shape (edge,).
        fractions: Fractions below, between and above the edges, in [0, 1], shape (edge + 1,).

    Returns:
        Fraction of the second species, shape (layer,). In [0, 1] where the edges, together with their widths, stay
        in order; edges that cross each other can leave it.

    Raises:
        ValueError: shapes that do not fit, `sigma` ≤ 0, or fractions outside [0, 1].
    """
    checks.shape_is("edges", edges, ("edge",))
    checks.shape_is("fractions", fractions, (np.shape(edges)[0] + 1,))
    checks.positive("sigma", sigma)
    checks.fraction("fractions", fractions)
    dtype = jnp.result_type(*(jnp.asarray(x) for x in (edges, sigma, fractions)), 1.0)
    z, edges, sigma, fractions = (jnp.asarray(x, dtype) for x in (z, edges, sigma, fractions))
    step = 0.5 * (1 + jax.scipy.special.erf((z[:, None] - edges) / (2**0.5 * sigma)))
    return fractions[0] + step @ jnp.diff(fractions)
