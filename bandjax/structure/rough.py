"""Interfaces that are not flat: monolayer steps and islands of interdiffusion in laterally larger (001) stacks.

Both repeat a stack of `superlattice`, `slab` or `graded` along its two in-plane vectors and change the composition of some
sites at one interface, the one between the monolayers `interface` − 1 and `interface`. Positions are those of the flat
stack: `relax` moves them.
"""

import ase
import numpy as np
from scipy.special import erfc

from bandjax import checks
from bandjax.materials import HYDROGEN
from bandjax.structure.growth import pair_of


def stepped(
    stack: ase.Atoms,
    materials: tuple[str, str],
    interface: int,
    *,
    repeat: tuple[int, int],
    height: int = 1,
    coverage: float = 0.5,
) -> ase.Atoms:
    """A stack with a terrace: on part of the area an interface lies some monolayers higher or lower.

    The terrace is a stripe of cells along the second in-plane vector, so that a period has one step up and one down.

    Args:
        stack: Stack of 1 × 1 lateral cells with the arrays "layer" and "composition".
        materials: The two materials of the stack.
        interface: Number of monolayers below the interface.
        repeat: Lateral repetitions.
        height: Monolayers by which the terrace lies higher, < 0: lower. They get the composition of the monolayer next to
            the interface, below or above it.
        coverage: Part of the area, in [0, 1], rounded to whole columns of cells along the first in-plane vector.

    Returns:
        Stack with the arrays "layer" and "composition" (and symbols of the nearer species).

    Raises:
        ValueError: no such interface, a height that passes the end of the stack or is 0, less than one repetition, a
            coverage outside [0, 1] or one that is rounded to none or all of the columns, an atom of other materials, or a
            stack without those arrays.
    """
    checks.fraction("coverage", coverage)
    atoms, cell = _repeated(stack, materials, interface, repeat)
    reached = range(interface, interface + height) if height > 0 else range(interface + height, interface)
    total = _monolayers(stack)
    if not len(reached) or reached[0] < 0 or reached[-1] >= total:
        raise ValueError(
            f"Argument `height` must not be 0 and stay within the {total} monolayers of the stack, but is {height} from "
            f"interface {interface}."
        )
    taken = _composition_of(stack, interface - 1 if height > 0 else interface, materials)
    columns = int(np.floor(coverage * repeat[0] + 0.5))
    if 0 < coverage < 1 and not 0 < columns < repeat[0]:
        raise ValueError(
            f"Argument `coverage` must be 0, 1 or leave a terrace beside a gap, but {coverage} of {repeat[0]} columns is "
            f"rounded to {columns}."
        )
    sites = np.isin(atoms.arrays["layer"], reached) & (cell[:, 0] < columns)
    return _with_composition(atoms, materials, np.where(sites, taken, atoms.arrays["composition"]))


