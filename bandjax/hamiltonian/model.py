"""The tight-binding model of a structure: blocks in real space, ready to be summed over phases.

A `Model` is a pytree. Its arrays (blocks, bond vectors, cell) carry derivatives; its `Topology` (which orbital sits
where, which atoms bond) is static. It is made by `tight_binding` and consumed by `hamiltonian.bloch`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Orbital(NamedTuple):
    """One basis orbital: its atom, the atom's label in the table, its shell and name."""

    atom: int
    site: str
    shell: str
    name: str


@dataclasses.dataclass(frozen=True)
class BondGroup:
    """Bonds of one kind: tuples of atoms i, j and cell shifts, one entry a bond."""

    kind: int  # index into the table's bonds; of a mixed network, that of the bond between the two species
    i: tuple[int, ...]
    j: tuple[int, ...]
    shift: tuple[tuple[int, int, int], ...]


def bond_group(kind: int, i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> BondGroup:
    """The group from arrays of atoms (bond,) and cell shifts (bond, 3)."""
    return BondGroup(kind, tuple(map(int, i)), tuple(map(int, j)), tuple((int(a), int(b), int(c)) for a, b, c in shift))


@dataclasses.dataclass(frozen=True)
class Topology:
    """Everything about a model that is an integer or a name. Static and hashable."""

    orbitals: tuple[Orbital, ...]  # without spin; spin up comes first, then spin down
    first_orbital: tuple[int, ...]  # per atom
    groups: tuple[BondGroup, ...]
    spin_orbit: bool
    periodic: tuple[bool, bool, bool]
    material: str
    table: str
    mixing: tuple[str, str] | None = None  # labels of the two species of which sites hold fractions

    @property
    def n_orbital(self) -> int:
        """Number of basis functions, spin included where the model has it."""
        return len(self.orbitals) * (2 if self.spin_orbit else 1)

    @property
    def n_atom(self) -> int:
        """Number of atoms."""
        return len(self.first_orbital)

    def labels(self) -> list[Orbital]:
        """One label per row of the Hamiltonian (the two spins repeat)."""
        return list(self.orbitals) * (2 if self.spin_orbit else 1)

    def sites(self) -> list[str]:
        """Label in the table of each atom."""
        return [self.orbitals[first].site for first in self.first_orbital]

    def atom_of(self) -> np.ndarray:
        """Atom of each row of the Hamiltonian."""
        return np.array([o.atom for o in self.labels()])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PerAtom:
    """One block an atom, read like a tuple of blocks; those of one shape are one array, so that large cells stay few leaves."""

    stacks: tuple[jax.Array, ...]  # (atom of that shape, …)
    stack_of: tuple[int, ...] = dataclasses.field(metadata={"static": True})  # per atom

    @cached_property
    def place(self) -> np.ndarray:
        """Place of each atom in its stack."""
        place = np.zeros(len(self.stack_of), int)
        for stack in range(len(self.stacks)):
            place[self.atoms_of(stack)] = np.arange(len(self.atoms_of(stack)))
        return place

    def atoms_of(self, stack: int) -> np.ndarray:
        """Atoms whose blocks are in a stack, in its order."""
        return np.flatnonzero(np.array(self.stack_of) == stack)

    def __len__(self) -> int:
        return len(self.stack_of)

    def __getitem__(self, atom: int) -> jax.Array:
        return self.stacks[self.stack_of[atom]][self.place[atom]]

    def __iter__(self) -> Iterator[jax.Array]:
        return (self[atom] for atom in range(len(self)))


def per_atom(blocks: Sequence[jax.Array]) -> PerAtom:
    """Blocks of all atoms in order; one that stands there for many atoms is kept as one until they are stacked."""
    shapes = list(dict.fromkeys(block.shape for block in blocks))
    stacks = []
    for shape in shapes:
        chosen = [block for block in blocks if block.shape == shape]
        different = {id(block): block for block in chosen}
        order = {key: at for at, key in enumerate(different)}
        stacks.append(jnp.stack(list(different.values()))[np.array([order[id(block)] for block in chosen])])
    return PerAtom(tuple(stacks), tuple(shapes.index(block.shape) for block in blocks))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A tight-binding model, energies in eV, lengths in Å.

    Attributes:
        onsite: On-site matrix without spin-orbit, real, block diagonal in atoms: one (orbital, orbital) block an atom.
        spin_orbit: L·σ λ per atom, (2, orbital, 2, orbital) complex, or None.
        hopping: One array a group of bonds, (bond, orbital of i, orbital of j), real.
        bond_vector: One array a group, (bond, 3): r_j − r_i in Å.
        positions: (atom, 3) in Å.
        cell: (3, 3) in Å, rows are lattice vectors.
        topology: Static integers and names.
        composition: Fraction of the second of `topology.mixing` at each site, (atom,); None where sites hold one species.
    """

    onsite: PerAtom
    spin_orbit: PerAtom | None
    hopping: tuple[jax.Array, ...]
    bond_vector: tuple[jax.Array, ...]
    positions: jax.Array
    cell: jax.Array
    topology: Topology = dataclasses.field(metadata={"static": True})
    composition: jax.Array | None = None

    @property
    def n_orbital(self) -> int:
        """Number of basis functions, spin included where the model has it."""
        return self.topology.n_orbital

    @property
    def dtype(self) -> np.dtype:
        """Real dtype of the blocks."""
        return self.positions.dtype

    @property
    def reciprocal(self) -> jax.Array:
        """Reciprocal lattice vectors in 1/Å, rows, with the factor 2π."""
        return 2 * np.pi * jnp.linalg.inv(self.cell).T
