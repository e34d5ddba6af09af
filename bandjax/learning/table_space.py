"""The space of sp3s* tables of zinc-blende crystals, spanned by the published ones and centred on none of them.

A crystal is given by twelve coordinates of order one, both spin-orbit splittings, its lattice constant and its
valence-band top. The coordinates z whiten the twelve numbers

    x = (E_sa, E_sc, E_s*a, E_s*c less the top Γ8;  E_pc + Δ_c/3 − E_pa − Δ_a/3;  seven V (a/5.9 Å)²),
    x = mean + root z,     covariance of x: half that of the published tables, half its diagonal.

The half diagonal lets each number move on its own too: what valence bands see of an alloy or of a strained crystal is no
mean of two tables. At fixed coordinates hoppings scale as Harrison's law wants, V ~ a^−2. The top of a zinc-blende crystal at Γ is

    Γ8 = (ε_a + ε_c)/2 − √((ε_c − ε_a)²/4 + V_xx²),     ε = E_p + Δ/3,

which is put at `top`, an energy on the scale of the map (E − E_F), so that no table's zero of energy matters.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, tight_binding
from bandjax.materials import Table, list_parameters, load_parameters
from bandjax.structure import zincblende

TABLES = ("vogl1983", "klimeck2000", "pbe_sp3s")
LEFT_OUT = (("Si", "klimeck2000"),)  # V_xy = 23 eV, far from any other table; "Si-VB" of the same paper stands for it
LATTICE_CONSTANTS = (5.35, 6.65)  # Å: diamond and SiC are left out, and tables without a lattice constant
REFERENCE = 5.9  # Å, at which hoppings are compared
OWN = 0.5  # part of every number's variance that is its own
RELATIVE = ("E_sa", "E_sc", "E_s*a", "E_s*c")
HOPPINGS = ("V_ss", "V_xx", "V_xy", "V_sapc", "V_scpa", "V_s*apc", "V_pas*c")
SPLITTINGS = ("Delta_a", "Delta_c")
COORDINATES = tuple(f"z{i + 1}" for i in range(len(RELATIVE) + 1 + len(HOPPINGS)))
NAMES = (*COORDINATES, *SPLITTINGS, "a", "top")
LABELS = ("As", "Ga")  # anion and cation: only names, whose numbers are all replaced


class Space(NamedTuple):
    """Where the published tables lie.

    Attributes:
        mean: Of x, (12,).
        root: Columns are whitened directions, the widest first, (12, 12).
        materials: (material, table) of each published table.
        points: Their z, both splittings and lattice constant, (table, 15); NaN where a splitting is not published.
        digest: Of the published values and the constants of this file.
    """

    mean: np.ndarray
    root: np.ndarray
    materials: tuple[tuple[str, str], ...]
    points: np.ndarray
    digest: str


@functools.cache
def table_space() -> Space:
    """The space of the package's sp3s* tables with lattice constants near those of Si to Sn."""
    materials, rows, rest = [], [], []
    digest = hashlib.sha256(repr((TABLES, LEFT_OUT, LATTICE_CONSTANTS, REFERENCE, OWN)).encode())
    for entry in list_parameters():
        if entry.table not in TABLES or (entry.material, entry.table) in LEFT_OUT:
            continue
        with jax.ensure_compile_time_eval():  # may be first called inside a trace
            table = load_parameters(entry.material, entry.table)
        a = table.spec.lattice_constant
        if a is None or not LATTICE_CONSTANTS[0] <= a <= LATTICE_CONSTANTS[1]:
            continue
        values = two_species_values(table)
        materials.append((entry.material, entry.table))
        rows.append(numbers_of(values, a))
        # float32, so that the digest does not depend on the precision that the process runs in
        digest.update(np.array([a, *values.values()], np.float32).tobytes())
        rest.append([*(values.get(n, np.nan) for n in SPLITTINGS), a])
    x = np.array(rows)
    mean, sigma = x.mean(axis=0), x.std(axis=0, ddof=1)
    scaled = (x - mean) / sigma
    correlation = (1 - OWN) * scaled.T @ scaled / (len(x) - 1) + OWN * np.eye(x.shape[1])
    size, direction = np.linalg.eigh(correlation)
    direction = direction * np.sign(direction[np.abs(direction).argmax(axis=0), np.arange(len(size))])
    root = (sigma[:, None] * direction * np.sqrt(size))[:, ::-1]
    z = np.linalg.solve(root, (x - mean).T).T
    return Space(mean, root, tuple(materials), np.concatenate([z, rest], axis=1), digest.hexdigest()[:8])


