"""The tight-binding Hamiltonian: Slater-Koster blocks, spin-orbit, strain, Bloch form, layered form."""

from bandjax.hamiltonian.bloch import bloch_hamiltonian
from bandjax.hamiltonian.layered import (
    LayeredHamiltonian,
    find_layers,
    is_layered,
    layer_rows,
    layered_hamiltonian,
    repeating_unit,
)
from bandjax.hamiltonian.model import Model, Orbital, Topology
from bandjax.hamiltonian.rotate import rotated
from bandjax.hamiltonian.slater_koster import slater_koster
from bandjax.hamiltonian.tight_binding import tight_binding

__all__ = [
    "LayeredHamiltonian", "Model", "Orbital", "Topology", "bloch_hamiltonian", "find_layers", "is_layered", "layer_rows",
    "layered_hamiltonian", "repeating_unit", "rotated", "slater_koster", "tight_binding",
]  # fmt: skip
