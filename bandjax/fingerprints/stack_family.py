"""Families of (001) superlattices of two compounds, with layer numbers, compositions and strain as continuous numbers.

A stack is a period of L layers, of n_1 … n_L bilayers with fractions f_1 … f_L of the second compound, on an in-plane lattice
constant a∥ that the substrate sets. Within a period of N bilayers (N whole) the fractions are error-function steps,

    c(z) = f_L + Σ_i (f_i+1 − f_i) ½ [1 + erf((z − e_i)/(√2 σ))],      e_0 = −½,  e_i = n_1 + … + n_i − ½,  e_L = N − ½,

and at σ → 0 with whole n_i those of the stack that is counted by them. Where Σ n_i = N + f is not whole, every number is

    P = (1 − f) P_N + f P_N+1,

the last layer taking what a whole period leaves: continuous in all n_i, with a derivative that has steps only where Σ n_i is whole.
Stacks of all periods are one program: N is a traced number (`closed_hamiltonian`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.fingerprints.levels import Levels, half_grid
from bandjax.hamiltonian import Model, closed_hamiltonian, layered_hamiltonian, tight_binding
from bandjax.inference import valence_offset
from bandjax.materials import Table
from bandjax.spectrum import eigenvalues, group_curvatures
from bandjax.structure import erf_profile, graded, stack_positions
from bandjax.structure.growth import pair_of
from bandjax.units import HBAR2_OVER_M

NUMBERS = (
    "gap", "valence_offset", "electron_mass_growth", "electron_mass_plane", "hole_mass_growth", "hole_mass_plane"
)  # fmt: skip
"""What is read off a stack: eV and m_e, see `stack_numbers`."""
PLANE_AND_GROWTH = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
ELECTRONS = 8  # valence electrons of a bilayer
VACUUM = 15.0  # Å
DIRECT_GRID = (4, 4, 2)  # meets Γ, and where X and L of the zinc-blende zone fold to
DIRECT_WITHIN = 1e-3  # eV: levels that are linear in k at Γ (Dresselhaus) top it by less than this
SHARP = 1e-3  # σ of an abrupt interface, bilayers: the steps are whole to rounding


@dataclasses.dataclass(frozen=True, eq=False)
class StackFamily:
    """Superlattices between bounds; made by `superlattice_family`.

    Attributes:
        materials: First and second compound.
        table: Their table.
        layers: Least and largest number of bilayers of each layer.
        fractions: Least and largest fraction of the second compound in each layer; equal: fixed.
        a_parallel: Least and largest in-plane lattice constant, Å; equal: fixed.
        interface: σ of the interfaces while layer numbers are continuous, bilayers.
        template: The longest stack of the family and one bilayer more, for its bonds.
        offset_of: `valence_offset` of the materials.
    """

    materials: tuple[str, str]
    table: Table
    layers: tuple[tuple[int, int], ...]
    fractions: tuple[tuple[float, float], ...]
    a_parallel: tuple[float, float]
    interface: float
    template: ase.Atoms
    offset_of: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers that make a stack: layers_1 …, fraction_1 …, a_parallel."""
        count = range(1, len(self.layers) + 1)
        return (*(f"layers_{i}" for i in count), *(f"fraction_{i}" for i in count), "a_parallel")

    @property
    def bounds(self) -> np.ndarray:
        """Least and largest value of each of `names`, shape (name, 2)."""
        return np.array([*self.layers, *self.fractions, self.a_parallel], float)

    @property
    def longest(self) -> int:
        """Bilayers of the longest period that a descent may meet."""
        return len(self.template) // 2 - 1


