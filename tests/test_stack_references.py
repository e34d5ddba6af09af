"""Superlattices, a strained alloy and a hydrogenated slab have the eigenvalues that NanoNet gives.

The numbers in data/stacks_nanonet.json were made by regenerate/stacks_nanonet.py, which says how and with what. The
structures here are the package's own; only the alloy's drawn positions come from the file.
"""

import json
import re
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bandjax as bj
from bandjax.hamiltonian import bloch_hamiltonian

CASES = json.loads((Path(__file__).parent / "data" / "stacks_nanonet.json").read_text(encoding="utf-8"))["cases"]
TOLERANCE = 1e-9  # eV: both diagonalise in double precision; the file holds 11 decimals
DEFAULT = ("Si1/1-boykin2004-spin", "slab-jancu1998-spin")  # the others take 20 s to compile


def structure(case):
    if case["name"] == "alloy":
        about = next(c for c in CASES if "positions" in c)
        return ase.Atoms(re.findall("[A-Z][a-z]", about["symbols"]), about["positions"], cell=about["cell"], pbc=True)
    if "hydrogen" in case:
        return bj.slab("Si", case["layers"], substrate=5.43, hydrogen=case["hydrogen"])
    return bj.superlattice(("Si", "Ge"), case["layers"], substrate="Si")


def name_of(case):
    return f"{case['name']}-{case['table']}" + "-spin" * case["spin_orbit"]


def slow(name):
    return [] if name in DEFAULT else [pytest.mark.slow]


@pytest.mark.parametrize("case", [pytest.param(c, marks=slow(name_of(c)), id=name_of(c)) for c in CASES])
def test_eigenvalues(case):
    atoms = structure(case)
    table = bj.load_parameters(("Si", "H") if "hydrogen" in case else ("Si", "Ge"), case["table"])
    options = {"spin_orbit": case["spin_orbit"], "distance_law": case["distance_law"]}

    @jax.jit
    def hamiltonian(k):
        return jax.vmap(lambda q: bloch_hamiltonian(bj.tight_binding(atoms, table, **options), q))(k)

    found, expected = np.linalg.eigvalsh(hamiltonian(jnp.asarray(case["k"]))), np.array(case["eigenvalues"])
    assert found.shape == expected.shape and np.ptp(expected) > 20
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_the_file_covers_what_it_should():
    stacks = {tuple(case["layers"]) for case in CASES if case["name"].startswith("Si")}
    assert {(1, 1), (2, 2), (3, 5), (4, 4)} <= stacks
    assert {case["table"] for case in CASES} == {"vogl1983", "jancu1998", "boykin2004", "niquet2009"}
    atoms = structure(next(case for case in CASES if case["name"] == "alloy"))
    off = atoms.get_scaled_positions() * 8
    assert len(atoms) == 64 and sum(atoms.symbols == "Ge") == 32 and np.abs(off - np.round(off)).max() > 0.05