def two_species_values(table: Table) -> dict[str, float]:
    """Values of a table under the names of a compound; an element is a compound of itself."""
    values = {n: float(v) for n, v in table.values.items()}
    if "E_s" not in values:
        return values
    out = {f"{n}{site}": values[n] for n in ("E_s", "E_p", "E_s*") for site in "ac"}
    out |= {n: values[n] for n in ("V_ss", "V_xx", "V_xy")}
    out |= {"V_sapc": values["V_sp"], "V_scpa": values["V_sp"], "V_s*apc": values["V_s*p"], "V_pas*c": values["V_s*p"]}
    return out | {n: values["Delta"] for n in SPLITTINGS if "Delta" in values}


def valence_top(values: Mapping[str, float]) -> float:
    """Γ8 of a compound's values on their own energy scale, eV; a splitting that is not given counts as 0."""
    anion, cation = (values[f"E_p{s}"] + values.get(f"Delta_{s}", 0.0) / 3 for s in "ac")
    return (anion + cation) / 2 - float(np.hypot((cation - anion) / 2, values["V_xx"]))


def numbers_of(values: Mapping[str, float], a: float) -> np.ndarray:
    """x of a compound's values at its lattice constant in Å, (12,)."""
    anion, cation = (values[f"E_p{s}"] + values.get(f"Delta_{s}", 0.0) / 3 for s in "ac")
    top, scale = valence_top(values), (a / REFERENCE) ** 2
    return np.array([*(values[n] - top for n in RELATIVE), cation - anion, *(values[n] * scale for n in HOPPINGS)])


def coordinates_of(values: Mapping[str, float], a: float) -> dict[str, float]:
    """z1 … z12 of a compound's values at its lattice constant in Å."""
    space = table_space()
    return dict(zip(COORDINATES, np.linalg.solve(space.root, numbers_of(values, a) - space.mean), strict=True))


def values_of(point: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The table's values at the crystal's own lattice constant; the energies on the scale of `top`.

    Args:
        point: By the names of `NAMES`; numbers or traced arrays.
    """
    space = table_space()
    z = jnp.stack([jnp.asarray(point[n]) for n in COORDINATES])
    x = jnp.asarray(space.mean, z.dtype) + jnp.matmul(jnp.asarray(space.root, z.dtype), z, precision="highest")
    scale = (REFERENCE / point["a"]) ** 2
    out = {n: x[5 + i] * scale for i, n in enumerate(HOPPINGS)}
    out |= {n: jnp.asarray(point[n], z.dtype) for n in SPLITTINGS}
    apart = x[4]
    anion = point["top"] + jnp.sqrt(apart**2 / 4 + out["V_xx"] ** 2) - apart / 2
    out |= {"E_pa": anion - out["Delta_a"] / 3, "E_pc": anion + apart - out["Delta_c"] / 3}
    return out | {n: x[i] + point["top"] for i, n in enumerate(RELATIVE)}


def space_model(point: Mapping[str, Any]) -> Model:
    """The crystal at a point of the space, sp3s* with spin-orbit coupling; energies on the scale of `top`."""
    atoms, spec = _reference()
    values = values_of(point)
    ratio = point["a"] / REFERENCE
    # given at its own bond length: the reference's, times the ratio, scales them by Harrison's law
    values |= {n: values[n] * ratio**2 for n in HOPPINGS}
    dtype = values["E_pa"].dtype
    cell, positions = (jnp.asarray(x, dtype) * ratio for x in (np.asarray(atoms.cell), atoms.positions))
    return tight_binding(atoms, Table(values, spec), cell=cell, positions=positions, distance_law="harrison")


space_model.names = frozenset(NAMES)


@functools.cache
def _reference() -> tuple[Any, Any]:
    """Atoms and the meaning of the values, at the reference lattice constant."""
    with jax.ensure_compile_time_eval():
        spec = load_parameters("GaAs", "vogl1983").spec
    bonds = tuple(dataclasses.replace(b, length=np.sqrt(3) / 4 * REFERENCE) for b in spec.bonds)
    spec = dataclasses.replace(
        spec, name="table space", material="zinc blende", lattice_constant=REFERENCE, bonds=bonds, state=()
    )
    return zincblende("".join(LABELS[::-1]), a=REFERENCE), spec
