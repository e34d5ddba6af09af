"""Fingerprints resolved by atoms, orbitals and k, and of operators other than one.

    D_O(E) = Σ_k w_k g Tr[O(k) f((H(k) − E)/w)]/w          g: electrons that a level holds

    "identity"     O = 1: the density of states
    "kinetic"      O = Σ_a (∂H/∂k_a)²/(2ħ²/m), that is p²/2m with p = (m/ħ) ∂H/∂k
    "hopping"      O = H − H_onsite: the energy in the bonds (its density is the crystal orbital Hamilton population)
    "onsite"       O = H_onsite, without spin-orbit
    "spin_orbit"   O = λ L·σ

What a tight-binding model can represent: positions are diagonal in the orbitals (atomic gauge), so that p has no transitions
within an atom, and all intermediate states are those of the basis; "kinetic" therefore sorts and compares, but is no kinetic
energy of the electrons (it obeys no virial theorem). Operators of the plane-wave kind, as the published one, need wave functions.

Source: A. Zadoks, A. Marrazzo, N. Marzari, npj Comput. Mater. (2024) (after) for operators' spectra; R. Dronskowski, P. E. Blöchl,
J. Phys. Chem. 97, 8617 (1993) (after) for "hopping".
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.devices import map_chunks
from bandjax.fingerprints.density import PUBLISHED_SMEARING, check_window, edges_for, refuse_metal
from bandjax.fingerprints.kernels import kernel_cut, kernel_value
from bandjax.fingerprints.levels import BandEdges, half_grid, model_levels, periodic_grid
from bandjax.fingerprints.windows import Window, as_window, window_energies
from bandjax.hamiltonian import Model, bloch_hamiltonian, onsite_hamiltonian
from bandjax.spectrum.bands import as_wave_vectors, bytes_of_h
from bandjax.spectrum.operators import operator_density
from bandjax.spectrum.spectral import orbital_groups
from bandjax.units import HBAR2_OVER_M

Operator = Callable[[Model, jax.Array], jax.Array]
RESOLVE = (None, "atom", "orbital")


def operator_spectra(
    model: Model,
    k: ArrayLike,
    energy: ArrayLike,
    *,
    operator: str | Operator = "identity",
    resolve: str | None = None,
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = np.inf,
    budget: float | None = None,
) -> jax.Array:
    """k-resolved fingerprint: g Tr[P O(k) f((H(k) − E)/w)]/w at every k.

    Args:
        model: Tight-binding model.
        k: Cartesian wave vectors in 1/Å, shape (k, 3).
        energy: eV on the model's own scale, shape (energy,).
        operator: Name (module's head), or a function of (model, k (3,)) that gives a Hermitian matrix (orbital, orbital).
        resolve: None, "atom" or "orbital" (spins summed): P; then O stands for its symmetric part (P O + O P)/2.
        smearing, kernel, cut: See `fingerprint`; without a cut the derivative is that of a smooth function.
        budget: Memory for temporaries in bytes.

    Returns:
        Unit of O per eV and cell, both spins counted, shape (k, energy[, atom | orbital]). Exact first derivatives in the
        model at every k, degenerate or not.

    Raises:
        ValueError: an unknown operator, kernel or `resolve`, `smearing` ≤ 0, "spin_orbit" of a model without.
    """
    checks.one_of("resolve", resolve, RESOLVE)
    checks.positive("smearing", smearing, "eV")
    matrix = _operator(operator, model)
    k, energy = as_wave_vectors(model, k), jnp.asarray(energy, model.dtype)
    found = _spectra(model, k, energy, matrix, resolve, float(smearing), kernel, kernel_cut(kernel, cut), budget)
    return found[..., 0] if resolve is None else found


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7, 8))
def _spectra(model, k, energy, matrix, resolve, smearing, kernel, cut, budget):
    groups = orbital_groups(model, resolve)
    spins = 1 if model.topology.spin_orbit else 2
    broadening = partial(_broadening, smearing=smearing, kernel=kernel, cut=cut)

    def one(q: jax.Array) -> jax.Array:
        o = matrix(model, q)
        if groups is None:
            operators = o[None]
        else:  # (P O + O P)/2 for each group of orbitals
            operators = (groups[:, :, None] + groups[:, None, :]) / 2 * o
        return spins * operator_density(bloch_hamiltonian(model, q), operators, energy, broadening, smearing).T

    count = 1 if groups is None else groups.shape[0]
    return map_chunks(one, k, bytes_per_item=bytes_of_h(model) * (1 + count), budget=budget)


def operator_fingerprint(
    model: Model,
    window: str | Window | Sequence[Window] = "fermi",
    *,
    operator: str | Operator = "identity",
    resolve: str | None = None,
    grid: Sequence[int] = (8, 8, 8),
    smearing: float = PUBLISHED_SMEARING,
    kernel: str = "gaussian",
    cut: float | None = None,
    edges: BandEdges | None = None,
    align: str = "follow",
    coarse: bool = False,
    budget: float | None = None,
) -> jax.Array:
    """Fingerprint of an operator, on a grid of wave vectors of which time reversal leaves one half.

    Args:
        model, operator, resolve: See `operator_spectra`; an operator of one's own must be even under time reversal.
        window, smearing, kernel, cut, edges, align, coarse: See `fingerprint`.
        grid: See `model_levels`.

    Returns:
        Shape (energy[, atom | orbital]); for "identity" without `resolve` that of `fingerprint`, and resolved it adds up to it.

    Raises:
        ValueError: as `operator_spectra`, `model_levels` and `fingerprint`.
    """
    checks.one_of("align", align, ("follow", "fixed"))
    pieces = as_window(window)
    levels = model_levels(model, grid=grid, budget=budget)
    if edges is None:
        edges = edges_for(levels, pieces, smearing)
    refuse_metal(pieces, edges)
    if align == "fixed":
        edges = jax.lax.stop_gradient(edges)
    energy = window_energies(pieces, smearing, edges)
    if checks.is_concrete((levels, energy)):
        check_window(levels, pieces, energy, smearing, coarse, kernel_cut(kernel, cut))
    fractional, weight = half_grid(periodic_grid(model, grid))
    spectra = operator_spectra(
        model, jnp.asarray(fractional, model.dtype) @ model.reciprocal, energy, operator=operator, resolve=resolve,
        smearing=smearing, kernel=kernel, cut=cut, budget=budget,
    )  # fmt: skip
    return jnp.tensordot(jnp.asarray(weight, model.dtype), spectra, 1, precision="highest")


def _broadening(x: jax.Array, smearing: float, kernel: str, cut: float) -> jax.Array:
    return kernel_value(x / smearing, kernel, cut) / smearing


def _identity(model: Model, k: jax.Array) -> jax.Array:
    return jnp.eye(model.n_orbital, dtype=jnp.result_type(model.dtype, jnp.complex64))


def _kinetic(model: Model, k: jax.Array) -> jax.Array:
    velocity = jnp.moveaxis(jax.jacfwd(lambda q: bloch_hamiltonian(model, q))(k), -1, 0)  # ħv, (3, orbital, orbital)
    return jnp.einsum("aij,ajl->il", velocity, velocity, precision="highest") / (2 * HBAR2_OVER_M)


def _onsite(model: Model, k: jax.Array) -> jax.Array:
    return onsite_hamiltonian(model, spin_orbit=False)


def _hopping(model: Model, k: jax.Array) -> jax.Array:
    return bloch_hamiltonian(model, k) - onsite_hamiltonian(model, spin_orbit=True)


def _spin_orbit(model: Model, k: jax.Array) -> jax.Array:
    return onsite_hamiltonian(model, spin_orbit=True) - onsite_hamiltonian(model, spin_orbit=False)


OPERATORS: dict[str, Operator] = {
    "identity": _identity, "kinetic": _kinetic, "hopping": _hopping, "onsite": _onsite, "spin_orbit": _spin_orbit,
}  # fmt: skip


def _operator(operator: str | Operator, model: Model) -> Operator:
    if callable(operator):
        _check_own(operator, model)
        return operator
    checks.one_of("operator", operator, OPERATORS)
    if operator == "spin_orbit" and not model.topology.spin_orbit:
        raise ValueError(
            "Argument `operator` must not be 'spin_orbit' for a model without spin-orbit, but is 'spin_orbit'."
        )
    return OPERATORS[operator]


def _check_own(operator: Operator, model: Model) -> None:
    """Raise ValueError unless an operator of one's own is a Hermitian matrix of the model's size, tried at a k of no symmetry."""
    k = jnp.asarray([0.11, 0.23, 0.37], model.dtype)
    size = (model.n_orbital, model.n_orbital)
    found = jax.eval_shape(operator, model, k)
    if found.shape != size:
        raise ValueError(f"Argument `operator` must give matrices of shape {size}, but gives {found.shape}.")
    if checks.is_concrete(model):
        matrix = np.asarray(operator(model, k))
        off = float(np.abs(matrix - matrix.conj().T).max())
        if off > 1e-5 * max(1.0, float(np.abs(matrix).max())):
            raise ValueError(
                f"Argument `operator` must give Hermitian matrices, but one differs from its adjoint by {off:.2g}."
            )
