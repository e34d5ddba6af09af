"""The tight-binding Hamiltonian: Slater-Koster blocks, spin-orbit, strain, Bloch form."""

from bandjax.hamiltonian.bloch import bloch_hamiltonian
from bandjax.hamiltonian.model import Model, Orbital, Topology
from bandjax.hamiltonian.rotate import rotated
from bandjax.hamiltonian.slater_koster import slater_koster
from bandjax.hamiltonian.tight_binding import tight_binding

__all__ = ["Model", "Orbital", "Topology", "bloch_hamiltonian", "rotated", "slater_koster", "tight_binding"]
