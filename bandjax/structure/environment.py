"""What each atom of a tetrahedral network sees: composition and order of its shells, bonds, strain, charge, interface.

Bonds and shells are found once from `atoms` and stay; positions, cell and composition enter smoothly. With c_j the fraction
of the second material on site j, c̄ its mean, and X_s(i) the mean of c over the shell s of atom i,

    order:            α_s(i) = 1 − [c_i (1 − X_s) + (1 − c_i) X_s] / [c_i (1 − c̄) + (1 − c_i) c̄]      (Warren, Cowley)
    … along an axis:  the same with X_s weighted by the squared direction cosine of each neighbour
    strain:           ε = ½ (F + Fᵀ) − 1, with F the matrix that least-squares maps the four bonds of the unstrained
                      crystal (cubic directions, reference lengths of `keating`) on the actual ones
    charge transfer:  mean over the bonds of χ_j − χ_i, electronegativities mixed by c
    interface:        D = −λ ln [e^(−D_max/λ) + Σ_b (G_b²/n_b) e^(−|z_i − z_b|/λ)],    n_b = Σ_b' e^(−(z_b − z_b')²/2w²),
                      G_b = Σ_b' s_b' e^(−(z_b − z_b')²/2w²) / n_b

In D the bonds b have midpoints z_b along the normal of the first two cell vectors and rise in composition by s_b along it,
s_b = (c_j − c_i) erf(h_b/w) with h_b the height of j above i: the sign of h_b, made smooth for bonds in the plane.
n_b counts the bonds of one plane and G is the step of the layers' mean composition there: the random steps of an alloy
cancel. One abrupt interface at a distance d gives D = d, a weaker step G moves it away by 2λ ln(1/G).

docs/descriptors.md says which sources the definitions have.
"""

import functools
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.materials import package_file
from bandjax.structure.keating import ForceField, Network, bond_constants, keating, network_of, species_weights
from bandjax.structure.shells import Shell, bonds_by_direction, shells_of

DESCRIPTORS: tuple[tuple[str, str], ...] = (
    ("fraction", ""),
    *((f"shell_fraction_{s}", "") for s in (1, 2, 3)),
    *((f"order_{s}", "") for s in (1, 2, 3)),
    *((f"order_{s}_{axis}", "") for s in (1, 2, 3) for axis in "abc"),
    ("bond_length", "Å"),
    ("bond_variance", "Å²"),
    *((f"strain_{component}", "") for component in ("xx", "yy", "zz", "yz", "xz", "xy")),
    ("charge_transfer", "Pauling"),
    ("interface_distance", "Å"),
)
DECAY = 0.5  # Å, λ: how sharply the nearest interface wins
FARTHEST = 50.0  # Å, D_max: what D tends to where there is no interface
# Å, w: bonds this near in height count as one plane, and a bond that rises by less counts in part. Relaxed planes of (001)
# are flatter, and the next one is 1.4 Å away; the flat bonds of (111) rise by 0.8 Å and count to 0.9998.
PLANE = 0.3
_matmul = functools.partial(jnp.matmul, precision="highest")


