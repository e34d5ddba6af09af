"""Quantum-well numbers of a stack: levels bound to its mixed layers with their masses, and the valence-band offset.

A level n at k∥ = 0 belongs to the well where w_n = Σ_o (c_o / max c) |u_on|² > ½, with c_o the fraction of the second
species on the site of orbital o: surface states and those of the substrate have w ≈ 0. A free surface's dangling bonds lie in the gap near
those levels and bend their dispersion: for masses raise them (`dangling_shift`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, bloch_hamiltonian, tight_binding
from bandjax.materials import Table
from bandjax.photoemission import Instrument
from bandjax.photoemission.kinematics import laboratory_rotation
from bandjax.spectrum import bands, effective_masses
from bandjax.structure import graded, stack_positions
from bandjax.structure.growth import pair_of

BOUND = 0.5  # weight from which a level counts as the well's


def well_numbers(count: int = 2) -> Callable[[Model, Instrument], dict[str, float]]:
    """Function of (model, instrument) for `Problem.derived`: the highest occupied levels of a well.

    Args:
        count: How many levels, from the top.

    Returns:
        A function that gives well_1, well_2, … (E − E_F in eV at k∥ = 0, highest first) and mass_1, mass_2, … along the
        slit in units of the electron mass (holes negative). It raises ValueError for a stack without composition, or
        with fewer such levels. Errors that `fit` propagates hold while no level crosses the limit of ½.
    """

    def numbers(model: Model, instrument: Instrument) -> dict[str, float]:
        if model.composition is None or float(jnp.max(model.composition)) <= 0:
            raise ValueError("Argument `derived` may be `well_numbers` for a stack with mixed layers only.")
        gamma = jnp.zeros((1, 3), model.dtype)
        eps, u = np.linalg.eigh(np.asarray(bloch_hamiltonian(model, gamma[0])))
        c = np.asarray(model.composition)[np.array(model.topology.atom_of())]
        weight = (np.abs(u) ** 2 * (c / c.max())[:, None]).sum(axis=0)
        chosen = np.flatnonzero((weight > BOUND) & (eps < float(instrument.fermi_energy)))[::-1][:count]
        if len(chosen) < count:
            raise ValueError(f"The well must hold {count} occupied levels, but holds {len(chosen)}.")
        slit = laboratory_rotation(instrument.surface, instrument.slit)[0]
        mass = np.asarray(effective_masses(model, gamma, slit))[0]
        out = {f"well_{i + 1}": float(eps[n] - instrument.fermi_energy) for i, n in enumerate(chosen)}
        return out | {f"mass_{i + 1}": float(mass[n]) for i, n in enumerate(chosen)}

    return numbers


def valence_offset(
    table: Table, materials: tuple[str, str] = ("Si", "Ge"), *, fraction: str = "fraction"
) -> Callable[[Mapping[str, Any]], jax.Array]:
    """Function of a stack's values, for `read_layers`: how far the mean of the three valence bands at Γ (without
    spin-orbit) of the strained layer lies above that of the strained first species, both on the same a∥; eV.

    The mean, and not the top, because strain splits the top and the derivative of a degenerate level has no meaning.

    Args:
        table: Table of the pair.
        materials: The pair.
        fraction: Name of the value that is the layer's fraction of the second species.
    """
    step = pair_of(materials).layers
    atoms = graded(materials, np.zeros(4 // step), substrate=materials[0], vacuum=None)

    def mean_level(values: Mapping[str, Any], c: Any) -> jax.Array:
        composition = jnp.broadcast_to(jnp.asarray(c, float), (4 // step,))
        positions, cell = stack_positions(composition, values["a_parallel"], materials, vacuum=None)
        own = table.replace(**{n: v for n, v in values.items() if n in table.values})
        sites = jnp.repeat(composition, step)  # what stands at an anion is not read
        model = tight_binding(atoms, own, positions=positions, cell=cell, composition=sites, spin_orbit=False)
        filled = 2 * len(atoms)  # four electrons an atom
        return bands(model, jnp.zeros((1, 3)))[0, filled - 3 : filled].mean()

    return lambda values: mean_level(values, values[fraction]) - mean_level(values, 0.0)
