"""Parameter tables: named values in eV and what each value stands for in the two-centre Hamiltonian.

A `Table` is a pytree whose leaves are the values as the paper prints them, so that `jax.grad` with respect to a
whole table works. Its static `TableSpec` says which linear combination of values is which on-site energy,
spin-orbit constant and two-centre integral; with that, Vogl's matrix elements, two-centre integrals and effective
lattice models are one engine.

Conventions: a bond runs from the first to the second species of its pair; H_SO = λ L·σ.
Source of the two-centre integrals: J. C. Slater and G. F. Koster, Phys. Rev. 94, 1498 (1954).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

# A linear combination of table values: ((name, factor), …).
Combination = tuple[tuple[str, float], ...]

# Orbitals of each shell, in order. "z" and "r" are single orbitals with an isotropic (direction-free) hopping:
# an effective p_z of a flat carbon layer, and an s-like Wannier orbital. "eg" is the pair x²−y², 3z²−r²; "x2y2" and "z2"
# are its two orbitals as shells of their own, for on-site energies that differ.
SHELLS: dict[str, tuple[str, ...]] = {
    "s": ("s",),
    "p": ("px", "py", "pz"),
    "d": ("dxy", "dyz", "dzx", "dx2-y2", "dz2"),
    "s*": ("s*",),
    "pz": ("pz",),
    "eg": ("dx2-y2", "dz2"),
    "x2y2": ("dx2-y2",),
    "z2": ("dz2",),
    "z": ("pz",),
    "r": ("s",),
}
SYMMETRIES = ("sigma", "pi", "delta", "isotropic")


@dataclasses.dataclass(frozen=True)
class Integral:
    """One two-centre integral <shell_i, site i| H |shell_j, site j> at the bond's reference length."""

    shell_i: str
    shell_j: str
    symmetry: str  # one of SYMMETRIES
    value: Combination


@dataclasses.dataclass(frozen=True)
class Bond:
    """All integrals between two kinds of site at one distance."""

    pair: tuple[str, str]
    length: float | None  # Å; None: the shortest distance found, integrals never scaled
    integrals: tuple[Integral, ...]


@dataclasses.dataclass(frozen=True)
class DistanceLaw:
    """How integrals and on-site energies follow the distances: V(d) = V(d0) (d0/d)^n and an on-site form."""

    name: str
    exponents: tuple[tuple[tuple[str, str], tuple[str, ...]], ...]  # (pair, value name of n per integral)
    onsite_form: str | None = None  # None, "niquet2009" or "boykin2004"
    onsite_values: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()  # (species, ((symbol, value name), …))
    energy_shift: tuple[tuple[str, float], ...] = ()  # (species, eV), for "boykin2004"


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """What the values of a table mean. Static and hashable."""

    name: str
    material: str
    citation: str
    species: tuple[str, ...]
    orbitals: tuple[tuple[str, tuple[str, ...]], ...]
    onsite: tuple[tuple[str, str, Combination], ...]  # (species, shell, energy)
    spin_orbit: tuple[tuple[str, str, Combination], ...]  # (species, shell, λ)
    bonds: tuple[Bond, ...]
    lattice_constant: float | None  # Å
    laws: tuple[DistanceLaw, ...]
    state: tuple[tuple[str, str], ...]  # (value name, what is uncertain about it)
    note: str = ""
    neighbours: tuple[tuple[str, int], ...] = ()  # (species, how many it has in the crystal); none: any number
    # of a species that two compounds share, by neighbour: (species, neighbour, shell, energy or λ); an atom has their mean
    onsite_by_neighbour: tuple[tuple[str, str, str, Combination], ...] = ()
    spin_orbit_by_neighbour: tuple[tuple[str, str, str, Combination], ...] = ()

    def shells_of(self, species: str) -> tuple[str, ...]:
        """Shells of a species, in the order of the Hamiltonian's rows."""
        return dict(self.orbitals)[species]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Table:
    """Named values (eV; exponents without unit), a pytree, with their static meaning."""

    values: dict[str, jax.Array]
    spec: TableSpec = dataclasses.field(metadata={"static": True})

    def __getitem__(self, name: str) -> jax.Array:
        """The value of that name.

        Raises:
            KeyError: the table has no such value; the nearest name is given.
        """
        if name not in self.values:
            raise KeyError(_unknown_value(self, name))
        return self.values[name]

    def replace(self, **changes: Any) -> "Table":
        """The same table with some values changed; names that are no identifiers go in as `**{"E_s*": 7.0}`.

        Raises:
            KeyError: the table has no such value.
        """
        for name in changes:
            if name not in self.values:
                raise KeyError(_unknown_value(self, name))
        dtype = next(iter(self.values.values())).dtype
        return Table({**self.values, **{n: jnp.asarray(v, dtype) for n, v in changes.items()}}, self.spec)

    @property
    def energies(self) -> tuple[str, ...]:
        """Names of the values that are energies at the reference geometry (no exponents, no strain constants)."""
        spec = self.spec
        used = [c for _, _, c in spec.onsite + spec.spin_orbit] + [i.value for b in spec.bonds for i in b.integrals]
        names = {name for combination in used for name, _ in combination}
        return tuple(n for n in self.values if n in names)

    def combine(self, combination: Combination) -> jax.Array:
        """Value of a linear combination."""
        return sum((factor * self.values[name] for name, factor in combination), start=jnp.zeros(()))


def _unknown_value(table: Table, name: str) -> str:
    from bandjax.checks import nearest

    return (
        f"Table {table.spec.name} of {table.spec.material} has no value {name!r}.{nearest(name, table.values)} "
        f"It has {', '.join(table.values)}."
    )