class Environment(NamedTuple):
    """Descriptors of each atom; first axis: atom."""

    fraction: jax.Array  # c_i; 0 at the common anion of compounds
    shell_fraction: jax.Array  # (atom, shell 1 to 3)
    order: jax.Array  # (atom, shell)
    order_along: jax.Array  # (atom, shell, axis a, b, c)
    bond_length: jax.Array  # Å, mean of the four bonds
    bond_variance: jax.Array  # Å²
    strain: jax.Array  # (atom, 3, 3), Cartesian
    charge_transfer: jax.Array  # on Pauling's scale; > 0 where the neighbours attract electrons
    interface_distance: jax.Array  # Å

    def features(self) -> jax.Array:
        """All of them as columns, shape (atom, 26); `DESCRIPTORS` lists names and units."""
        rows = len(self.fraction)
        strain = self.strain[:, (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        parts = self._replace(strain=strain)
        return jnp.concatenate([x.reshape(rows, -1) for x in parts], axis=1)


def environment(
    atoms: ase.Atoms,
    field: ForceField | str | tuple[str, str],
    *,
    positions: ArrayLike | None = None,
    cell: ArrayLike | None = None,
    composition: ArrayLike | None = None,
    orientation: ArrayLike | None = None,
) -> Environment:
    """Descriptors of the atoms' environments; differentiable in `positions`, `cell` and `composition`.

    Args:
        atoms: Tetrahedral structure without hydrogen; its bonds and shells are searched once.
        field: Reference bond lengths of `keating`, or the materials to take them of: ("Si", "Ge"), ("GaAs", "InAs").
        positions: Positions in Å, shape (atom, 3), possibly traced; None takes those of `atoms`.
        cell: Cell in Å, rows, possibly traced; None takes that of `atoms`.
        composition: Fraction of the second material at each site, in [0, 1], shape (atom,), possibly traced; None takes
            `atoms.arrays["composition"]` where that holds fractions, else the symbols.
        orientation: The cubic axes of the crystal as rows, Cartesian; None: they are x, y, z, as everywhere in bandjax.

    Returns:
        `Environment`. Axis a is the direction of the first cell vector, c the normal of the first two, b = c × a. In a
        crystal of one composition 0 or 1 the order is 0. At a surface means are taken over the neighbours that there
        are, and missing bonds count as unstrained.

    Raises:
        ValueError: a species that `field` does not have, an atom with other than four neighbours (in the outermost layers
            of a slab: more than four, or none), a wrong shape, a fraction outside [0, 1], or bonds that do not lie along
            the cubic ⟨111⟩ directions.
    """
    field = field if isinstance(field, ForceField) else keating(field)
    weights = species_weights(atoms, field.species, field.mixing, composition)
    network = network_of(atoms, field)
    leaves = [x for x in (positions, cell, composition, field.length) if x is not None]
    dtype = jnp.result_type(*(jnp.asarray(x) for x in leaves))
    positions = jnp.asarray(atoms.positions if positions is None else positions, dtype)
    cell = jnp.asarray(np.asarray(atoms.cell) if cell is None else cell, dtype)
    checks.shape_is("positions", positions, (len(atoms), 3))
    checks.shape_is("cell", cell, (3, 3))
    frame = _Frame(
        network,
        shells_of(atoms, network),
        *bonds_by_direction(atoms, network, orientation),
        np.isin(atoms.get_chemical_symbols(), field.mixing),
        np.array([electronegativity(s) for s in field.species]),
    )
    weights = jnp.asarray(weights, dtype)
    second = field.species.index(field.mixing[1])
    c = weights[:, second] if field.mixing[0] != field.mixing[1] else jnp.zeros(len(atoms), dtype)
    return _environment(frame, positions, cell, weights, c, field, bool(atoms.pbc[2]))


class _Frame(NamedTuple):
    """What is found once."""

    network: Network
    shells: tuple[Shell, Shell, Shell]
    directions: np.ndarray  # of each directed bond, (2 × bond, 3)
    missing: np.ndarray  # Σ n nᵀ over an atom's directions without a bond, (atom, 3, 3)
    mixes: np.ndarray  # (atom,), bool
    chi: np.ndarray  # (species,)


@jax.jit(static_argnames="periodic")
def _environment(
    frame: _Frame,
    positions: jax.Array,
    cell: jax.Array,
    weights: jax.Array,
    c: jax.Array,
    field: ForceField,
    periodic: bool,
) -> Environment:
    network, mixes, dtype = frame.network, frame.mixes, positions.dtype
    axes = _axes(cell)
    fractions, orders, orders_along = [], [], []
    for i, j, shift in frame.shells:
        vector = _matmul(positions[j] + _matmul(shift.astype(dtype), cell) - positions[i], axes.T)
        cosine2 = vector**2 / jnp.sum(vector**2, axis=1, keepdims=True)
        weight = jnp.concatenate([jnp.ones_like(cosine2[:, :1]), cosine2], axis=1) * mixes[j][:, None]
        fraction = _shell_mean(i, weight, c[j], c, mixes)
        order = _order(fraction, c, mixes)
        fractions.append(fraction[:, 0])
        orders.append(order[:, 0])
        orders_along.append(order[:, 1:])

    vector = positions[network.j] + _matmul(network.shift.astype(dtype), cell) - positions[network.i]
    length = jnp.linalg.norm(vector, axis=1)
    start, end = jnp.concatenate([network.i, network.j]), jnp.concatenate([network.j, network.i])
    ones = jnp.ones_like(start, dtype)
    count = jax.ops.segment_sum(ones, start, len(c))

    def mean(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, start, len(c)) / count

    bond = mean(jnp.concatenate([length, length]))
    off = jnp.concatenate([length, length]) - bond[start]
    chi = _matmul(weights, frame.chi.astype(dtype))
    reference = bond_constants(field, weights[network.i], weights[network.j])[0]
    filled = jnp.where(mixes, c, fractions[0])  # the common anion counts as the mean of its neighbours
    return Environment(
        c,
        jnp.stack(fractions, axis=1),
        jnp.stack(orders, axis=1),
        jnp.stack(orders_along, axis=1),
        bond,
        mean(off**2),
        _strain(frame, start, vector, reference),
        mean(chi[end] - chi[start]),
        _interface_distance(network, vector, positions, cell, filled, periodic),
    )


def electronegativity(element: str) -> float:
    """On Pauling's scale.

    Raises:
        ValueError: the package has no value of the element.
    """
    known = package_file("electronegativity")["elements"]
    if element not in known:
        raise ValueError(f"Element must be one with an electronegativity ({', '.join(known)}), but is {element!r}.")
    return known[element]


def _axes(cell: jax.Array) -> jax.Array:
    """Unit vectors along a, b and c as rows."""
    a, c = cell[0], jnp.cross(cell[0], cell[1])
    a, c = a / jnp.linalg.norm(a), c / jnp.linalg.norm(c)
    return jnp.stack([a, jnp.cross(c, a), c])


def _mean_fraction(c: jax.Array, mixes: jax.Array) -> jax.Array:
    return jnp.sum(c * mixes) / jnp.sum(mixes)


def _shell_mean(i: jax.Array, weight: jax.Array, values: jax.Array, c: jax.Array, mixes: jax.Array) -> jax.Array:
    """X: weighted means over a shell, shape (atom, weight); the mean fraction where nothing in the shell mixes."""
    total = jax.ops.segment_sum(weight, i, len(c))
    some = total > 1e-6  # weights are squares of direction cosines: a neighbour that is not there, or across the axis
    weighted = jax.ops.segment_sum(weight * values[:, None], i, len(c))
    return jnp.where(some, weighted / jnp.where(some, total, 1.0), _mean_fraction(c, mixes))


def _order(fraction: jax.Array, c: jax.Array, mixes: jax.Array) -> jax.Array:
    """α, shape (atom, weight)."""
    mean, c = _mean_fraction(c, mixes), c[:, None]
    unlike = c * (1 - fraction) + (1 - c) * fraction
    random = c * (1 - mean) + (1 - c) * mean
    defined = mixes[:, None] & (random > 1e-6)
    return jnp.where(defined, 1 - unlike / jnp.where(defined, random, 1.0), 0.0)


def _strain(frame: _Frame, start: jax.Array, vector: jax.Array, reference: jax.Array) -> jax.Array:
    """ε of each atom, shape (atom, 3, 3)."""
    ideal = jnp.concatenate([reference, reference])[:, None] * frame.directions.astype(vector.dtype)
    actual = jnp.concatenate([vector, -vector])
    outer = jnp.stack([actual[:, :, None], ideal[:, :, None]]) * ideal[:, None, :]
    unstrained = frame.missing.astype(vector.dtype) * jnp.mean(reference) ** 2
    mapped, square = (jax.ops.segment_sum(x, start, len(unstrained)) + unstrained for x in outer)
    deformation = _matmul(mapped, jnp.linalg.inv(square))
    return (deformation + deformation.swapaxes(1, 2)) / 2 - jnp.eye(3, dtype=vector.dtype)


def _interface_distance(
    network: Network, vector: jax.Array, positions: jax.Array, cell: jax.Array, c: jax.Array, periodic: bool
) -> jax.Array:
    """D of each atom in Å."""
    normal = jnp.cross(cell[0], cell[1])
    normal = normal / jnp.linalg.norm(normal)
    # a bond in the plane rises neither way; its sign goes smoothly through zero
    rise = (c[network.j] - c[network.i]) * jax.scipy.special.erf(_matmul(vector, normal) / PLANE)
    middle, height = _matmul(positions[network.i] + vector / 2, normal), _matmul(positions, normal)
    period = jnp.abs(_matmul(cell[2], normal))

    off = middle[:, None] - middle
    if periodic:
        off = off - period * jax.lax.stop_gradient(jnp.round(off / period))
    plane = jnp.exp(-(off**2) / (2 * PLANE**2))
    count = jnp.sum(plane, axis=1)
    step = _matmul(plane, rise) / count
    away = jnp.abs(height[:, None] - middle)
    # logarithms throughout: e^(−D_max/λ) is below what single precision holds
    exponent = -away / DECAY
    if periodic:  # the sum over all images
        away = jnp.mod(away, period)
        exponent = jnp.logaddexp(-away / DECAY, -(period - away) / DECAY) - jnp.log1p(-jnp.exp(-period / DECAY))
    exponent = jnp.pad(exponent, ((0, 0), (0, 1)), constant_values=-FARTHEST / DECAY)
    strength = jnp.append(step**2 / count, jnp.ones((), step.dtype))
    return -DECAY * jax.nn.logsumexp(exponent, axis=1, b=strength)
