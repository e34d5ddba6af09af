"""What other programs take: constants of our own measurement, never run here.

Source: the project's table of peers, measured in November 2026 on one thread of a shared 2-core x86-64 machine,
minimum of repeats, bulk Si sp3s*. Another machine than that of a run: compare orders, and ratios to LAPACK, not
seconds.
"""

from typing import NamedTuple

SOURCE = "own measurement, Nov 2026, one thread of a shared 2-core x86-64 machine, minimum of repeats"


class Peer(NamedTuple):
    """One program's seconds for the work of one row."""

    program: str
    work: str
    seconds: float
    note: str = ""


_PER_THOUSAND = (  # eigenvalues and eigenvectors per 1000 k: 10 orbitals, 20 with spin-orbit
    ("LAPACK through numpy, H(k) given", 0.0125, 0.048, "the floor on CPU"),
    ("jax jit(eigh) 0.12", 0.015, 0.051, ""),
    ("chinook 1.1.3", 0.014, 0.054, "patched to import on Python ≥ 3.10; 3e-4 eV off"),
    ("TBmodels 1.4.3 + eigh", 0.016, 0.058, ""),
    ("diffpes 2026.6.13", 0.017, None, "JAX, differentiable"),
    ("pythtb 2.0.2", 0.018, 0.066, ""),
    ("tightbinder 0.2.2", 0.037, 0.077, ""),
    ("sisl 0.20", 0.063, 0.215, ""),
    ("kwant 1.5", 0.072, 0.151, ""),
    ("pybinding 1.0.6", 0.122, 0.290, ""),
    ("NanoNet 1.3.12", 17.8, 53.5, ""),
)
HAMILTONIAN_10 = "hamiltonian: 10 orbitals, 1000 k"
HAMILTONIAN_20 = "hamiltonian: 20 orbitals, 1000 k"
CHINOOK_MAP = "image: chinook's map"
CHINOOK_SECONDS = 8.46
PEERS = (
    *(Peer(program, HAMILTONIAN_10, small, note) for program, small, _, note in _PER_THOUSAND),
    *(Peer(program, HAMILTONIAN_20, large, note) for program, _, large, note in _PER_THOUSAND if large is not None),
    Peer("chinook 1.1.3", CHINOOK_MAP, CHINOOK_SECONDS, "hydrogenic radial integrals; 99 % of it quadrature"),
    Peer("chinook 1.1.3, fixed radial integrals", CHINOOK_MAP, 0.028, "no radial integrals computed"),
    Peer("diffpes 2026.6.13, resolvent", "spectral: trace, 32 k × 64 E", 6.0e-3),
    Peer("diffpes 2026.6.13, resolvent", "gradient: trace, 32 k × 64 E, value + gradient", 12.0e-3),
)
