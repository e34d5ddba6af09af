"""Keating's valence force field of tetrahedral crystals: energy of stretched and bent bonds.

With bond vectors r_b and r_c of the same atom, reference lengths d and force constants α (stretching), β (bending),

    E = Σ_bonds 3 α_b/(8 d_b²) (r_b² − d_b²)²  +  Σ_angles 3 β_bc/(8 d_b d_c) (r_b·r_c + d_b d_c/3)²,   β_bc = √(β_b β_c).

A crystal of lattice constant a has C11 = (α + 3β)/a, C12 = (α − β)/a and C44 = 4αβ/((α + β) a), hence Keating's relation
2 C44 (C11 + C12) = (C11 − C12)(C11 + 3 C12). Here α = a (C11 + 3 C12)/4 and β = a (C11 − C12)/4 come from the measured
C11 and C12 of `materials/elastic.py` (Si: 48.5 and 13.8 N/m), so that a biaxially strained layer of one material relaxes,
to first order, as continuum elasticity says; C44 is then a prediction: good for Si and Ge, 11 % low for GaAs and
18 % for InAs, whose Coulomb forces are left out.

Sites may hold a fraction of the second material: d, α and β of a bond are bilinear in the fractions of its ends, as
hoppings are in `hamiltonian/composition.py`. A bond between two different elements (Si-Ge) has the means of the two.

Sources: P. N. Keating, Phys. Rev. 145, 637 (1966), its relation from the abstract, energy and elastic constants after
public transcriptions and checked here on the strained crystal; unlike bonds after J. L. Martins, A. Zunger, Phys. Rev. B
30, 6217 (1984), whose abstract only was at hand.
"""

import dataclasses
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.materials import Elastic
from bandjax.structure.growth import pair_of
from bandjax.structure.neighbours import find_network, site_fractions
from bandjax.units import GIGAPASCAL


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ForceField:
    """Keating constants of each pair of species, a pytree; 0 where two species do not bond."""

    length: jax.Array  # Å, (species, species), symmetric
    alpha: jax.Array  # eV/Å², likewise
    beta: jax.Array  # eV/Å², likewise
    species: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    mixing: tuple[str, str] = dataclasses.field(metadata={"static": True})  # whose fraction the composition is
    lengths: tuple[float, float] = dataclasses.field(
        metadata={"static": True}
    )  # Å; two atoms bond within ±15 % of them


class Network(NamedTuple):
    """Which atoms bond."""

    i: np.ndarray  # (bond,), each bond once
    j: np.ndarray  # (bond,), in the cell `shift` away from that of i
    shift: np.ndarray  # (bond, 3)
    neighbour: np.ndarray  # (atom, 4), the same both ways; the atom itself where there is none
    neighbour_shift: np.ndarray  # (atom, 4, 3)
    present: np.ndarray  # (atom, 4), bool


def keating(materials: str | tuple[str, str]) -> ForceField:
    """Keating constants of one or two materials, from their lattice and elastic constants.

    Args:
        materials: "Si", ("Si", "Ge"), ("GaAs", "InAs"): as for `superlattice`.

    Raises:
        ValueError: as `superlattice` does for its materials.
    """
    pair = pair_of(materials)
    constants = [_constants(elastic) for elastic in pair.elastic]
    first, second = pair.mixing
    if pair.common is None:
        mean = tuple((a + b) / 2 for a, b in zip(*constants, strict=True))
        bonds = {(first, first): constants[0], (second, second): constants[1]}
        bonds |= {(first, second): mean, (second, first): mean} if first != second else {}
    else:
        bonds = {(e, pair.common): c for e, c in zip(pair.mixing, constants, strict=True)}
        bonds |= {(b, a): c for (a, b), c in bonds.items()}
    species = tuple(dict.fromkeys(e for key in bonds for e in key))
    table = np.zeros((3, len(species), len(species)))
    for (a, b), values in bonds.items():
        table[:, species.index(a), species.index(b)] = values
    lengths = [c[0] for c in constants]
    return ForceField(*(jnp.asarray(t) for t in table), species, pair.mixing, (min(lengths), max(lengths)))


def _constants(elastic: Elastic) -> tuple[float, float, float]:
    """Bond length in Å, α and β in eV/Å²."""
    a, c11, c12 = (float(x) for x in elastic)
    return np.sqrt(3) / 4 * a, a * (c11 + 3 * c12) / 4 * GIGAPASCAL, a * (c11 - c12) / 4 * GIGAPASCAL


