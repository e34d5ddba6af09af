"""From tight binding to first principles: a learned change of the Hamiltonian that follows each atom's surroundings.

To a model of `pbe_sp3d5s`, with τ = −1/2 for Si and 1/2 for Ge (c − 1/2 for a fraction c), R_ij = d n and ε = d/d0 − 1, it adds

    on-site            Σ_j Σ_c u_c(i, j) S_c(n_ij)                 over the four neighbours j, made symmetric
                       Σ_j (τ_j − τ_i) v_l(i) on every shell l     over the twelve second neighbours
    bonds i-j          Σ_c v_c(i, j) S_c(n_ij)
    second neighbours  (d0/d)⁴ Σ_c w_c(i, j, k) S_c(n_ij)          k: the atom between them

S_c are the two-centre angular factors of channel c (shells and symmetry). d0 is the length of a bond between the two species (`LENGTH`); for
second neighbours i, j it is √(8/3) of that, whatever k is: where k is of another species, ε is not zero without strain (0.02 in
Si-Ge-Si), and the weights of ε and those of k share what k does. u, v, w are linear in the learned weights and in features of the
two atoms and of what surrounds them (`onsite_features`, …): species, length of the pair, mean species of the neighbours.
So the corrected H is Hermitian and turns with the crystal; A_i ≥ 0, the sum rule and every derivative of a model stay; weights of
zero give the table; and what an atom is changes blocks within two bonds of it only.
"""

import dataclasses
import os
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model
from bandjax.hamiltonian.model import PerAtom, bond_group
from bandjax.hamiltonian.slater_koster import Channel, slater_koster_block
from bandjax.learning.weights import load_arrays, save_arrays
from bandjax.materials import SHELLS

FORMAT = 1  # of the files, and of the features
TABLE = "pbe_sp3d5s"  # what is corrected
SPECIES = ("Si", "Ge")
ORBITAL_SHELLS = ("s", "p", "d", "s*")
CHANNELS: tuple[Channel, ...] = (
    ("s", "s", "sigma"), ("s", "p", "sigma"), ("s", "d", "sigma"), ("s", "s*", "sigma"),
    ("p", "p", "sigma"), ("p", "p", "pi"), ("p", "d", "sigma"), ("p", "d", "pi"), ("p", "s*", "sigma"),
    ("d", "d", "sigma"), ("d", "d", "pi"), ("d", "d", "delta"), ("d", "s*", "sigma"), ("s*", "s*", "sigma"),
)  # fmt: skip
_TURNED: tuple[Channel, ...] = tuple((b, a, symmetry) for a, b, symmetry in CHANNELS)
_ONE_SHELL = np.array([a == b for a, b, _ in CHANNELS])
LENGTH, LENGTH_BY_SPECIES = 2.4008, 0.0984  # Å: d0 of a bond is LENGTH + LENGTH_BY_SPECIES · (mean of both τ)
# d0 of second neighbours over that of a bond of their species, as in the unstrained crystal; a NumPy scalar would make single precision double
SECOND = float(np.sqrt(8 / 3))
DECAY = 4.0
STRAIN = 50.0  # a relative change of length of 2 % is a feature of one

_matmul = partial(jnp.matmul, precision="highest")

SIZES = {  # of each array of weights: channels (or shells) by features
    "onsite": (len(CHANNELS), 7),
    "shift": (len(ORBITAL_SHELLS), 2),
    "bond": (len(CHANNELS), 10),
    "second": (len(CHANNELS), 7),
}


@dataclasses.dataclass(frozen=True)
class Correction:
    """A learned correction.

    Attributes:
        weights: Arrays of `SIZES`, (channel or shell, feature) in eV, by name; possibly traced.
        record: What they were trained on, configuration, commit, scores.
    """

    weights: dict[str, jax.Array]
    record: dict[str, Any]


class Pairs(NamedTuple):
    """Pairs of atoms, one direction each; k is the atom between second neighbours (of neighbours: i)."""

    i: np.ndarray  # (pair,)
    j: np.ndarray
    k: np.ndarray
    shift: np.ndarray  # (pair, 3), cells
    vector: jax.Array  # (pair, 3), r_j − r_i in Å


