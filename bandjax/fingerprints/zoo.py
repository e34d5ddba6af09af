"""A zoo of strained, alloyed and layered group-IV and III-V crystals, drawn from a key.

All stand on (001) with the table jancu1998 (sp3d5s* with spin-orbit coupling, Harrison's law): one pair of materials (Si/Ge or
two III-V compounds with a common anion), 1 to 3 bilayers a period and a composition in each, as virtual crystals:

    "crystal"        one bilayer of either material
    "alloy"          one bilayer of any composition
    "superlattice"   2 or 3 bilayers, n of the one composition on m of the other; half of them of the pure materials

Strains ε are within ±4 %, from the lattice constant a₀ of the mean composition, with the mean elastic constants:

    "hydrostatic"    a∥, all heights times 1 + ε
    "biaxial"        a∥ = (1 + ε) a₀, heights as they grow on it (`structure/growth.py`)
    "uniaxial"       heights times 1 + ε in all, a∥ = (1 − ε c₁₂/(c₁₁ + c₁₂)) a₀

Pairs of compounds differ in numbers only, not in topology: their tables are written in the names of one of them, so that a
number of bilayers is compiled once. What that model gives is what `tight_binding(zoo_atoms(…), load_parameters(…))` gives.
"""

import functools
from typing import Any, NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.hamiltonian import Model, tight_binding
from bandjax.materials import Elastic, Table, elastic_constants, interpolate, load_parameters, out_of_plane_constant
from bandjax.structure import graded, stack_positions
from bandjax.structure.growth import Pair

TABLE = "jancu1998"
PAIRS: tuple[tuple[str, str], ...] = (
    ("Si", "Ge"),
    ("AlP", "GaP"), ("GaP", "InP"), ("AlP", "InP"),
    ("AlAs", "GaAs"), ("GaAs", "InAs"), ("AlAs", "InAs"),
    ("AlSb", "GaSb"), ("GaSb", "InSb"), ("AlSb", "InSb"),
)  # fmt: skip
KINDS = ("crystal", "alloy", "superlattice")
STRAINS = ("hydrostatic", "biaxial", "uniaxial")
MOST_BILAYERS = 3
LARGEST_STRAIN = 0.04
REFERENCE = ("AlAs", "InAs")  # in whose names the tables of compounds are written


class Crystals(NamedTuple):
    """Drawn crystals; first axis: crystal.

    Attributes:
        pair: Index into `PAIRS`.
        kind: Index into `KINDS`.
        bilayers: In a period, 1 to 3.
        profile: Fraction of the pair's second material in each bilayer (compounds) or monolayer (elements) from the bottom,
            (crystal, 6); what lies beyond the period is 0.
        mode: Index into `STRAINS`.
        strain: ε, within ±0.04.
    """

    pair: jax.Array
    kind: jax.Array
    bilayers: jax.Array
    profile: jax.Array
    mode: jax.Array
    strain: jax.Array


def draw_zoo(
    key: jax.Array,
    count: int,
    *,
    kinds: tuple[float, float, float] = (0.25, 0.35, 0.4),
    pairs: tuple[float, ...] | None = None,
) -> Crystals:
    """Crystals drawn from a key, in the default precision.

    Args:
        key: Of the random draw.
        count: How many, > 0.
        kinds: Shares of `KINDS`, any scale.
        pairs: Shares of `PAIRS`, any scale; None: all alike.
    """
    checks.positive("count", count)
    shares = jnp.asarray((1.0,) * len(PAIRS) if pairs is None else pairs)
    checks.shape_is("pairs", shares, (len(PAIRS),))
    checks.not_negative("pairs", shares)
    checks.shape_is("kinds", kinds, (3,))
    checks.not_negative("kinds", kinds)
    return _draw(key, count, jnp.log(jnp.asarray(kinds)), jnp.log(shares))


@functools.partial(jax.jit, static_argnums=1)
def _draw(key: jax.Array, count: int, kinds: jax.Array, pairs: jax.Array) -> Crystals:
    keys = jax.random.split(key, 8)
    pair = jax.random.categorical(keys[0], pairs, shape=(count,))
    kind = jax.random.categorical(keys[1], kinds, shape=(count,))
    bilayers = jnp.where(kind == 2, jax.random.choice(keys[2], jnp.array([2, 2, 3]), (count,)), 1)
    periods = jnp.where(pair == 0, 2 * bilayers, bilayers)  # entries of the profile
    first = 1 + jnp.floor(jax.random.uniform(keys[3], (count,)) * (periods - 1)).astype(int)
    ends = jax.random.uniform(keys[4], (count, 2))
    pure = jax.random.bernoulli(keys[5], 0.5, (count,)) & (kind == 2)
    ends = jnp.where(pure[:, None] | (kind == 0)[:, None], jnp.round(ends[:, :1]) + jnp.array([0.0, 1.0]), ends)
    ends = ends % 2  # of pure materials: one and the other
    layer = jnp.arange(2 * MOST_BILAYERS)
    upper = (kind[:, None] == 2) & (layer >= first[:, None])
    profile = jnp.where(upper, ends[:, 1:], ends[:, :1]) * (layer < periods[:, None])
    mode = jax.random.randint(keys[6], (count,), 0, len(STRAINS))
    strain = jax.random.uniform(keys[7], (count,), minval=-LARGEST_STRAIN, maxval=LARGEST_STRAIN)
    return Crystals(pair, kind, bilayers, profile, mode, strain)


def take(crystals: Crystals, index: Any) -> Crystals:
    """Some of the crystals, or with a number one without the axis."""
    return Crystals(*(x[index] for x in crystals))


