"""Fingerprints, labels and structural features of the zoo's crystals, many at a time on the device.

Wave vectors are those of the tetragonal cell: in units of the reciprocal vectors of a square of side a∥/√2 and of the period's
height h, both even grids about Γ. Stacks of two compounds with blocks of n and m bilayers have the point group D2d, those of Si and Ge
C2v at least; with time reversal their levels have the symmetry D4h and D2h, and one wave vector of each star is enough.
A period of an odd number of bilayers has a cell that leans; its reciprocal lattice lies on the grid where that is even along z.

Labels (`labels.py`) are those of four straight lines from Γ, dense near Γ: along [100], [001] and [111] to the faces of the zone of
one bilayer (along [001] of the period), and along [110]. The gap knows the grid too.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bandjax import checks
from bandjax.devices import cache_budget, map_chunks
from bandjax.fingerprints.density import fingerprint
from bandjax.fingerprints.labels import Labels, labels_on
from bandjax.fingerprints.levels import BandEdges, Levels, band_edges
from bandjax.fingerprints.zoo import PAIRS, Crystals, mean_elastic, take, zoo_model
from bandjax.hamiltonian import Model
from bandjax.spectrum.bands import bands
from bandjax.structure.crystal import elements_of

GRIDS = {1: (16, 16), 2: (16, 8), 3: (14, 6)}
"""Bilayers -> points along both in-plane vectors, along z: at `SMEARING` they leave the density of "crystals" within a tenth of the area."""
SMEARING = 0.1  # eV
LINE = {1: 40, 2: 32, 3: 32}  # points of a line
GATHERED = 1.5  # points lie at (i/n)^1.5 from Γ: first steps of some 0.005/Å, last ones of 0.05
ELEMENTS = ("Si", "Ge", "Al", "Ga", "In", "P", "As", "Sb")
STRUCTURE_FEATURES = (
    *(f"fraction_{e}" for e in ELEMENTS),
    "volume_per_atom", "a_parallel", "a_perpendicular", "axial_ratio",
    "strain_parallel", "strain_perpendicular", "bond_mean", "bond_deviation", "bond_shortest", "bond_longest",
    "bilayers", "composition_deviation", "composition_correlation",
)  # fmt: skip
BATCH = 32  # crystals of one call


class ZooFeatures(NamedTuple):
    """What is known of the zoo's crystals; first axis: crystal.

    Attributes:
        fermi, edges: Fingerprints in the windows of these names (`windows.py`), states per eV and atom, by the published kernel. "edges" of a metal
            counts from the highest energy of the last full band and the lowest of the next.
        structure: Features without electrons, (crystal, feature) as in `STRUCTURE_FEATURES`; lengths in Å.
        labels: Labels.
    """

    fermi: jax.Array
    edges: jax.Array
    structure: jax.Array
    labels: Labels


def zoo_features(
    crystals: Crystals, *, grids: Mapping[int, tuple[int, int]] = GRIDS, smearing: float = SMEARING, mesh=None
) -> ZooFeatures:
    """Fingerprints, features and labels of all crystals, in their order; see `zoo_parts` for the arguments and for parts of it."""
    parts = list(zoo_parts(crystals, grids=grids, smearing=smearing, mesh=mesh))
    order = np.argsort(np.concatenate([index for index, _ in parts]))
    return jax.tree.map(lambda *x: np.concatenate(x)[order], *(found for _, found in parts))


def zoo_parts(
    crystals: Crystals,
    *,
    grids: Mapping[int, tuple[int, int]] = GRIDS,
    shifted: bool = False,
    smearing: float = SMEARING,
    batch: int = BATCH,
    skip: int = 0,
    mesh=None,
) -> Iterator[tuple[np.ndarray, ZooFeatures]]:
    """Features of one batch after the other: crystals of one topology, whose indices come first.

    Args:
        crystals: Drawn crystals.
        grids: Bilayers of a period -> wave vectors along each of both in-plane reciprocal vectors, along z, all even.
        shifted: Whether they lie between those of the even grid, Γ and the zone's faces not among them. Windows then count from the labels' edges.
        smearing: w in eV, > 0.
        batch: Crystals of one call, > 0.
        skip: Batches that are there already and are left out.
        mesh: Devices to split a batch over.

    Raises:
        ValueError: `batch` or `smearing` is not > 0, or `grids` is not of two even numbers > 0 for each number of bilayers.
    """
    checks.positive("batch", batch)
    checks.positive("smearing", smearing, "eV")
    for number in sorted(set(np.asarray(crystals.bilayers).tolist())):
        given = grids.get(number, ())
        if len(given) != 2 or any(n != int(n) or n <= 0 or n % 2 for n in given):
            raise ValueError(
                f"Argument `grids` must give two even numbers > 0 for {number} bilayers, but gives {given}."
            )
    return _parts(crystals, grids, shifted, smearing, batch, skip, mesh)


def _parts(
    crystals: Crystals,
    grids: Mapping[int, tuple[int, int]],
    shifted: bool,
    smearing: float,
    batch: int,
    skip: int,
    mesh,
) -> Iterator[tuple[np.ndarray, ZooFeatures]]:
    count = 0
    elements, bilayers = np.asarray(crystals.pair) == 0, np.asarray(crystals.bilayers)
    for key in sorted(set(zip(elements.tolist(), bilayers.tolist(), strict=True))):
        mine = np.flatnonzero((elements == key[0]) & (bilayers == key[1]))
        for start in range(0, len(mine), batch):
            count += 1
            if count <= skip:
                continue
            index = mine[start : start + batch]
            padded = np.resize(index, batch)  # one shape, one program
            found = _features(
                *key, take(crystals, padded), tuple(map(int, grids[key[1]])), shifted, float(smearing), mesh
            )
            yield index, jax.tree.map(lambda x, n=index.size: np.asarray(x[:n]), found)


@functools.partial(jax.jit, static_argnums=(0, 1, 3, 4, 5, 6))
def _features(
    elements: bool, bilayers: int, crystals: Crystals, grid: tuple[int, int], shifted: bool, smearing: float, mesh
) -> ZooFeatures:
    orbitals = 40 * bilayers
    per_item = 16.0 * 8 * orbitals**2 * 4
    return map_chunks(
        lambda c: crystal_features(elements, bilayers, c, grid=grid, shifted=shifted, smearing=smearing),
        crystals,
        bytes_per_item=per_item,
        budget=cache_budget(),
        mesh=mesh,
    )


def crystal_features(
    elements: bool,
    bilayers: int,
    crystal: Crystals,
    *,
    grid: tuple[int, int] | None = None,
    shifted: bool = False,
    smearing: float = SMEARING,
) -> ZooFeatures:
    """Of one crystal, without the axis of crystals: fingerprints (513,) and (514,), structure (21,), labels ().

    Args:
        elements, bilayers: As in `zoo_model`; static.
        crystal: Without the axis.
        grid: Even numbers of wave vectors along both in-plane vectors and along z; None: those of `GRIDS`; static.
        shifted, smearing: As in `zoo_parts`; static.
    """
    model = zoo_model(elements, bilayers, crystal)
    a, height = tetragonal_cell(model)
    points, weight = tetragonal_grid(*(GRIDS[bilayers] if grid is None else grid), not elements, shifted)
    path, distance, pieces = _lines(bilayers, a, height)
    unit = jnp.stack([2 * jnp.pi / a, 2 * jnp.pi / a, 2 * jnp.pi / height])
    energy = bands(model, jnp.concatenate([path, jnp.asarray(points, a.dtype) * unit]))
    on_path, on_grid = energy[: len(path)], energy[len(path) :]
    filled = 8 * bilayers
    labels = labels_on(on_path, distance, pieces, filled, elsewhere=on_grid)
    levels = Levels(on_grid, jnp.asarray(weight, a.dtype), float(filled), 1)
    edges = band_edges(levels, smearing=smearing)
    top, bottom = on_grid[:, filled - 1].max(), on_grid[:, filled].min()
    ordered = BandEdges(edges.fermi, top, bottom, edges.gap)
    if shifted:  # the grid knows the edges from afar only
        middle = jnp.where(labels.gap > 0, (labels.vbm + labels.cbm) / 2, edges.fermi)
        ordered = edges = BandEdges(middle, labels.vbm, labels.cbm, labels.gap)
    return ZooFeatures(
        fingerprint(levels, "fermi", smearing=smearing, edges=edges) / (2 * bilayers),
        fingerprint(levels, "edges", smearing=smearing, edges=ordered) / (2 * bilayers),
        _structure(elements, bilayers, crystal, model),
        labels,
    )


def tetragonal_cell(model: Model) -> tuple[jax.Array, jax.Array]:
    """In-plane cubic constant a∥ and height of the period in Å."""
    return jnp.sqrt(2.0) * jnp.linalg.norm(model.cell[0]), model.cell[2, 2]


@functools.cache
def tetragonal_grid(plane: int, axis: int, fourfold: bool, shifted: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """One wave vector of each star of the grid, and its weight.

    Args:
        plane: Points along each of the two vectors (1, 1, 0) and (−1, 1, 0) 2π/a∥.
        axis: Points along (0, 0, 1) 2π/h, even.
        fourfold: Symmetry D4h, otherwise D2h with mirrors across [110] and [−110].
        shifted: Half a step along each vector, away from Γ.

    Returns:
        k (k, 3) in units of (2π/a∥, 2π/a∥, 2π/h), weights (k,) with the sum 1.
    """
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (plane, plane, axis)), indexing="ij"), axis=-1).reshape(-1, 3)
    size = np.array([plane, plane, axis])
    star = np.minimum(index, size - index - int(shifted))  # −k is size − index, or size − 1 − index of odd half steps
    if fourfold:
        star[:, :2] = np.sort(star[:, :2], axis=1)
    found, count = np.unique(star, axis=0, return_counts=True)
    i, j, up = ((found + 0.5 * shifted) / size).T
    return np.stack([i - j, i + j, up], axis=1), count / len(index)


def _lines(bilayers: int, a: jax.Array, height: jax.Array) -> tuple[jax.Array, jax.Array, tuple[tuple[int, int], ...]]:
    """Wave vectors (k, 3) in 1/Å, distances (k,) and pieces of the path; see the module's head."""
    points = LINE[bilayers]
    one = np.array([1.0, 1.0, bilayers])  # 2π/c of one bilayer's cubic cell is half a 2π/h of the period's
    ends = np.array(
        [[1, 0, 0], [0, 0, 1 / bilayers], [0.75, 0.75, 0] if bilayers == 1 else [0.5, 0.5, 0], [0.5, 0.5, 0.5]]
    )
    ends = jnp.asarray(ends * one / np.array([1, 1, 2]), a.dtype) * 2 * jnp.pi / jnp.stack([a, a, height])
    along = jnp.asarray((np.arange(points) / (points - 1)) ** GATHERED, a.dtype)
    k = (ends[:, None] * along[:, None]).reshape(-1, 3)
    distance = (jnp.linalg.norm(ends, axis=1)[:, None] * along).ravel()  # starts anew with each piece
    return k, distance, tuple((i * points, (i + 1) * points - 1) for i in range(len(ends)))


