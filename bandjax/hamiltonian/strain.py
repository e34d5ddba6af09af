"""On-site terms that follow the strain of an atom's neighbourhood, for the two sets of tables that define them.

"niquet2009": with n the unit vector from atom i to neighbour j, x = d/d0 − 1, Q = n nᵀ − 1/3 and D^a the matrix of d
orbital a (Tr D^a D^b = δ_ab), every neighbour adds to the on-site block of atom i

    E_μ: 3/4 α_μ x        p-p: (β_p0 + β_p1 x) Q            d-d: −2 β_d0 Tr(D^a Q D^b)
    s-p: β_sp0 n          p-d: √2 (β_pd0 + β_pd1 x) D^a n    s-d: β_sd0 n·D^a n/√2       (s* as s)

which vanishes in the unstrained crystal. Refitted tables add δ_μ to E_μ for every neighbour of the other species: the
charge that the two exchange. "boykin2004": with V⁰ the bond's integrals in the ideal crystal,

    E_iα += Σ_j Σ_β C_αβ [(V⁰_iα,jβ)² − (V_iα,jβ)²] / (E_iα + E_jβ − 2 E_shift),

which holds for orbitals along the cubic axes only.

Sources: Y. M. Niquet et al., Phys. Rev. B 79, 245201 (2009); T. B. Boykin et al., Phys. Rev. B 66, 125207 (2002). Both
forms are second-hand: taken from public codes, completed by rotational covariance, and checked on the deformation
potentials (Si: b = −2.13, d = −4.7 eV with Niquet's).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian.model import BondGroup
from bandjax.hamiltonian.slater_koster import angular_momentum, quadrupoles, vectors
from bandjax.materials import SHELLS, DistanceLaw, Table


def niquet_terms(
    onsite: list[jax.Array],
    table: Table,
    law: DistanceLaw,
    labels: list[str],
    groups: Sequence[BondGroup],
    bond_vectors: Sequence[jax.Array],
) -> list[jax.Array]:
    """On-site blocks (one an atom) with Niquet's strain terms added."""
    blocks = list(onsite)
    for atom, label in enumerate(labels):
        for vector in _neighbours(atom, groups, bond_vectors):
            blocks[atom] = blocks[atom] + niquet_blocks(vector, table, law, label).sum(axis=0)
    for group in groups:
        first, second = table.spec.bonds[group.kind].pair
        if first != second:
            for atom in group.i + group.j:
                blocks[atom] = blocks[atom] + foreign_block(table, law, labels[atom], blocks[atom].dtype)
    return blocks


def niquet_blocks(bond_vector: jax.Array, table: Table, law: DistanceLaw, label: str) -> jax.Array:
    """What each neighbour of an atom of species `label` adds to its on-site block, (bond, orbital, orbital)."""
    symbols = dict(dict(law.onsite_values)[label])
    constants = {symbol: table.values[name] for symbol, name in symbols.items()}
    length = next(b.length for b in table.spec.bonds if b.pair == (label, label) and b.length is not None)
    shells = table.spec.shells_of(label)
    return jax.vmap(lambda d: _niquet_block(d, length, constants, shells))(bond_vector)


def foreign_block(table: Table, law: DistanceLaw, label: str, dtype: jnp.dtype) -> jax.Array:
    """What a neighbour of the other species adds to the on-site block of an atom of species `label`: δ_μ in eV."""
    symbols = dict(dict(law.onsite_values)[label])
    shifts = []
    for shell in table.spec.shells_of(label):
        name = symbols.get(f"delta_{shell}")  # published tables have none
        shifts.append(jnp.full(len(SHELLS[shell]), 0.0 if name is None else table.values[name], dtype))
    return jnp.diag(jnp.concatenate(shifts))


def _neighbours(atom: int, groups: Sequence[BondGroup], bond_vectors: Sequence[jax.Array]) -> list[jax.Array]:
    """Vectors from an atom to its neighbours, group by group."""
    out = []
    for group, vector in zip(groups, bond_vectors, strict=True):
        forward, backward = np.flatnonzero(np.array(group.i) == atom), np.flatnonzero(np.array(group.j) == atom)
        if forward.size + backward.size:
            out.append(jnp.concatenate([vector[forward], -vector[backward]]))
    return out


