"""The pixels of an image: its axes, and the wave vector in the laboratory frame that each pixel looks at."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bandjax import checks
from bandjax.hamiltonian import Model, rotated
from bandjax.photoemission import kinematics
from bandjax.photoemission.instrument import Instrument

MOMENTUM_AXES = ("kx", "ky")
ANGLE_AXES = ("angle", "deflector")


@dataclasses.dataclass(frozen=True)
class Axes:
    """The pixel axes of an image: energy (E − E_F, eV) and at most two lateral axes and photon energies."""

    energy: tuple[float, ...]
    lateral: tuple[tuple[str, tuple[float, ...]], ...]
    hv: tuple[float, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Axis names in the order of the image."""
        return (("hv",) if self.hv else ()) + tuple(n for n, _ in self.lateral) + ("energy",)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return ((len(self.hv),) if self.hv else ()) + tuple(len(v) for _, v in self.lateral) + (len(self.energy),)

    @property
    def in_angles(self) -> bool:
        """Whether the lateral axes are emission angles."""
        return any(n in ANGLE_AXES for n, _ in self.lateral)


def as_axes(axes: Mapping[str, object]) -> Axes:
    """Axes from a mapping (or the coordinates of an xarray.DataArray) of one-dimensional arrays.

    Raises:
        ValueError: no `energy`, a name that is none of angle, deflector, kx, ky, hv, angles mixed with momenta, or
            an axis that does not increase.
    """
    coordinates = getattr(axes, "coords", axes)
    known = ("energy", *MOMENTUM_AXES, *ANGLE_AXES, "hv")
    dims = getattr(axes, "dims", tuple(coordinates))
    for name in dims:
        checks.one_of("axes", name, known)
        if np.size(coordinates[name]) > 1:
            checks.increasing(str(name), coordinates[name])
    if "energy" not in dims:
        raise ValueError(
            f"Argument `axes` must hold an axis 'energy', but holds {', '.join(map(str, dims)) or 'none'}."
        )
    values = {name: tuple(float(v) for v in np.asarray(coordinates[name]).ravel()) for name in dims}
    lateral = tuple((n, values[n]) for n in ("ky", "kx", "deflector", "angle") if n in values)
    if len({n in ANGLE_AXES for n, _ in lateral}) > 1:
        raise ValueError(f"Argument `axes` must hold angles or momenta, but mixes {', '.join(n for n, _ in lateral)}.")
    return Axes(values["energy"], lateral, values.get("hv"))


def check_reachable(instrument: Instrument, axes: Axes) -> None:
    """Raise ValueError unless electrons of the lowest energy leave the crystal with every parallel wave vector."""
    hv = min(axes.hv) if axes.hv else float(instrument.photon_energy)
    kinetic = hv - float(instrument.work_function) + axes.energy[0]
    if kinetic <= 0:
        raise ValueError(
            f"Argument `photon_energy` must exceed work function and binding energy, "
            f"but leaves {kinetic:.3f} eV of kinetic energy."
        )
    longest = float(kinematics.wave_number(kinetic))
    outside = np.asarray(lateral_momentum(instrument, axes, jnp.asarray(axes.energy[0]), jnp.asarray(hv))[0])
    largest = np.linalg.norm(outside, axis=-1).max()
    if not largest < longest:
        raise ValueError(
            f"Axes {', '.join(n for n, _ in axes.lateral) or 'and `origin`'} must stay below the wave number of the slowest electrons, {longest:.3f} 1/Å, "
            f"but reach {largest:.3f} (photon momentum and `origin` included)."
        )


def lateral_momentum(
    instrument: Instrument, axes: Axes, energy: jax.Array, hv: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Wave vectors along the surface of every direction at one energy: outside (direction, 2), and of the band; both count from normal emission."""
    kinetic = hv - instrument.work_function + energy
    q = band_shift(instrument, hv)[:2]
    grids = dict(
        zip(
            [n for n, _ in axes.lateral],
            jnp.meshgrid(*[jnp.array(v) for _, v in axes.lateral], indexing="ij"),
            strict=True,
        )
    )
    flat = {n: g.ravel() for n, g in grids.items()}
    zero = jnp.zeros(1)
    if axes.in_angles:
        outside = kinematics.emission_momentum(
            kinetic, flat.get("angle", zero), flat.get("deflector", zero), instrument.polar, instrument.tilt
        )
        outside = outside + jnp.array(instrument.origin)
        return outside, outside - q
    return slit_momentum(instrument, flat.get("kx", zero), kinetic, q, ky=flat.get("ky"))


def slit_momentum(
    instrument: Instrument,
    kx: jax.Array,
    kinetic: ArrayLike,
    q: jax.Array,
    *,
    ky: ArrayLike | None = None,
    by_angle: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Wave vectors along the surface of a cut by the slit: outside (…, 2), and of the band; both count from normal emission.

    Args:
        instrument: Its `tilt` sets k_y, its `origin` is what `kx` and `ky` count from.
        kx: Of the band along the slit in 1/Å.
        kinetic: Outside, eV, > 0; a shape that broadcasts with `kx`.
        q: Of the photon, 1/Å: `band_shift`.
        ky: Of the band across the slit in 1/Å; None: what the tilt makes of it.
        by_angle: Whether the slit's axis is an angle: what is emitted along it is then without `origin`.
    """
    emitted = kx + q[0] + (0.0 if by_angle else instrument.origin[0])
    if ky is None:
        rest = jnp.maximum(
            kinematics.wave_number(kinetic) ** 2 - emitted**2, 0.0
        )  # none left: refused by `check_reachable`
        ky = -jnp.sin(jnp.deg2rad(instrument.tilt)) * jnp.sqrt(rest) - q[1]
    inside = jnp.stack(jnp.broadcast_arrays(kx, ky), axis=-1)
    inside = inside + jnp.array(instrument.origin, inside.dtype)
    return inside + q[:2], inside


def band_shift(instrument: Instrument, hv: jax.Array) -> jax.Array:
    """The photon's momentum in the laboratory frame, or zero where it is not subtracted."""
    if not instrument.photon_momentum:
        return jnp.zeros(3, jnp.result_type(hv, 1.0))
    return kinematics.photon_momentum(hv, instrument.incidence, instrument.incidence_azimuth)


def central_kz(instrument: Instrument, outside: jax.Array, energy: jax.Array, hv: jax.Array) -> jax.Array:
    """k_z of the band for electrons with the parallel wave vector `outside` (…, 2)."""
    kinetic = hv - instrument.work_function + energy
    inside = kinematics.perpendicular_momentum(kinetic, outside, instrument.inner_potential)
    return inside - band_shift(instrument, hv)[2]


def laboratory_model(model: Model, instrument: Instrument) -> Model:
    """The model in the laboratory axes."""
    rotation = jnp.asarray(kinematics.laboratory_rotation(instrument.surface, instrument.slit), model.dtype)
    return rotated(model, kinematics.azimuth_rotation(instrument.azimuth).astype(model.dtype) @ rotation)
