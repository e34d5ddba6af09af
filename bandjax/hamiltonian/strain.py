"""On-site terms that follow the strain of an atom's neighbourhood."""

import jax

from bandjax.hamiltonian.model import BondGroup
from bandjax.materials import DistanceLaw, Table


def add_onsite_terms(
    onsite: list[jax.Array], table: Table, law: DistanceLaw, labels: list[str], groups: list[BondGroup], vectors: list[jax.Array]
) -> list[jax.Array]:
    return onsite