def network_of(atoms: ase.Atoms, field: ForceField) -> Network:
    """Bonds and angles of a structure.

    Raises:
        ValueError: an atom has other than four neighbours (in the outermost layers of a slab: more than four, or none),
            or two atoms bond that have no constants.
    """
    i, j, shift = find_network(atoms, *field.lengths)
    start = np.concatenate([i, j])
    alone = sorted(set(range(len(atoms))) - set(start))
    if alone:
        raise ValueError(f"Every atom must have a neighbour, but atom {alone[0]} ({atoms.symbols[alone[0]]}) has none.")
    mixes = np.isin(atoms.get_chemical_symbols(), field.mixing)
    if (
        not set(field.species) <= set(field.mixing) and (mixes[i] == mixes[j]).any()
    ):  # compounds: a common anion at one end
        a, b = (int(ends[np.argmax(mixes[i] == mixes[j])]) for ends in (i, j))
        raise ValueError(
            f"Every bond must have force constants, but atoms {a} ({atoms.symbols[a]}) and {b} ({atoms.symbols[b]}) are "
            "neighbours."
        )
    order = np.argsort(start, kind="stable")
    count = np.bincount(start, minlength=len(atoms))
    slot = start[order], np.arange(len(start)) - np.repeat(np.cumsum(count) - count, count)
    neighbour = np.repeat(np.arange(len(atoms))[:, None], 4, axis=1)
    neighbour_shift, present = np.zeros((len(atoms), 4, 3), int), np.zeros((len(atoms), 4), bool)
    neighbour[slot] = np.concatenate([j, i])[order]
    neighbour_shift[slot] = np.concatenate([shift, -shift])[order]
    present[slot] = True
    return Network(i, j, shift, neighbour, neighbour_shift, present)


def species_weights(
    atoms: ase.Atoms, species: tuple[str, ...], mixing: tuple[str, str], composition: ArrayLike | None
) -> jax.Array | np.ndarray:
    """How much of each species a site holds, shape (atom, species).

    Sites of the two mixing species hold 1 − c and c of them where fractions are given (`composition`, or else the array
    "composition" of the atoms if it holds any), otherwise what their symbols say.

    Raises:
        ValueError: an atom of another species, a wrong shape, or a fraction outside [0, 1].
    """
    symbols = atoms.get_chemical_symbols()
    for at, symbol in enumerate(symbols):
        if symbol not in species:
            raise ValueError(f"Every atom must be one of {', '.join(species)}, but atom {at} is {symbol}.")
    labels = np.array([[float(symbol == s) for s in species] for symbol in symbols])
    if composition is None:
        composition = site_fractions(atoms)
    if composition is None or mixing[0] == mixing[1]:
        return labels
    checks.shape_is("composition", composition, (len(atoms),))
    checks.fraction("composition", composition)
    c = jnp.asarray(composition)
    mixed = jnp.stack([(s == mixing[0]) * (1 - c) + (s == mixing[1]) * c for s in species], axis=1)
    return jnp.where(np.isin(symbols, mixing)[:, None], mixed, labels)


def bond_constants(field: ForceField, wi: jax.Array, wj: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Length, α and β of bonds whose ends hold the species `wi` and `wj`, shape (…, species)."""
    return tuple(
        jnp.einsum("...a,ac,...c->...", wi, x, wj, precision="highest") for x in (field.length, field.alpha, field.beta)
    )


class Springs(NamedTuple):
    """E = Σ K (r_b·r_c − T)² over all pairs (b, c) of an atom's bonds, b = c included."""

    stiffness: jax.Array  # K in eV/Å⁴, (atom, 4, 4); 0 where a bond is missing
    target: jax.Array  # T in Å², (atom, 4, 4): d² for b = c, else −d_b d_c/3


def springs_of(field: ForceField, weights: jax.Array, network: Network) -> Springs:
    """The terms of the energy; a bond comes at both its ends and an angle in both orders, so that each has half."""
    wj = weights[network.neighbour]
    wi = jnp.broadcast_to(weights[:, None], wj.shape)
    # a missing bond has constants of no meaning, but none that divide by zero
    d, alpha, beta = (jnp.where(network.present, x, 1.0) for x in bond_constants(field, wi, wj))
    product, same = d[:, :, None] * d[:, None, :], jnp.eye(4, dtype=d.dtype)
    root = jnp.sqrt(beta)
    constant = jnp.where(same > 0, alpha[:, :, None], root[:, :, None] * root[:, None, :])
    both = network.present[:, :, None] & network.present[:, None, :]
    return Springs(jnp.where(both, 3 * constant / (16 * product), 0.0), product * (4 * same - 1) / 3)


def keating_energy(vectors: jax.Array, springs: Springs) -> jax.Array:
    """Energy in eV of the bond vectors of each atom in Å, shape (atom, 4, 3)."""
    product = jnp.einsum("nbx,ncx->nbc", vectors, vectors, precision="highest")
    return jnp.sum(springs.stiffness * (product - springs.target) ** 2)