def superlattice_family(
    materials: tuple[str, str],
    table: Table,
    *,
    layers: Sequence[tuple[int, int]],
    fractions: Sequence[tuple[float, float]],
    a_parallel: tuple[float, float],
    interface: float = 0.3,
) -> StackFamily:
    """A family of periodic (001) stacks for `design_stack`.

    Args:
        materials: Two compounds with a common anion, such as ("GaAs", "AlAs").
        table: `load_parameters(materials, …)`, with spin-orbit.
        layers: Least and largest number of bilayers of each layer of the period, from the bottom, two layers or more.
        fractions: Least and largest fraction of the second material in each of them.
        a_parallel: Least and largest in-plane lattice constant, Å.
        interface: σ in bilayers of the interfaces while layer numbers are continuous, > 0: less makes the descent rougher, more
            moves it away from abrupt stacks. The stacks that are read off are abrupt.

    Raises:
        ValueError: materials without a common anion, less than two layers, bounds that are not in order, layers < 1,
            fractions outside [0, 1], a table without spin-orbit constants or with a law of its own for strain.
    """
    if pair_of(materials).common is None:
        raise ValueError(
            f"Argument `materials` must be two compounds with a common anion, but is {materials!r}: the gaps of Si and Ge "
            "are not at Γ."
        )
    if len(layers) < 2 or len(fractions) != len(layers):
        raise ValueError(
            f"Arguments `layers` and `fractions` must have one pair of bounds for each of two layers or more, but have {len(layers)} "
            f"and {len(fractions)}."
        )
    for name, pairs in (("layers", layers), ("fractions", fractions), ("a_parallel", (tuple(a_parallel),))):
        for pair in pairs:
            if len(pair) != 2 or not pair[0] <= pair[1]:
                raise ValueError(f"Argument `{name}` must hold a lower and an upper bound, but holds {pair!r}.")
    if any(not isinstance(n, int | np.integer) or n < 1 for pair in layers for n in pair):
        raise ValueError(f"Argument `layers` must hold whole numbers ≥ 1, but is {layers!r}.")
    checks.fraction("fractions", np.array(fractions, float))
    checks.positive("a_parallel", a_parallel, "Å")
    checks.positive("interface", interface, "bilayers")
    longest = sum(most for _, most in layers) + 1
    template = graded(materials, np.zeros(longest + 1), substrate=materials[0], vacuum=VACUUM)
    least, largest = map(float, a_parallel)
    family = StackFamily(
        (materials[0], materials[1]), table, tuple((low, high) for low, high in layers),
        tuple((float(low), float(high)) for low, high in fractions), (least, largest), float(interface), template,
        valence_offset(table, materials),
    )  # fmt: skip
    tight_binding(template, table)  # says what the table lacks
    return family


def stack_numbers(family: StackFamily, stack: Mapping[str, float]) -> dict[str, float]:
    """Numbers of the abrupt stack of a family with whole layers.

    Args:
        stack: Values by `family.names`; layers whole.

    Returns:
        "gap": distance of the lowest conduction level from the highest valence level at Γ, eV. "valence_offset": of the second layer's
        material beside the first's, both strained to a∥, by `valence_offset` (mean of the three valence bands without spin-orbit),
        eV. Masses of these two levels at Γ along the growth direction and along [100] in the plane, in m_e: the
        mean curvature of a Kramers pair; holes negative.

    Raises:
        ValueError: a value is missing, or the layers are not whole numbers that make a period within the family's.
    """
    p = as_point(family, stack)
    whole = np.rint(p[: len(family.layers)])
    if (np.abs(p[: len(whole)] - whole) > 1e-9).any() or whole.min() < 1 or whole.sum() > family.longest:
        raise ValueError(
            f"Argument `stack` must have whole numbers ≥ 1 of bilayers, {family.longest} at most together, but has {p[: len(whole)]}."
        )
    return named_numbers(np.asarray(number_slopes(family, p, int(whole.sum()), SHARP)[0]))


def named_numbers(features: np.ndarray, names: Sequence[str] = NUMBERS) -> dict[str, float]:
    """Energies and masses by name from (some of) what `stack_features` gives."""
    numbers = dict(zip(names, map(float, features), strict=True))
    return {name: HBAR2_OVER_M / x if "mass" in name else x for name, x in numbers.items()}


def as_point(family: StackFamily, stack: Mapping[str, float]) -> np.ndarray:
    """Values of a stack in the order of `family.names`.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in family.names if name not in stack]
    if missing:
        raise ValueError(f"Argument `stack` must give {', '.join(family.names)}, but has no {missing[0]!r}.")
    return np.array([float(stack[name]) for name in family.names])


def composition_of(family: StackFamily, p: jax.Array, period: ArrayLike, sigma: ArrayLike) -> jax.Array:
    """Fraction in each bilayer of the template, which goes on in the period, shape (longest + 1,)."""
    count = len(family.layers)
    fractions = p[count : 2 * count]
    inner = jnp.cumsum(p[: count - 1])
    edges = jnp.concatenate([jnp.zeros(1), inner, jnp.asarray(period, p.dtype)[None]]) - 0.5
    around = jnp.concatenate([fractions[-1:], fractions, fractions[:1]])
    profile = erf_profile(jnp.arange(family.longest + 1) % period, edges, sigma, around)
    return jnp.clip(profile, 0.0, 1.0)  # rounding, and layers thinner than their interfaces


def long_model(family: StackFamily, p: jax.Array, period: ArrayLike, sigma: ArrayLike) -> Model:
    """Model of the template with the stack's composition and strain."""
    composition = composition_of(family, p, period, sigma)
    positions, cell = stack_positions(composition, p[-1], family.materials, vacuum=VACUUM)
    sites = jnp.repeat(composition, 2)  # what stands at an anion is not read
    return tight_binding(family.template, family.table, positions=positions, cell=cell, composition=sites)


