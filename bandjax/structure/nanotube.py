"""Single-walled carbon nanotubes (n, m): every atom is one of two under screw operations.

Graphene's lattice vectors a1, a2 (60° apart, √3 times the bond) are rolled up so that n a1 + m a2 closes the circumference. A
lattice vector then is a screw operation: a turn φ about the tube's axis and a rise z along it. Atom A at the origin is bonded to
B1, B2, B3, which the lattice vectors a1 = B1 − B2 and a2 = B1 − B3 join, so that radius, three turns and three rises are the tube.

Two shapes:

- "equal bonds": the radius, and the place of the B atoms, are such that all three bonds have one length. The period along the axis
  is graphene's and the tube is not twisted. Curvature acts through the angles of bonds and orbitals alone.
- "rolled": distances along the surface are graphene's; the bonds are chords, shorter by up to a²/24R² of the bond a.

Sources: C. T. White, D. H. Robertson, J. W. Mintmire, Phys. Rev. B 47, 5485 (1993), (after) for the screw operations. B. J. Cox,
J. M. Hill, Carbon 45, 1453 (2007), from its abstract: bonds *and* angles equal; chiral tubes are then twisted, which "equal bonds" is not.
"""

import dataclasses
import math

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks

SHAPES = ("equal bonds", "rolled")
CARBON_BOND = 1.42  # Å, graphene's


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tube:
    """A nanotube by its screw operations: radius in Å, and turn (rad) and rise (Å) from atom A to its three neighbours B."""

    radius: jax.Array
    turn: jax.Array
    rise: jax.Array
    n: int = dataclasses.field(metadata={"static": True})
    m: int = dataclasses.field(metadata={"static": True})

    @property
    def fold(self) -> int:
        """Order of the rotation axis, gcd(n, m)."""
        return math.gcd(self.n, self.m)

    @property
    def step(self) -> jax.Array:
        """Rise h in Å of the smallest screw operation; with the rotations it reaches every A atom."""
        return _rise(self, screw(self.n, self.m))

    @property
    def period(self) -> jax.Array:
        """Translation along the axis, in Å."""
        return _rise(self, _translation(self.n, self.m))

    @property
    def hexagons(self) -> int:
        """Hexagons, half the atoms, in one period."""
        (p, q), n, m = _translation(self.n, self.m), self.n, self.m
        return n * q - m * p


def tube(
    n: int,
    m: int,
    *,
    bond: ArrayLike = CARBON_BOND,
    axial_strain: ArrayLike = 0.0,
    radial_strain: ArrayLike = 0.0,
    shape: str = "equal bonds",
) -> Tube:
    """The (n, m) tube by its screw operations.

    Args:
        n: First chiral index, n ≥ m ≥ 0 and n ≥ 1.
        m: Second chiral index: n = m is armchair, m = 0 zigzag.
        bond: Length of the bonds in Å (of graphene's, for "rolled"), possibly traced.
        axial_strain: All rises are 1 + this times as long; possibly traced.
        radial_strain: The radius is 1 + this times as long; possibly traced.
        shape: "equal bonds" or "rolled", see above.

    Raises:
        ValueError: `n` or `m` is no such integer, `bond` or a strained length is not positive, or `shape` is unknown.
    """
    _check_indices(n, m)
    checks.one_of("shape", shape, SHAPES)
    checks.positive("bond", bond, "Å")
    for name, strain in (("1 + axial_strain", axial_strain), ("1 + radial_strain", radial_strain)):
        checks.positive(name, 1 + strain)
    radius, turn, rise = _rolled(n, m)
    if shape == "equal bonds":
        radius, turn, rise = _equal_bonds(radius, turn, rise)
    bond, axial, radial = (jnp.asarray(x, jnp.result_type(float)) for x in (bond, axial_strain, radial_strain))
    return Tube(radius * bond * (1 + radial), jnp.asarray(turn, bond.dtype), rise * bond * (1 + axial), n, m)


