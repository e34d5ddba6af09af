"""The radial p orbitals of a nanotube: by the tube's screw operations, two by two for every wave vector.

With the radial unit vectors r_i, r_j of two bonded atoms and the unit vector b of their bond,

    t = V_ppπ (r_i·r_j − (r_i·b)(r_j·b)) + V_ppσ (r_i·b)(r_j·b),      V(d) = V(d0) (d0/d)²

All A atoms are equal, and so are all B atoms. A screw operation that turns by φ and rises by z multiplies a Bloch function by
exp(i(μφ + kz)) with a whole number μ, so that of the three bonds (φ_j, z_j) of an A atom

    H_AB(k, μ) = Σ_j t_j exp(i(μ φ_j + k z_j)),      H_AA = H_BB = ε.

Not covered: the orbitals of the σ bonds, with which strong curvature (below about 0.7 nm) mixes the radial ones; the overlap of
neighbouring orbitals; further neighbours.

Source: C. T. White, D. H. Robertson, J. W. Mintmire, Phys. Rev. B 47, 5485 (1993), (after); Slater and Koster's p-p integrals.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bandjax.hamiltonian.blocks import hoppings, onsite_block
from bandjax.materials import Table
from bandjax.structure.nanotube import Tube


def radial_hoppings(tube: Tube, table: Table) -> jax.Array:
    """Hoppings in eV of the radial p orbitals from an A atom to its three neighbours, shape (3,).

    Args:
        tube: The tube.
        table: Of one species with a p shell and one kind of bond, ("nanotube", "pz").

    Raises:
        ValueError: the table is no such table.
    """
    spec = table.spec
    if spec.orbitals != ((spec.species[0], ("p",)),) or len(spec.bonds) != 1:
        raise ValueError(
            "Argument `table` must have one species with a p shell and one kind of bond, such as ('nanotube', 'pz'), "
            f"but is {spec.name} of {spec.material}."
        )
    cos, sin, none = jnp.cos(tube.turn), jnp.sin(tube.turn), jnp.zeros_like(tube.turn)
    across = 2 * tube.radius * jnp.sin(tube.turn / 2) ** 2  # R (1 − cos φ) without its cancellation
    vectors = jnp.stack([-across, tube.radius * sin, tube.rise], axis=1)
    radial = jnp.stack([cos, sin, none], axis=1)  # at B; at A it is x
    return jnp.einsum("nb,nb->n", hoppings(table, 0, None, vectors)[:, 0], radial, precision="highest")


def radial_onsite(tube: Tube, table: Table) -> jax.Array:
    """On-site energy ε in eV, a number."""
    return onsite_block(table, table.spec.species[0], tube.rise.dtype)[0, 0]


def helical_coupling(tube: Tube, hoppings: ArrayLike, k: ArrayLike, mu: ArrayLike) -> jax.Array:
    """H_AB(k, μ) in eV, complex, in the common shape of `k` and `mu`.

    Args:
        tube: The tube.
        hoppings: From an A atom to its three neighbours in eV, shape (3,), such as `radial_hoppings`.
        k: Wave vectors along the axis in 1/Å.
        mu: Angular momenta about the axis, whole numbers.
    """
    k, mu = jnp.asarray(k, tube.rise.dtype), jnp.asarray(mu)
    phase = jnp.exp(1j * (mu[..., None] * tube.turn + k[..., None] * tube.rise))
    return jnp.sum(jnp.asarray(hoppings) * phase, axis=-1)


def helical_hamiltonian(tube: Tube, table: Table, k: ArrayLike, mu: ArrayLike) -> jax.Array:
    """Bloch Hamiltonian in eV of the radial p orbitals, in the order A, B: shape (2, 2).

    Args:
        tube: The tube.
        table: See `radial_hoppings`.
        k: Wave vector along the axis in 1/Å, a number.
        mu: Angular momentum about the axis, a whole number; `tube.hexagons` successive ones give all levels at one k.

    Raises:
        ValueError: see `radial_hoppings`.
    """
    onsite = radial_onsite(tube, table) + 0j
    coupling = helical_coupling(tube, radial_hoppings(tube, table), k, mu)
    return jnp.stack([jnp.stack([onsite, coupling]), jnp.stack([jnp.conj(coupling), onsite])])