def closed_at(model: Model, period: ArrayLike, k: jax.Array) -> jax.Array:
    """H(k) of the superlattice that repeats the template's first `period` bilayers."""
    bilayer = tuple(atom // 2 for atom in range(model.topology.n_atom))
    return closed_hamiltonian(layered_hamiltonian(model, k, bilayer), period)


def stack_features(family: StackFamily, p: jax.Array, period: ArrayLike, sigma: ArrayLike) -> jax.Array:
    """`NUMBERS` with curvatures in eV Å² in the place of masses, which are smooth where a mass is infinite; (number,)."""
    model = long_model(family, p, period, sigma)

    def along(d: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = lambda t: closed_at(model, period, t * d)  # noqa: E731
        first = lambda t: jax.jvp(h, (t,), (jnp.ones_like(t),))[1]  # noqa: E731
        return jax.jvp(first, (jnp.zeros((), p.dtype),), (jnp.ones((), p.dtype),))

    first, second = jax.vmap(along)(jnp.asarray(PLANE_AND_GROWTH, p.dtype))
    top = ELECTRONS * jnp.asarray(period)
    at_gamma = closed_at(model, period, jnp.zeros(3, p.dtype))
    (valence, conduction), (hole, electron) = group_curvatures(
        at_gamma, first, second, jnp.stack([top - 2, top]), 2
    )  # Kramers pairs
    count = len(family.layers)
    offset = [family.offset_of({"fraction": f, "a_parallel": p[-1]}) for f in p[count : count + 2]]
    return jnp.stack([conduction - valence, offset[1] - offset[0], electron[1], electron[0], hole[1], hole[0]])


def with_slopes(
    of: Callable[..., jax.Array], family: StackFamily, p: jax.Array, period: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Features of a stack and their derivatives in p, shapes (feature,) and (feature, value)."""

    def twice(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = of(family, q, period, sigma)
        return found, found

    derivative, found = jax.jacfwd(twice, has_aux=True)(p)
    return found, derivative


number_slopes = jax.jit(partial(with_slopes, stack_features), static_argnums=0)
"""`stack_features` and their derivatives in p, shapes (number,) and (number, value)."""


def between_periods(
    family: StackFamily, slopes_of: Callable[[np.ndarray, int, float], tuple[ArrayLike, ArrayLike]], p: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features of continuous layers and their derivatives, from those (`slopes_of`) of the whole periods below and above Σ n_i."""
    layered = np.arange(len(p)) < len(family.layers)
    total = p[layered].sum()
    period = int(np.clip(np.floor(total), 1, family.longest - 1))
    share = total - period
    (a, da), (b, db) = (map(np.asarray, slopes_of(p, n, family.interface)) for n in (period, period + 1))
    return (1 - share) * a + share * b, (1 - share) * da + share * db + np.where(layered, (b - a)[:, None], 0.0)


def stack_levels(family: StackFamily, p: jax.Array, period: ArrayLike, sigma: ArrayLike, grid: Sequence[int]) -> Levels:
    """Levels of the superlattice on a grid as `model_levels` takes it, with levels far above all for the bilayers beyond its period."""
    model = long_model(family, p, period, sigma)
    third = model.positions[2 * jnp.asarray(period)] - model.positions[0]
    cell = model.cell.at[2].set(third)
    fractional, weight = half_grid(tuple(grid))
    k = jnp.asarray(fractional, p.dtype) @ (2 * np.pi * jnp.linalg.inv(cell).T)
    energy = jax.lax.map(lambda q: eigenvalues(closed_at(model, period, q)), k)
    return Levels(energy, jnp.asarray(weight, p.dtype), ELECTRONS * jnp.asarray(period, p.dtype), 1)


def is_direct(family: StackFamily, p: np.ndarray) -> bool:
    """Whether the gap at Γ of the abrupt stack is its gap on `DIRECT_GRID`, within `DIRECT_WITHIN`."""
    period = int(np.rint(p[: len(family.layers)].sum()))
    energy = np.asarray(_grid_energies(family, p, period))
    filled = ELECTRONS * period
    gap = energy[:, filled].min() - energy[:, filled - 1].max()
    at_gamma = energy[0, filled] - energy[0, filled - 1]
    return bool(at_gamma - gap <= DIRECT_WITHIN)


@partial(jax.jit, static_argnums=0)
def _grid_energies(family: StackFamily, p: jax.Array, period: jax.Array) -> jax.Array:
    return stack_levels(family, p, period, SHARP, DIRECT_GRID).energy
