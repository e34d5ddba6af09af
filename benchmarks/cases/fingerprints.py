"""Fingerprints of strained Si, Ge, GaAs and Si₂Ge₂: structures a second by `fingerprint_structures`, compilation and search for bonds included.

The baseline makes them one by one, each a call of `model_levels` and `fingerprint`, after its programs are compiled. The target, 5,000 structures in 10 minutes, is
stated for the structures of this size as 120 ms each. The error is against the baseline.
"""

import ase
import numpy as np

from bandjax.fingerprints import fingerprint, fingerprint_structures, grid_of, model_levels, table_for
from bandjax.hamiltonian import tight_binding
from bandjax.structure import superlattice, zincblende
from benchmarks.timing import Row, in_turn, row

SIZES = {"tiny": (2, 0.5), "default": (100, 0.15)}  # structures of each kind, spacing of k in 1/Å
ONE_BY_ONE = 3  # of each kind
TABLE, WINDOW, SMEARING = "vogl1983", "vbm", 0.1
SECONDS = 0.12


def run(size: str) -> list[Row]:
    count, spacing = SIZES[size]
    rng = np.random.default_rng(0)
    kinds = [
        zincblende("Si", 5.431),
        zincblende("Ge", 5.658),
        zincblende("GaAs", 5.653),
        superlattice(("Si", "Ge"), (2, 2)),
    ]
    structures = [strained(atoms, x) for atoms in kinds for x in rng.uniform(-0.02, 0.02, count)]
    some = [structures[kind * count + i] for kind in range(len(kinds)) for i in range(min(count, ONE_BY_ONE))]
    options = {"smearing": SMEARING, "spacing": spacing, "spin_orbit": False, "coarse": size == "tiny"}

    def batched(chosen: list[ase.Atoms] = structures) -> np.ndarray:
        return fingerprint_structures(chosen, TABLE, WINDOW, **options)["fingerprint"].values

    def one_by_one() -> np.ndarray:
        return np.stack([alone(atoms, spacing, size == "tiny") for atoms in some])

    timings = in_turn({"batched": batched, "one by one": one_by_one})
    per_structure = timings["one by one"].least / len(some) * len(structures)
    error = float(np.abs(batched(some) - one_by_one()).max())
    return [
        row(
            f"fingerprints: {len(structures)} structures of 4 kinds, spacing {spacing} / Å", timings["batched"], items=len(structures), item="structures",
            baseline=("one by one", per_structure), target="wall", limit=SECONDS * len(structures),
            error=error, error_against="one by one, largest, 1/eV", tolerance=1e-9,
        ),
    ]  # fmt: skip


def strained(atoms: ase.Atoms, strain: float) -> ase.Atoms:
    """Stretched along z by `strain`."""
    out = atoms.copy()
    out.set_cell(np.asarray(atoms.cell) * [1, 1, 1 + strain], scale_atoms=True)
    return out


def alone(atoms: ase.Atoms, spacing: float, coarse: bool) -> np.ndarray:
    """One structure's fingerprint."""
    table = table_for(sorted(set(atoms.get_chemical_symbols())), TABLE)
    levels = model_levels(tight_binding(atoms, table, spin_orbit=False), grid=grid_of(atoms, spacing))
    return np.asarray(fingerprint(levels, WINDOW, smearing=SMEARING, coarse=coarse))