def nanotube(
    n: int, m: int, *, bond: float = CARBON_BOND, cells: int = 1, vacuum: float = 10.0, shape: str = "equal bonds"
) -> ase.Atoms:
    """The (n, m) tube along z, periodic in z only, as `ase.Atoms`.

    Args:
        n: First chiral index, n ≥ m ≥ 0 and n ≥ 1.
        m: Second chiral index.
        bond: Length of the bonds in Å.
        cells: Periods along the axis, ≥ 1.
        vacuum: Empty space in Å on each side.
        shape: "equal bonds" or "rolled", see the head of this module.

    Raises:
        ValueError: `n` or `m` is no such integer, a length is not positive, `cells` < 1 or `shape` is unknown.
    """
    checks.positive("vacuum", vacuum, "Å")
    if cells < 1:
        raise ValueError(f"Argument `cells` must be ≥ 1, but is {cells}.")
    built = tube(n, m, bond=bond, shape=shape)
    radius, turn, rise = (np.asarray(x, float) for x in (built.radius, built.turn, built.rise))
    # lattice vectors p a1 + q a2 of one period: screw operations s times, with all rotations by 2π/fold
    p, q = screw(n, m)
    steps, fold = np.arange(built.hexagons // built.fold), built.fold
    at = steps[:, None, None] * np.array([p, q]) + np.arange(fold)[:, None] * np.array([n, m]) // fold
    lattice_turn, lattice_rise = (x[0] - x[1:] for x in (turn, rise))
    angle, height = (at.reshape(-1, 2) @ x for x in (lattice_turn, lattice_rise))
    angle, height = (np.stack([x, x + y[0]], axis=1).ravel() for x, y in ((angle, turn), (height, rise)))
    period = float(built.period)
    side = 2 * (float(built.radius) + vacuum)
    positions = np.stack(
        [radius * np.cos(angle) + side / 2, radius * np.sin(angle) + side / 2, height % period], axis=1
    )
    atoms = ase.Atoms("C" * len(positions), positions, cell=[side, side, period], pbc=(False, False, True))
    return atoms.repeat((1, 1, cells))


def list_nanotubes(smallest: float, largest: float, *, bond: float = CARBON_BOND) -> list[tuple[int, int]]:
    """All (n, m) with n ≥ m ≥ 0 whose `tube_diameter` in Å lies within [smallest, largest], in ascending order.

    Raises:
        ValueError: a length is not positive or `largest` is below `smallest`.
    """
    for name, value in (("smallest", smallest), ("largest", largest), ("bond", bond)):
        checks.positive(name, value, "Å")
    if largest < smallest:
        raise ValueError(f"Argument `largest` must be ≥ `smallest`, but is {largest:g} with {smallest:g}.")
    most = int(np.pi * largest / (np.sqrt(3) * bond)) + 1
    pairs = [(n, m) for n in range(1, most + 1) for m in range(n + 1)]
    return [pair for pair in pairs if smallest <= tube_diameter(*pair, bond=bond) <= largest]


def tube_diameter(n: int, m: int, *, bond: float = CARBON_BOND) -> float:
    """Conventional diameter √3 a √(n² + nm + m²)/π in Å for the bond a, that of the "rolled" shape."""
    _check_indices(n, m)
    return float(2 * bond * _rolled(n, m)[0])


def chiral_angle(n: int, m: int) -> float:
    """Angle of the circumference to the zigzag direction in degrees: 0 zigzag, 30 armchair."""
    _check_indices(n, m)
    return math.degrees(math.atan2(math.sqrt(3) * m, 2 * n + m))


def screw(n: int, m: int) -> tuple[int, int]:
    """Lattice vector (p, q) of the smallest screw operation: n q − m p = gcd(n, m)."""
    p, q, rest, next_p, next_q, next_rest = 0, 1, n, -1, 0, m  # extended Euclid on n q − m p
    while next_rest:
        times = rest // next_rest
        p, q, rest, next_p, next_q, next_rest = (
            next_p, next_q, next_rest, p - times * next_p, q - times * next_q, rest - times * next_rest
        )  # fmt: skip
    return p, q


def _translation(n: int, m: int) -> tuple[int, int]:
    """Shortest lattice vector normal to n a1 + m a2."""
    common = math.gcd(2 * n + m, 2 * m + n)
    return -(2 * m + n) // common, (2 * n + m) // common


def _rise(built: Tube, vector: tuple[int, int]) -> jax.Array:
    p, q = vector
    return p * (built.rise[0] - built.rise[1]) + q * (built.rise[0] - built.rise[2])


def _check_indices(n: int, m: int) -> None:
    whole = all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in (n, m))
    if not (whole and n >= 1 and 0 <= m <= n):
        raise ValueError(f"Arguments `n` and `m` must be integers with n ≥ m ≥ 0 and n ≥ 1, but are {n!r} and {m!r}.")


def _rolled(n: int, m: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Radius, turns and rises of the rolled sheet for a bond of length 1."""
    first, second = np.sqrt(3) * np.array([[1, 0], [0.5, np.sqrt(0.75)]])
    around = n * first + m * second
    length = np.linalg.norm(around)
    along = np.array([-around[1], around[0]]) / length
    to_b = (first + second) / 3 - np.stack([0 * first, first, second])
    radius = float(length / (2 * np.pi))
    return radius, to_b @ around / length / radius, to_b @ along


def _equal_bonds(radius: float, turn: np.ndarray, rise: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Radius, and turn and rise of all B against all A, that give the three chords the length 1, by Newton's method."""
    x = np.array([radius, 0.0, 0.0])
    for _ in range(50):
        half, z = (turn + x[1]) / 2, rise + x[2]
        chord = 2 * x[0] * np.sin(half)
        misfit = chord**2 + z**2 - 1
        slope = np.stack([4 * chord * np.sin(half), 2 * chord * x[0] * np.cos(half), 2 * z], axis=1)
        x = x - np.linalg.solve(slope, misfit)
        if np.abs(misfit).max() < 1e-14:
            break
    else:
        raise ValueError(f"No tube of radius {radius:.3g} bonds has three equal bonds; take shape='rolled'.")
    return float(x[0]), turn + x[1], rise + x[2]
