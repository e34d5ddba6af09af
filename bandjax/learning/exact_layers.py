"""The exact local spectral functions that a surrogate learns: layers of an endless (001) stack, without spin-orbit coupling.

A_l(k, E) = −(1/π) Im Tr G_ll(k, E + iη) of a monolayer (one atom, five sp3s* orbitals) with k along [110], integrated over k_z: a
stack's own k_z belongs to its period, and at fixed k_z no quantity is local. Profiles count from the bottom, as structures do.

Symmetry. In-plane bonds turn by 90° from layer to layer, so that inversion maps an even layer (counted from the bottom) with the
profile c(l) onto an odd one with c(−l): one function of the *directed* surroundings serves all layers. The mirror (1-10) parts the
orbitals into four even and one odd combination for k along [110], which makes the small matrices smaller.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax.hamiltonian import LayeredHamiltonian, Model, layered_hamiltonian, tight_binding
from bandjax.materials import Table, elastic_constants, interpolate, load_parameters, out_of_plane_constant
from bandjax.spectrum import embedded_spectra
from bandjax.structure import graded

MATERIALS = ("Si", "Ge")
TABLE = "vogl1983"
VACUUM = 15.0  # Å; only the inner layers of a finite stack are used
LATERAL = np.array([[0, 0], [0.25, 0.25], [0.5, 0], [0.75, 0.25]])  # of the four kinds of layer, in units of a∥
_S = 0.5**0.5
EVEN = np.array([[1, 0, 0, 0, 0], [0, _S, _S, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]])  # of s, px, py, pz, s*
ODD = np.array([[0, _S, -_S, 0, 0]])
ORBITALS = 5


class Profile(NamedTuple):
    """An endless stack: layers from the bottom to the top, continued by its own first and last layers (see `period`)."""

    composition: jax.Array  # (layer,) fraction of Ge
    stretch: jax.Array  # (layer,) relative change of the out-of-plane constant against the elastic law
    a_parallel: jax.Array  # () in-plane lattice constant, Å


def layer_positions(profile: Profile, first: int = 0) -> jax.Array:
    """Positions in Å, (layer, 3), as those of `stack_positions` where nothing is stretched; `first`: index of the lowest."""
    c, stretch, a = profile
    ends = (elastic_constants(m) for m in MATERIALS)
    height = out_of_plane_constant(interpolate(*ends, c), a) * (1 + stretch)
    z = jnp.concatenate([jnp.zeros(1, c.dtype), jnp.cumsum(height[:-1] + height[1:]) / 8])
    return jnp.concatenate(
        [a * jnp.asarray(LATERAL[np.arange(first, first + c.size) % 4], c.dtype), z[:, None]], axis=1
    )


def continued(profile: Profile, period: int) -> Profile:
    """The profile with one more layer at each end, as its continuation has them."""
    c, stretch, a = profile
    more = lambda x: jnp.concatenate([x[period - 1 : period], x, x[-period : x.size - period + 1]])  # noqa: E731
    return Profile(more(c), more(stretch), a)


def model_of(profile: Profile, table: Table | None = None) -> Model:
    """Tight-binding model of layers −1, 0, 1, …, the outermost of which have neighbours on one side only."""
    count, a = profile.composition.size, profile.a_parallel
    rows = [a / 2 * jnp.array([1.0, 1, 0]), a / 2 * jnp.array([-1.0, 1, 0]), jnp.array([0, 0, 1.6 * count + VACUUM])]
    return tight_binding(
        _template(count), _table() if table is None else table, positions=layer_positions(profile, -1), cell=jnp.stack(rows),
        composition=profile.composition, spin_orbit=False,
    )  # fmt: skip


def layered_of(model: Model, k: jax.Array) -> LayeredHamiltonian:
    """Blocks for `embedded_spectra` from the model of a continued profile, at one wave vector in 1/Å."""
    h = layered_hamiltonian(model, k, tuple(range(model.topology.n_atom))[::-1])
    return LayeredHamiltonian(h.diagonal[1:-1], h.upper[1:-1], jnp.stack([h.upper[0], h.upper[-1]]))


def exact_layers(
    profile: Profile, period: int, reduced: ArrayLike, x: jax.Array, gamma: jax.Array, table: Table | None = None
) -> jax.Array:
    """A_l(k, E) of the layers from the bottom, summed over the orbitals; 1/eV, shape (layer, k, energy).

    Args:
        profile: Its first and last `period` layers go on for ever.
        period: Even, and so must the number of layers be where both ends are one unit.
        table: Of ("Si", "Ge"); None: vogl1983.
        reduced: k along [110] in units of the zone edge, shape (k,).
        x: Energies, eV, shape (energy,).
        gamma: Half widths, eV, > 0, shape (energy,).
    """
    model = model_of(continued(profile, period), table)
    along = np.pi / profile.a_parallel * jnp.array([1.0, 1.0, 0.0])

    def one(reduced: jax.Array) -> jax.Array:
        h = layered_of(model, reduced * along)
        total = 0.0
        for part in (EVEN, ODD):
            r = jnp.asarray(part, h.diagonal.dtype)
            small = LayeredHamiltonian(*(jnp.einsum("ai,...ij,bj->...ab", r, b, r, precision="highest") for b in h))
            total += embedded_spectra(small, period, x, gamma).sum(axis=1)
        return total[::-1]

    return jnp.swapaxes(jax.lax.map(one, jnp.asarray(reduced)), 0, 1)


@functools.cache
def _template(count: int):
    with jax.ensure_compile_time_eval():  # may be first called inside a trace, and must not keep its tracers
        atoms = graded(MATERIALS, np.zeros(count), substrate=MATERIALS[0], vacuum=VACUUM)
        profile = Profile(
            jnp.zeros(count), jnp.zeros(count), jnp.array(elastic_constants(MATERIALS[0]).lattice_constant)
        )
        atoms.set_positions(np.asarray(layer_positions(profile, -1)))
        return atoms


def _table() -> Table:
    """vogl1983 in the precision of the moment."""
    return _table_of(jnp.zeros(()).dtype)


@functools.cache
def _table_of(dtype: object) -> Table:
    with jax.ensure_compile_time_eval():
        return load_parameters(MATERIALS, TABLE)