def corrected(model: Model, correction: Correction) -> Model:
    """The model with the learned correction; wherever a model is taken, this one can be.

    Args:
        model: Of `tight_binding(atoms, load_parameters(("Si", "Ge"), "pbe_sp3d5s"))`, with or without spin-orbit and composition. The
            table is known by its name, which `Table.replace` keeps: a table with other values is corrected as if it were the one learned on.
        correction: `load_correction()`, or weights of one's own.

    Returns:
        Model whose second neighbours are bonds, too.

    Raises:
        ValueError: the model is of another table (or corrected already), has atoms other than Si and Ge, or has dangling bonds; the
            weights are not those of `SIZES`.
    """
    _check(model)
    _check_weights(correction.weights)
    weights = {name: jnp.asarray(w, model.dtype) for name, w in correction.weights.items()}
    tau, bonds = _species_number(model), _bonds(model)
    second = _second_neighbours(bonds)
    around = (_sum_over(tau[bonds.j], bonds.i, len(tau)) / 4 - tau).astype(model.dtype)  # 0 in the pure crystal

    half = Pairs(*(value[: len(value) // 2] for value in bonds))
    distance = jnp.linalg.norm(second.vector, axis=1)
    decay = (_length(tau, second) * SECOND / distance) ** DECAY
    values = [
        _both_ways(weights["bond"], *(bond_features(half, tau, around, *ends) for ends in _ends(half))),
        _both_ways(weights["second"], *(second_features(second, tau, *ends) for ends in _ends(second))),
        jnp.pad(_matmul(onsite_features(bonds, tau), weights["onsite"].T), ((0, 0), (0, len(CHANNELS)))),
    ]
    blocks = _blocks(jnp.concatenate([half.vector, second.vector, bonds.vector]), jnp.concatenate(values))
    near, far, own = jnp.split(blocks, np.cumsum([len(half.i), len(second.i)]))

    count = np.cumsum([len(group.i) for group in model.topology.groups])
    hopping = [block + more for block, more in zip(model.hopping, jnp.split(near, count[:-1]), strict=True)]
    hopping.append(decay[:, None, None] * far)
    added = _sum_over((own + own.swapaxes(1, 2)) / 2, bonds.i, len(tau)) + _shifts(second, tau, weights["shift"])
    onsite = PerAtom(
        tuple(stack + added[model.onsite.atoms_of(at)] for at, stack in enumerate(model.onsite.stacks)),
        model.onsite.stack_of,
    )
    # of no bond of the table's, whatever its kind says: kinds are read only while a model is made
    group = bond_group(0, second.i, second.j, second.shift)
    topology = dataclasses.replace(
        model.topology, groups=(*model.topology.groups, group), table=f"{TABLE}, corrected to first principles"
    )
    return dataclasses.replace(
        model, onsite=onsite, hopping=tuple(hopping), bond_vector=(*model.bond_vector, second.vector), topology=topology
    )


# What the weights multiply: features of order one, (pair, feature).


def onsite_features(bonds: Pairs, tau: jax.Array) -> jax.Array:
    """Of atom i beside its neighbour j."""
    i, j, x = 2 * tau[bonds.i], 2 * tau[bonds.j], _strain(tau, bonds)
    return jnp.stack([jnp.ones_like(i), i, j, i * j, x, x * i, x * j], axis=1)


def bond_features(bonds: Pairs, tau: jax.Array, around: jax.Array, i: np.ndarray, j: np.ndarray) -> jax.Array:
    """Of a bond whose first shell is on atom i; `around`: mean τ of an atom's neighbours less its own."""
    a, b, x = 2 * tau[i], 2 * tau[j], _strain(tau, bonds)
    one = jnp.ones_like(a)
    return jnp.stack([one, a, b, a * b, x, x * a, x * b, x * a * b, around[i], around[j]], axis=1)


def second_features(pairs: Pairs, tau: jax.Array, i: np.ndarray, j: np.ndarray) -> jax.Array:
    """Of second neighbours whose first shell is on atom i."""
    a, b, k, x = 2 * tau[i], 2 * tau[j], 2 * tau[pairs.k], _strain(tau, pairs, SECOND)
    return jnp.stack([jnp.ones_like(a), a, b, a * b, k, k * (a + b) / 2, x], axis=1)


def _strain(tau: jax.Array, pairs: Pairs, ratio: float = 1.0) -> jax.Array:
    return STRAIN * (jnp.linalg.norm(pairs.vector, axis=1) / (ratio * _length(tau, pairs)) - 1)


def _length(tau: jax.Array, pairs: Pairs) -> jax.Array:
    return LENGTH + LENGTH_BY_SPECIES * (tau[pairs.i] + tau[pairs.j]) / 2


# Blocks.


def _both_ways(weight: jax.Array, first: jax.Array, turned: jax.Array) -> jax.Array:
    """Integrals of `CHANNELS` and `_TURNED`, (pair, 2 channels), from the features counted from i and those from j.

    A channel of one shell with itself stands in both halves: what is at both ends counts alike.
    """
    share = jnp.asarray(1 - _ONE_SHELL / 2, weight.dtype)
    return jnp.concatenate([share * _matmul(features, weight.T) for features in (first, turned)], axis=1)


def _ends(pairs: Pairs) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return (pairs.i, pairs.j), (pairs.j, pairs.i)


def _blocks(vector: jax.Array, values: jax.Array) -> jax.Array:
    """Σ V · (angular factors) of `CHANNELS` and `_TURNED`, (pair, orbital, orbital)."""
    n = vector / jnp.linalg.norm(vector, axis=1, keepdims=True)
    return jax.vmap(lambda n, v: slater_koster_block(n, ORBITAL_SHELLS, ORBITAL_SHELLS, CHANNELS + _TURNED, v))(
        n, values
    )


def _shifts(second: Pairs, tau: jax.Array, weight: jax.Array) -> jax.Array:
    """Shifts of whole shells by foreign second neighbours, (atom, orbital, orbital)."""
    (i, j), _ = _ends(second)
    foreign = _sum_over(jnp.concatenate([tau[j] - tau[i], tau[i] - tau[j]]), np.concatenate([i, j]), len(tau))
    by_shell = foreign[:, None] * _matmul(jnp.stack([jnp.ones_like(tau), 2 * tau], axis=1), weight.T)
    shell = [at for at, name in enumerate(ORBITAL_SHELLS) for _ in SHELLS[name]]
    return by_shell[:, np.array(shell), None] * jnp.eye(len(shell), dtype=weight.dtype)


def _sum_over(values: jax.Array, owner: np.ndarray, count: int) -> jax.Array:
    return jax.ops.segment_sum(values, owner, count)


# The crystal.


def _species_number(model: Model) -> jax.Array:
    """τ of each atom."""
    if model.composition is not None:
        return model.composition - 0.5
    return jnp.asarray([SPECIES.index(site) - 0.5 for site in model.topology.sites()], model.dtype)


def _bonds(model: Model) -> Pairs:
    """Every bond in both directions: those of the model's groups in order, then the same turned."""
    groups = model.topology.groups
    i, j, shift = (np.concatenate([np.array(getattr(g, name)) for g in groups]) for name in ("i", "j", "shift"))
    vector = jnp.concatenate(model.bond_vector)
    both = np.concatenate([i, j]), np.concatenate([j, i])
    return Pairs(*both, both[0], np.concatenate([shift, -shift]), jnp.concatenate([vector, -vector]))


def _second_neighbours(bonds: Pairs) -> Pairs:
    """The ends of any two bonds of an atom, once."""
    order = np.argsort(bonds.i, kind="stable")
    first, second = np.triu_indices(4, 1)
    four = order.reshape(-1, 4)
    a, b = four[:, first].ravel(), four[:, second].ravel()
    return Pairs(bonds.j[a], bonds.j[b], bonds.i[a], bonds.shift[b] - bonds.shift[a], bonds.vector[b] - bonds.vector[a])


def _check(model: Model) -> None:
    topology = model.topology
    if topology.table != TABLE:
        raise ValueError(
            f"Argument `model` must be of table {TABLE}, which the correction was learned for, but is of {topology.table}."
        )
    strange = [site for site in topology.sites() if site not in SPECIES]
    if strange:
        raise ValueError(f"Argument `model` must hold Si and Ge only, but holds {strange[0]}.")
    ends = [np.concatenate([group.i, group.j]) for group in topology.groups]
    count = np.bincount(np.concatenate(ends), minlength=topology.n_atom)
    few = np.flatnonzero(count != 4)
    if few.size:
        raise ValueError(
            f"Argument `model` must give every atom four neighbours (the correction knows no surfaces), but atom {few[0]} "
            f"has {count[few[0]]}."
        )


def _check_weights(weights: dict[str, jax.Array]) -> None:
    if set(weights) != set(SIZES):
        raise ValueError(f"Argument `correction` must hold weights {', '.join(SIZES)}, but holds {', '.join(weights)}.")
    for name, size in SIZES.items():
        if jnp.shape(weights[name]) != size:
            raise ValueError(
                f"Argument `correction` must hold {name!r} of shape {size}, but holds {jnp.shape(weights[name])}."
            )


# Files.


def no_correction() -> Correction:
    """Weights of zero: the table as it is."""
    return Correction({name: jnp.zeros(size) for name, size in SIZES.items()}, {})


def save_correction(path: str | os.PathLike[str], correction: Correction) -> Path:
    """Write the weights with their record; an older file is replaced only when the new one is complete.

    Raises:
        OSError: the file could not be written (a full disk); what stood there before is untouched.
    """
    record = correction.record | {"format": FORMAT, "kind": "correction", "table": TABLE}
    return save_arrays(path, record, {name: np.asarray(w, float) for name, w in correction.weights.items()})


def load_correction(source: str | os.PathLike[str] | None = None) -> Correction:
    """The shipped correction of Si/Ge, or one from a file of `save_correction`.

    Raises:
        ValueError: the file is no correction, or one of another version or table.
        FileNotFoundError: there is no such file.
    """
    if source is None:
        shipped = resources.files("bandjax") / "learning" / "weights" / "correction.npz"
        with resources.as_file(shipped) as path:
            return _load(path)
    if not Path(source).is_file():
        raise FileNotFoundError(f"Argument `source` must be a file of weights, but there is no {str(source)!r}.")
    return _load(Path(source))


def _load(path: Path) -> Correction:
    record, arrays = load_arrays(path, "a correction", tuple(SIZES))
    found = record.get("kind"), record.get("format"), record.get("table")
    if found != ("correction", FORMAT, TABLE):
        raise ValueError(
            f"File {path} must hold a correction of format {FORMAT} to table {TABLE}, but holds {found[0]!r} of format "
            f"{found[1]!r} to {found[2]!r}."
        )
    for name, size in SIZES.items():
        if arrays[name].shape != size:
            raise ValueError(f"File {path} must hold {name!r} of shape {size}, but holds {arrays[name].shape}.")
    return Correction({name: jnp.asarray(arrays[name]) for name in SIZES}, record)
