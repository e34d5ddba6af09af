"""The tight-binding Hamiltonian: Slater-Koster blocks, spin-orbit, strain, Bloch form, layered form."""

from bandjax.hamiltonian.bloch import bloch_hamiltonian, onsite_hamiltonian
from bandjax.hamiltonian.helical import helical_coupling, helical_hamiltonian, radial_hoppings
from bandjax.hamiltonian.layered import (
    LayeredHamiltonian,
    closed_hamiltonian,
    find_layers,
    is_layered,
    layer_rows,
    layered_hamiltonian,
    repeating_unit,
)
from bandjax.hamiltonian.model import Model, Orbital, Topology
from bandjax.hamiltonian.rotate import rotated
from bandjax.hamiltonian.slater_koster import slater_koster
from bandjax.hamiltonian.sparse import SparseHamiltonian, apply_sparse, bond_phases, sparse_hamiltonian
from bandjax.hamiltonian.tight_binding import tight_binding

__all__ = [
    "LayeredHamiltonian", "Model", "Orbital", "SparseHamiltonian", "Topology", "apply_sparse", "bloch_hamiltonian", "bond_phases",
    "closed_hamiltonian", "find_layers", "helical_coupling", "helical_hamiltonian", "is_layered", "layer_rows", "layered_hamiltonian",
    "onsite_hamiltonian", "radial_hoppings", "repeating_unit", "rotated", "slater_koster", "sparse_hamiltonian", "tight_binding",
]  # fmt: skip