def _structure(elements: bool, bilayers: int, crystal: Crystals, model: Model) -> jax.Array:
    """`STRUCTURE_FEATURES` of one crystal."""
    profile = crystal.profile[: 2 * bilayers if elements else bilayers]
    share = jnp.stack([1 - profile.mean(), profile.mean()])
    members = np.zeros((len(PAIRS), 2, len(ELEMENTS)))
    for p, pair in enumerate(PAIRS):
        for end, material in enumerate(pair):
            for element in elements_of(material):
                members[p, end, ELEMENTS.index(element)] += 1 / len(elements_of(material))
    fractions = share @ jnp.asarray(members, share.dtype)[crystal.pair]
    a, height = tetragonal_cell(model)
    c = 2 * height / bilayers
    mean = mean_elastic(elements, bilayers, crystal).lattice_constant
    bond = jnp.concatenate([jnp.linalg.norm(v, axis=1) for v in model.bond_vector])
    volume = jnp.abs(jnp.linalg.det(model.cell)) / (2 * bilayers)
    apart = profile - profile.mean()
    rest = [
        volume, a, c, c / a, a / mean - 1, c / mean - 1, bond.mean(), bond.std(), bond.min(), bond.max(),
        jnp.asarray(float(bilayers), a.dtype), apart.std(), (apart * jnp.roll(apart, 1)).mean(),
    ]  # fmt: skip
    return jnp.concatenate([fractions, jnp.stack(rest)])