def _niquet_block(vector: jax.Array, length: float, c: dict[str, jax.Array], shells: tuple[str, ...]) -> jax.Array:
    """What one neighbour adds to the on-site block."""
    distance = jnp.linalg.norm(vector)
    n, x = vector / distance, distance / length - 1
    q = jnp.outer(n, n) - jnp.eye(3, dtype=vector.dtype) / 3

    def part(a: str, b: str) -> jax.Array:
        la, lb = angular_momentum(a), angular_momentum(b)
        if (la, lb) == (0, 0):
            return jnp.zeros((1, 1), vector.dtype)
        if la > lb:
            return part(b, a).T
        if (la, lb) == (0, 1):
            return c[f"beta_{a}p0"] * (vectors(b) @ n)[None]
        d = jnp.asarray(quadrupoles(b), vector.dtype) if lb == 2 else None
        if (la, lb) == (0, 2):
            return c[f"beta_{a}d0"] / np.sqrt(2) * jnp.einsum("aij,i,j->a", d, n, n)[None]
        if (la, lb) == (1, 1):
            return (c["beta_p0"] + c["beta_p1"] * x) * (vectors(a) @ q @ vectors(b).T)
        if (la, lb) == (1, 2):
            return np.sqrt(2) * (c["beta_pd0"] + c["beta_pd1"] * x) * jnp.einsum("ki,aij,j->ka", vectors(a), d, n)
        return -2 * c["beta_d0"] * jnp.einsum("aij,jk,bki->ab", d, q, d)

    rows = []
    for a in shells:
        shift = 0.75 * c[f"alpha_{a}"] * x * jnp.eye(len(SHELLS[a]), dtype=vector.dtype)
        rows.append(jnp.concatenate([part(a, b) + (shift if a == b else 0.0) for b in shells], axis=1))
    return jnp.concatenate(rows, axis=0).astype(vector.dtype)


def boykin_terms(
    onsite: list[jax.Array],
    table: Table,
    law: DistanceLaw,
    labels: list[str],
    groups: Sequence[BondGroup],
    hopping: Sequence[jax.Array],
    ideal_hopping: Sequence[jax.Array],
) -> list[jax.Array]:
    """On-site blocks (one an atom) with Boykin's diagonal shifts added; `ideal_hopping` holds V⁰ of every bond."""
    blocks = list(onsite)
    shift = dict(law.energy_shift)
    for group, v, v0 in zip(groups, hopping, ideal_hopping, strict=True):
        li, lj = table.spec.bonds[group.kind].pair
        coupling = _boykin_couplings(table, law, li, lj)
        ei, ej = jnp.diagonal(onsite[labels.index(li)]), jnp.diagonal(onsite[labels.index(lj)])
        change = coupling * (v0**2 - v**2) / (ei[:, None] + ej[None, :] - shift[li] - shift[lj])
        for bond, (i, j) in enumerate(zip(group.i, group.j, strict=True)):
            blocks[i] = blocks[i] + jnp.diag(change[bond].sum(axis=1))
            blocks[j] = blocks[j] + jnp.diag(change[bond].sum(axis=0))
    return blocks


def _boykin_couplings(table: Table, law: DistanceLaw, label_i: str, label_j: str) -> jax.Array:
    """C_αβ for every pair of orbitals."""
    symbols = dict(dict(law.onsite_values)[label_i])
    order = ("s", "s*", "p", "d")
    orbitals_i = [s for s in table.spec.shells_of(label_i) for _ in SHELLS[s]]
    orbitals_j = [s for s in table.spec.shells_of(label_j) for _ in SHELLS[s]]

    def name(a: str, b: str) -> str:
        return "C_" + "".join(sorted((a, b), key=order.index))

    return jnp.array([[table.values[symbols[name(a, b)]] for b in orbitals_j] for a in orbitals_i])