def zoo_model(elements: bool, bilayers: int, crystal: Crystals) -> Model:
    """The model of one crystal; for `jax.vmap` over crystals of the same two static arguments.

    Args:
        elements: Whether the pair is Si/Ge; static.
        bilayers: In a period; static.
        crystal: Without the axis of crystals.
    """
    atoms, spec = _reference(elements, bilayers)
    table = _tables(elements)
    place = jnp.zeros((), int) if elements else crystal.pair - 1
    values = {name: jnp.asarray(v, crystal.strain.dtype)[place] for name, v in table.items()}
    positions, cell = _geometry(elements, bilayers, crystal)
    profile = _profile(elements, bilayers, crystal)
    composition = profile if elements else jnp.stack([profile, jnp.zeros_like(profile)], axis=1).ravel()
    return tight_binding(atoms, Table(values, spec), positions=positions, cell=cell, composition=composition)


def zoo_atoms(crystals: Crystals, index: int) -> ase.Atoms:
    """One of the crystals as `ase.Atoms`, with the array "composition" that `tight_binding` reads.

    `info` holds what it is: "materials", "table", "kind", "strain_mode", "strain", "bilayers".
    """
    one = jax.tree.map(np.asarray, take(crystals, index))
    elements, bilayers = bool(one.pair == 0), int(one.bilayers)
    profile = np.asarray(_profile(elements, bilayers, one), float)
    materials = PAIRS[int(one.pair)]
    atoms = graded(materials, profile, vacuum=None)
    positions, cell = _geometry(elements, bilayers, jax.tree.map(jnp.asarray, one))
    atoms.set_cell(np.asarray(cell))
    atoms.set_positions(np.asarray(positions))
    atoms.info |= {
        "materials": " ".join(materials), "table": TABLE, "kind": KINDS[int(one.kind)], "bilayers": bilayers,
        "strain_mode": STRAINS[int(one.mode)], "strain": float(one.strain),
    }  # fmt: skip
    return atoms


def elastic_of(crystal: Crystals) -> tuple[Elastic, Elastic]:
    """Elastic constants of both materials of a crystal's pair."""
    known = _elastic()
    return tuple(Elastic(*(jnp.asarray(x[:, end])[crystal.pair] for x in known)) for end in range(2))


def mean_elastic(elements: bool, bilayers: int, crystal: Crystals) -> Elastic:
    """Of the mean composition."""
    return interpolate(*elastic_of(crystal), _profile(elements, bilayers, crystal).mean())


def _profile(elements: bool, bilayers: int, crystal: Crystals) -> jax.Array:
    return crystal.profile[: 2 * bilayers if elements else bilayers]


def _geometry(elements: bool, bilayers: int, crystal: Crystals) -> tuple[jax.Array, jax.Array]:
    """Positions (atom, 3) and cell (3, 3) in Å; see the module's head."""
    first, second = elastic_of(crystal)
    profile = _profile(elements, bilayers, crystal)
    mean = interpolate(first, second, profile.mean())
    mode, strain = crystal.mode, crystal.strain
    a = mean.lattice_constant
    relaxed = 1 - strain * mean.c12 / (mean.c11 + mean.c12)  # in the plane, under stress along z
    grown = a * jnp.where(mode == 1, 1 + strain, jnp.where(mode == 2, relaxed, 1.0))  # a∥ that layers grow on
    common = None if elements else REFERENCE[0][2:]
    positions, cell = stack_positions(
        profile, grown, Pair((first, second), ("Si", "Ge") if elements else ("Al", "In"), common)
    )
    height = jnp.where(mode == 2, (1 + strain) * a / out_of_plane_constant(mean, grown), 1.0)
    scale = jnp.where(mode == 0, 1 + strain, 1.0) * jnp.stack([jnp.ones_like(height)] * 2 + [height])
    return positions * scale, cell * scale


@functools.cache
def _elastic() -> Elastic:
    """Constants of all pairs, (pair, end)."""
    found = [[elastic_constants(m) for m in pair] for pair in PAIRS]
    return Elastic(*(np.array([[getattr(e, name) for e in ends] for ends in found]) for name in Elastic._fields))


@functools.cache
def _reference(elements: bool, bilayers: int) -> tuple[ase.Atoms, Any]:
    """Atoms whose neighbours are those of all crystals of a kind, and the meaning of the values."""
    materials = PAIRS[0] if elements else REFERENCE
    profile = np.full(2 * bilayers if elements else bilayers, 0.5)
    with jax.ensure_compile_time_eval():  # may be first called inside a trace
        atoms = graded(materials, profile, vacuum=None)
        return atoms, load_parameters(materials, TABLE).spec


@functools.cache
def _tables(elements: bool) -> dict[str, np.ndarray]:
    """Values of the tables of all pairs, in the names of the reference, (pair,).

    Hoppings are given at the reference's bond lengths, which by Harrison's law is (d₀/d)² times themselves.
    """
    with jax.ensure_compile_time_eval():
        if elements:
            return {n: np.array([float(v)]) for n, v in load_parameters(PAIRS[0], TABLE).values.items()}
        reference = load_parameters(REFERENCE, TABLE)
        hopping = {n for b in reference.spec.bonds for i in b.integrals for n, _ in i.value}
        rows = []
        for pair in PAIRS[1:]:
            table = load_parameters(pair, TABLE)
            row = {f"{''.join(REFERENCE)}.offset": float(table[f"{''.join(pair)}.offset"])}
            for end, (ours, theirs) in enumerate(zip(REFERENCE, pair, strict=True)):
                ratio = table.spec.bonds[end].length / reference.spec.bonds[end].length
                for name in reference.values:
                    if name.startswith(f"{ours}."):
                        value = float(table[f"{theirs}.{name.removeprefix(f'{ours}.')}"])
                        row[name] = value * (ratio**2 if name in hopping else 1.0)
            rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in reference.values}