def island(
    stack: ase.Atoms,
    materials: tuple[str, str],
    interface: int,
    *,
    repeat: tuple[int, int],
    radius: float,
    amount: float = 1.0,
    depth: int = 1,
    blur: float = 1.0,
) -> ase.Atoms:
    """A stack with an island of interdiffusion: a disc of an interface where both sides have mixed.

    Within the disc the composition goes from c to c + w (c̄ − c), with c̄ the mean of all monolayers that mix and
    w = amount · ½ erfc[(ρ − radius)/(√2 blur)] at the lateral distance ρ from the middle of the cell: together they keep
    each species, but for how the sites of each layer lie on the disc's edge.

    Args:
        stack: Stack of 1 × 1 lateral cells with the arrays "layer" and "composition".
        materials: The two materials of the stack.
        interface: Number of monolayers below the interface.
        repeat: Lateral repetitions.
        radius: In Å, > 0.
        amount: How far the mixing goes in the middle, in [0, 1].
        depth: Monolayers that mix on each side; of compounds one in two is the common anion, which does not.
        blur: Width (standard deviation) of the disc's edge in Å, > 0.

    Returns:
        Stack with fractions in the array "composition" (and symbols of the nearer species).

    Raises:
        ValueError: no such interface, a depth that passes the end of the stack, is < 1 or reaches nothing that mixes, a
            length ≤ 0, an amount outside [0, 1], less than one repetition, an atom of other materials, or
            a stack without those arrays.
    """
    checks.positive("radius", radius, "Å")
    checks.positive("blur", blur, "Å")
    checks.fraction("amount", amount)
    atoms, _ = _repeated(stack, materials, interface, repeat)
    total = _monolayers(stack)
    if depth < 1 or interface - depth < 0 or interface + depth > total:
        raise ValueError(
            f"Argument `depth` must be ≥ 1 and stay within the {total} monolayers of the stack, but is {depth} around "
            f"interface {interface}."
        )
    away = atoms.positions - np.asarray(atoms.cell)[:2].sum(axis=0) / 2
    images = [np.array([i, j, 0]) @ np.asarray(atoms.cell) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    distance = np.min([np.hypot(*(away + image)[:, :2].T) for image in images], axis=0)
    mixing = np.isin(stack.get_chemical_symbols(), pair_of(materials).mixing)
    sides = [
        mixing & np.isin(stack.arrays["layer"], reached)
        for reached in (range(interface - depth, interface), range(interface, interface + depth))
    ]
    if not all(side.any() for side in sides):
        raise ValueError(
            f"Argument `depth` must reach atoms of {' and '.join(pair_of(materials).mixing)} on both sides, but is {depth}."
        )
    mean = np.mean(stack.arrays["composition"][sides[0] | sides[1]])
    weight = amount * erfc((distance - radius) / (np.sqrt(2) * blur)) / 2
    layer, c = atoms.arrays["layer"], atoms.arrays["composition"]
    near = (layer >= interface - depth) & (layer < interface + depth)
    return _with_composition(atoms, materials, np.where(near, c + weight * (mean - c), c))


def _repeated(
    stack: ase.Atoms, materials: tuple[str, str], interface: int, repeat: tuple[int, int]
) -> tuple[ase.Atoms, np.ndarray]:
    """The larger stack, and which lateral cell each atom lies in, (atom, 2)."""
    for name in ("layer", "composition"):
        if name not in stack.arrays:
            raise ValueError(
                f"Argument `stack` must have the array {name!r}, as those of `superlattice` do, but has none."
            )
    pair = pair_of(materials)
    for at, symbol in enumerate(stack.get_chemical_symbols()):
        if symbol not in {*pair.mixing, pair.common, HYDROGEN}:
            raise ValueError(f"Argument `stack` must consist of {' and '.join(materials)}, but atom {at} is {symbol}.")
    total = _monolayers(stack)
    if not 1 <= interface < total:
        raise ValueError(f"Argument `interface` must lie in 1 … {total - 1}, but is {interface!r}.")
    if len(repeat) != 2 or min(repeat) < 1:
        raise ValueError(f"Argument `repeat` must be two whole numbers ≥ 1, but is {repeat!r}.")
    cell = np.repeat([[i, j] for i in range(repeat[0]) for j in range(repeat[1])], len(stack), axis=0)
    return stack.repeat((*repeat, 1)), cell  # ASE's order


def _monolayers(stack: ase.Atoms) -> int:
    return int(stack.arrays["layer"][~(stack.symbols == HYDROGEN)].max()) + 1


def _composition_of(stack: ase.Atoms, layer: int, materials: tuple[str, str]) -> float:
    """The composition of a monolayer or, where that is the common anion, of the next one that mixes below it."""
    mixing = np.isin(stack.get_chemical_symbols(), pair_of(materials).mixing)
    sites = np.flatnonzero(mixing & (stack.arrays["layer"] <= layer))
    return float(stack.arrays["composition"][sites[np.argmax(stack.arrays["layer"][sites])]])


def _with_composition(atoms: ase.Atoms, materials: tuple[str, str], composition: np.ndarray) -> ase.Atoms:
    """Only the sites that mix take it."""
    pair = pair_of(materials)
    symbols = np.array(atoms.get_chemical_symbols())
    mixing = np.isin(symbols, pair.mixing)
    atoms.set_array("composition", np.where(mixing, composition, 0.0))
    symbols[mixing] = np.where(composition[mixing] < 0.5, *pair.mixing)
    atoms.set_chemical_symbols(list(symbols))
    return atoms
