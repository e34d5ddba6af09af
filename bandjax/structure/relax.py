"""Relaxed positions: the minimum of Keating's energy, and its exact derivatives.

Unknown are the displacements u of the atoms and the strains s of the cell, r = r_0 + F (r' + u − r_0), F = 1 + Σ_m s_m B_m.
Newton's method with conjugate gradients on Hessian-vector products and a backtracking line search finds ∇E = 0; nothing of
the search is differentiated. At the minimum the implicit function theorem,

    d(u, s)/dθ = −H⁻¹ ∂∇E/∂θ,

gives the derivative with respect to the unrelaxed positions and cell, composition and force constants by one more solve.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import ase
import ase.neighborlist
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.materials import HYDROGEN
from bandjax.structure.keating import (
    ForceField,
    Network,
    keating,
    keating_energy,
    network_of,
    species_weights,
    springs_of,
)

FREE = ("positions", "growth", "isotropic", "cell")
REACH_OF_HYDROGEN = 2.0  # Å; hydrogen follows the nearest atom within
_matmul = functools.partial(jnp.matmul, precision="highest")


class Relaxed(NamedTuple):
    """A relaxed structure; arrays, so that it passes through JAX."""

    positions: jax.Array  # Å, (atom, 3), in the order of the atoms
    cell: jax.Array  # Å, rows
    energy: jax.Array  # eV, of the strain; 0 in an unstrained crystal
    force: jax.Array  # eV/Å, the largest component that is left
    steps: jax.Array  # of Newton's method
    converged: jax.Array

    def atoms(self, like: ase.Atoms) -> ase.Atoms:
        """The relaxed structure as `ase.Atoms`, with the species and arrays of `like`."""
        relaxed = like.copy()
        relaxed.set_cell(np.asarray(self.cell, float))
        relaxed.set_positions(np.asarray(self.positions, float))
        return relaxed


def relax(
    atoms: ase.Atoms,
    field: ForceField | str | tuple[str, str],
    *,
    free: str = "positions",
    positions: ArrayLike | None = None,
    cell: ArrayLike | None = None,
    composition: ArrayLike | None = None,
    fixed: ArrayLike | None = None,
    tolerance: float | None = None,
    max_steps: int = 50,
) -> Relaxed:
    """Relax a tetrahedral structure in Keating's valence force field.

    Differentiable in `positions` (they set the bonds' start only, so their derivative is that of a common shift), `cell`,
    `composition` and the constants of `field`, forwards and backwards. The first atom stays where it is, unless atoms are
    `fixed`.

    Args:
        atoms: Structure; its neighbours are searched once. Periodic along its first two cell vectors at least.
        field: Force constants of `keating`, or the materials to take them of: "Si", ("Si", "Ge"), ("GaAs", "InAs").
        free: What moves besides the atoms: "positions" (nothing: the cell is fixed), "growth" (the third cell vector;
            the first two stay, as on a substrate), "isotropic" (the volume), "cell" (all six strains).
        positions: Positions in Å to start from, shape (atom, 3), possibly traced; None takes those of `atoms`.
        cell: Cell in Å to start from, rows, possibly traced; None takes that of `atoms`.
        composition: Fraction of the second material at each site, in [0, 1], shape (atom,), possibly traced; None takes
            `atoms.arrays["composition"]` where that holds fractions, else the symbols.
        fixed: Which atoms do not move, shape (atom,), bool; with a free cell they follow it. None: none.
        tolerance: Largest force left in eV/Å; None is ε^(2/3) of the dtype (4e-11 in double, 2e-5 in single precision).
        max_steps: Steps of Newton's method.

    Returns:
        `Relaxed`. Under a JAX transformation `converged` tells whether the forces have gone below the tolerance;
        otherwise a failure raises. Hydrogen has no constants: it moves along with the atom it is bound to. Atoms in
        the outermost layers of a slab may miss neighbours; nothing reconstructs, and no dimers form.

    Raises:
        ValueError: a species without constants, an atom with other than four neighbours, a wrong shape, an unknown
            `free`, a free cell that is not periodic, a structure with less than two periodic directions, or a relaxation
            that did not converge.
    """
    field = field if isinstance(field, ForceField) else keating(field)
    checks.one_of("free", free, FREE)
    checks.positive("tolerance", 1.0 if tolerance is None else tolerance, "eV/Å")
    _check_periodic(atoms, free)
    heavy, host = _hosts(atoms)
    skeleton = atoms[heavy]
    if composition is not None:
        checks.shape_is("composition", composition, (len(atoms),))
        composition = jnp.asarray(composition)[heavy]
    weights = species_weights(skeleton, field.species, field.mixing, composition)
    network = network_of(skeleton, field)

    leaves = [x for x in (positions, cell, composition, field.length, field.alpha, field.beta) if x is not None]
    dtype = jnp.result_type(*(jnp.asarray(x) for x in leaves))
    start = jnp.asarray(atoms.positions if positions is None else positions, dtype)
    cell = jnp.asarray(np.asarray(atoms.cell) if cell is None else cell, dtype)
    checks.shape_is("positions", start, (len(atoms), 3))
    checks.shape_is("cell", cell, (3, 3))
    still = np.zeros(len(atoms), bool) if fixed is None else np.asarray(fixed)
    checks.shape_is("fixed", still, (len(atoms),))
    if tolerance is None:
        tolerance = float(jnp.finfo(dtype).eps) ** (2 / 3)

    field = jax.tree.map(lambda x: x.astype(dtype), field)
    mobile = jnp.asarray(~still[heavy], dtype)[:, None]
    chosen = _Chosen(network, heavy, host, *_strains(free))
    found = _relax(chosen, start, cell, field, jnp.asarray(weights, dtype), mobile, tolerance, max_steps)
    if checks.is_concrete(found) and not bool(found.converged):
        raise ValueError(
            f"The relaxation must bring the largest force below {tolerance:.1e} eV/Å, but after {int(found.steps)} steps it is "
            f"{float(found.force):.1e} eV/Å: start closer to the crystal, or raise `max_steps` or `tolerance`."
        )
    return found


def _check_periodic(atoms: ase.Atoms, free: str) -> None:
    needed = 2 if free == "positions" else 3
    if not atoms.pbc[:needed].all():
        raise ValueError(
            f"Argument `atoms` must be periodic along its first {needed} cell vectors with free={free!r}, but its pbc are "
            f"{[bool(p) for p in atoms.pbc]}."
        )


def _hosts(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """The atoms that are no hydrogen, and for each atom the place among them of itself or of the atom it is bound to.

    Raises:
        ValueError: a hydrogen atom is bound to none, or there is nothing but hydrogen.
    """
    hydrogen = np.flatnonzero(atoms.symbols == HYDROGEN)
    heavy = np.setdiff1d(np.arange(len(atoms)), hydrogen)
    if not heavy.size:
        raise ValueError(
            f"Argument `atoms` must hold atoms to relax, but is {atoms.get_chemical_formula() or 'empty'}."
        )
    host = np.zeros(len(atoms), int)
    host[heavy] = np.arange(heavy.size)
    i, j, distance = (
        ase.neighborlist.neighbor_list("ijd", atoms, REACH_OF_HYDROGEN) if hydrogen.size else (heavy[:0],) * 3
    )
    for at in hydrogen:
        bound = np.flatnonzero((i == at) & ~np.isin(j, hydrogen))
        if not bound.size:
            raise ValueError(
                f"Every hydrogen atom must be bound to another, but atom {at} has none within {REACH_OF_HYDROGEN} Å."
            )
        host[at] = host[j[bound[distance[bound].argmin()]]]
    return heavy, host


class _Chosen(NamedTuple):
    """What is found once."""

    network: Network
    heavy: np.ndarray  # the atoms that are no hydrogen
    host: np.ndarray  # for each atom, the place among those of the one that it moves with
    strains: np.ndarray  # B_m in fixed directions, (6, 3, 3); zeros where there are less
    along: np.ndarray  # how much of x_m nᵀ each B_m has besides, n the normal of the first two cell vectors, (6,)


def _strains(free: str) -> tuple[np.ndarray, np.ndarray]:
    """Always six, so that one compiled program serves all choices."""
    strains, along = np.zeros((6, 3, 3)), np.zeros(6)
    if free == "growth":  # r → r + x (n·r) leaves whatever is perpendicular to n where it is
        along[:3] = 1
    elif free == "isotropic":
        strains[0] = np.eye(3)
    elif free == "cell":
        for m, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
            strains[m, a, b] = strains[m, b, a] = 1
    return strains, along


@jax.jit
def _relax(
    chosen: _Chosen,
    everything: jax.Array,
    cell: jax.Array,
    field: ForceField,
    weights: jax.Array,
    mobile: jax.Array,
    tolerance: float,
    max_steps: int,
) -> Relaxed:
    network, start = chosen.network, everything[chosen.heavy]
    normal = jnp.cross(cell[0], cell[1])
    normal = normal / jnp.linalg.norm(normal)
    towards = jnp.tile(jnp.eye(3, dtype=cell.dtype), (2, 1)) * chosen.along[:, None]
    strains = (chosen.strains + towards[:, :, None] * normal).astype(cell.dtype)
    springs = springs_of(field, weights, network)
    vectors = start[network.neighbour] + _matmul(network.neighbour_shift.astype(cell.dtype), cell) - start[:, None]
    # a strain moves all atoms: in this unit its stiffness is like that of one of them
    unit = 1 / jnp.sqrt(jnp.sum(vectors**2))
    bond = jnp.max(springs.stiffness * springs.target**2)

    def deformation(s: jax.Array) -> jax.Array:
        return jnp.eye(3, dtype=cell.dtype) + jnp.einsum("m,mab->ab", s * unit, strains, precision="highest")

    def parts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        u = x[: start.size].reshape(start.shape)
        # a common shift costs nothing; taken out, it cannot grow from rounding
        return jnp.where(jnp.all(mobile > 0), u - jnp.mean(u, axis=0), u * mobile), x[start.size :]

    def energy(x: jax.Array) -> jax.Array:
        u, s = parts(x)
        # differences of displacements, not of positions: no digits are lost in large cells
        now = _matmul(vectors + u[network.neighbour] - u[:, None], deformation(s).T)
        return keating_energy(now, springs)

    gradient = jax.grad(energy)

    def search(_, x):
        return _newton(energy, x, bond, tolerance, max_steps)

    def solve(linear, y):
        solver = functools.partial(_conjugate_gradients, tolerance=10 * float(jnp.finfo(cell.dtype).eps))
        return jax.lax.custom_linear_solve(linear, y, solver, symmetric=True)

    x = jnp.zeros(start.size + len(strains), cell.dtype)
    x, steps = jax.lax.custom_root(gradient, x, search, solve, has_aux=True)
    value, slope = jax.value_and_grad(energy)(x)
    force = jnp.max(jnp.abs(slope))
    u, s = parts(x)
    u = jnp.where(jnp.all(mobile > 0), u - u[0], u)
    deform = deformation(s)
    moved = start[0] + _matmul(start - start[0] + u, deform.T) - start
    positions = everything + moved[chosen.host]
    return Relaxed(positions, _matmul(cell, deform.T), value, force, steps, force <= tolerance)


def _newton(
    energy: Callable[[jax.Array], jax.Array], start: jax.Array, bond: jax.Array, tolerance: float, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """A minimum of the energy near `start`, and the number of steps; `bond` is the energy scale of one bond."""
    rounding = 100 * jnp.finfo(start.dtype).eps * bond

    def gradient_and_energy(x):
        value, slope = jax.value_and_grad(energy)(x)
        return slope, value

    def step(state):
        x, _, _, number = state
        g, hessian, here = jax.linearize(gradient_and_energy, x, has_aux=True)
        newton = _conjugate_gradients(hessian, -g, tolerance=1e-3)
        # far from the minimum the Hessian may have negative eigenvalues
        direction = jnp.where(_matmul(newton, g) < 0, newton, -g / jnp.maximum(jnp.max(jnp.abs(g)), 1))
        slope = _matmul(direction, g)

        def too_long(length):
            return ~(energy(x + length * direction) <= here + 1e-4 * length * slope + rounding) & (length > 1e-6)

        length = jax.lax.while_loop(too_long, lambda length: length / 2, jnp.ones((), g.dtype))
        return x + jnp.where(length > 1e-6, length, 0.0) * direction, x, jnp.max(jnp.abs(g)), number + 1

    def unfinished(state):
        _, _, force, number = state
        return ~(force <= tolerance) & (number <= max_steps)

    # a step first finds the force where it starts: the last one only shows that its start is the minimum
    state = start, start, jnp.full((), jnp.inf, start.dtype), jnp.zeros((), int)
    _, x, _, number = jax.lax.while_loop(unfinished, step, state)
    return x, number - 1


def _conjugate_gradients(matrix: Callable[[jax.Array], jax.Array], y: jax.Array, *, tolerance: float) -> jax.Array:
    """x with |A x − y| ≤ tolerance |y| for a symmetric A ≥ 0, or what was reached where A turns out not to be."""

    def step(state):
        x, rest, direction, square, number = state
        product = matrix(direction)
        curvature = _matmul(direction, product)
        length = jnp.where(curvature > 0, square / curvature, 0.0)
        x, rest = x + length * direction, rest - length * product
        new = jnp.where(curvature > 0, _matmul(rest, rest), 0.0)
        return x, rest, rest + new / square * direction, new, number + 1

    def unfinished(state):
        return (state[3] > tolerance**2 * size) & (state[4] < 10 * y.size)

    size = _matmul(y, y)
    start = (jnp.zeros_like(y), y, y, size, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, step, start)[0]
