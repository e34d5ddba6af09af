"""The family of bulk zinc-blende crystals over the whole space of tables, for a reverse network that is told no material.

Its images are soft X-ray cuts along [110] on (001) faces (`crystal_images`). Priors of what no table knows, which the fit
of `crystal_loop` shares:

- escape depth 15 ± 3 Å, between 6 and 30: the inelastic mean free path of 560 eV electrons by the formula TPP-2M
  (after S. Tanuma, C. J. Powell, D. R. Penn, Surf. Interface Anal. 21, 165 (1994)) is 15 to 17 Å from GaAs to CdTe, and
  elastic scattering shortens it; the width is our choice. At 20 % a log-normal prior would hardly differ.
- inner potential 9 ± 2.5 eV: our choice. It stands for errors of photon energy and work function too, which k_z cannot
  tell from it; at a twelfth zone 1 eV is worth 0.005 Å of the lattice constant.
"""

import dataclasses
import functools
import math
from typing import Any

from bandjax.inference import Parameter
from bandjax.learning.family import Drawn, digest
from bandjax.learning.table_space import COORDINATES, space_model, table_space
from bandjax.photoemission import Instrument

VERSION, SIGNALS_VERSION = 2, 2  # of how images are drawn, and of what their signals mean
SIGNALS = 3  # even, odd, k_z average
LEVELS = 10  # of 20: the eight valence bands and the lowest conduction band
DENSE, DENSE_CELLS, GROWING = 0.16, 8, (1.0, 1.7, 2.9, 4.9)  # 1/Å; cells there; relative sizes of those on either side
ALIGNMENT = 0.02  # σ of the error of the k axis, 1/Å: a tenth of a degree at 600 eV
FINER = 6  # cells between two knots
WAVES = (5, 4)  # cosines along k and E of a smooth weight
ROUGH = 0.6  # σ of log weight from place to place
PLANE: dict[str, Any] = {  # of the network that reads these images; see `Shape`
    "rows": 40, "columns": 68, "reach_k": (-1.7, 1.7), "reach_energy": (-8.8, 0.0),
    "typical": (
        (-1.1, 0.3), (1.1, 0.3), (-7.0, 0.6), (-0.6, 0.4), (5.7, 1.3), (600.0, 30.0), (0.105, 0.026), (0.055, 0.005),
        (0.083, 0.007), (math.log(3500.0), 0.2),
    ),
}  # fmt: skip
TYPICAL = {
    "odd": (0.0, 0.6),
    "average": (-0.5, 0.8),
    "diffuse": (-0.5, 0.8),
    "flat": (-1.5, 0.8),
}  # log of parts, mean and σ


@dataclasses.dataclass(frozen=True)
class CrystalRanges:
    """What differs from image to image; see `Ranges`.

    Attributes:
        kx_points, energy_points: Pixels before the crop.
        left: Pixels left of k = 0, which is one of the pixels.
        step: Of the k axis, 1/Å.
        energy_step: Of the energy axis, eV.
        top: Upper end of the energy axis, E − E_F in eV; images end less than a step below it.
        photon_energy, fwhm_energy: eV.
        counts: Mean counts of a pixel.
        crop: Least part of each axis that is kept.
        dead: Largest part of the pixels that are dead.
    """

    kx_points: int = 48
    energy_points: int = 88
    left: tuple[int, int] = (18, 29)
    step: tuple[float, float] = (0.046, 0.064)
    energy_step: tuple[float, float] = (0.072, 0.094)
    top: tuple[float, float] = (-0.5, -0.1)
    photon_energy: tuple[float, float] = (550.0, 650.0)
    fwhm_energy: tuple[float, float] = (0.06, 0.15)
    counts: tuple[float, float] = (30.0, 3000.0)
    crop: float = 0.85
    dead: float = 0.02

    @property
    def steps(self) -> dict[str, tuple[float, float]]:
        """Finest and coarsest step of each axis."""
        return {"kx": self.step, "energy": self.energy_step}

    @property
    def nodes(self) -> int:
        """Wave vectors along kx that an image needs."""
        return max(self.left[1], self.kx_points - 1 - self.left[0]) + 1


@dataclasses.dataclass(frozen=True)
class CrystalFamily(Drawn):
    """Bulk crystals seen along [110]."""

    ranges: CrystalRanges

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latent, in its order."""
        return self.drawn

    @property
    def tops(self) -> tuple[float, float]:
        """Lowest and highest valence-band top that is drawn, eV."""
        top = dict(self.parameters)["top"]
        return top.lower, top.upper

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Shape of the kept signals of one crystal: half of kx, and energies for every valence-band top."""
        r = self.ranges
        span = r.top[1] - r.top[0] + self.tops[1] - self.tops[0]
        return (SIGNALS, r.nodes, r.energy_points + math.ceil(span / r.energy_step[0]))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of everything that makes a latent mean the same."""
        return digest((VERSION, self.signals_fingerprint, WAVES, ROUGH, TYPICAL, ALIGNMENT, self.ranges))

    @property
    def signals_fingerprint(self) -> str:
        """The same of what makes kept signals the same: exposure, crop and noise are drawn at every use."""
        r = dataclasses.replace(self.ranges, counts=(1.0, 1.0), crop=1.0, dead=0.0)
        drawing = (DENSE, DENSE_CELLS, GROWING, FINER, LEVELS)
        return digest((SIGNALS_VERSION, self.name, self.source, self.parameters, self._set_by_hand, r, drawing))


@functools.cache
def zincblende_family(ranges: CrystalRanges | None = None) -> CrystalFamily:
    """Zinc-blende crystals of the space of sp3s* tables (`table_space`), (001) faces, soft X-rays, slit along [110]."""
    inf = float("inf")
    parameters = {n: Parameter(0.0, -3.0, 3.0, sigma=1.0, unit="1") for n in COORDINATES}
    parameters |= {
        "Delta_a": Parameter(0.4, 0.0, inf, sigma=0.3),
        "Delta_c": Parameter(0.25, 0.0, inf, sigma=0.2),
        "a": Parameter(5.95, 5.3, 6.7, sigma=0.35, unit="Å"),
        "top": Parameter(-0.8, -2.0, 0.1, sigma=0.4),
        "eta": Parameter(0.12, 0.03, 0.5, sigma=0.05),
        "eta_momentum": Parameter(0.08, 0.0, 0.5, sigma=0.06, unit="eV Å"),
        "escape_depth": Parameter(15.0, 6.0, 30.0, sigma=3.0, unit="Å"),
        "inner_potential": Parameter(9.0, 0.0, 18.0, sigma=2.5),
    }
    instrument = Instrument(
        work_function=4.5, inner_potential=9.0, incidence=70.0, incidence_azimuth=90.0, temperature=80.0, escape_depth=15.0,
        eta=0.12, eta_momentum=0.08, fwhm_momentum=0.02, surface=(0, 0, 1), slit=(1, 1, 0), matrix_elements="free",
    )  # fmt: skip
    space = table_space()
    source = f"table space of {len(space.materials)} tables {space.digest}"
    return CrystalFamily(
        "zincblende", source, space_model, tuple(parameters.items()), instrument, CrystalRanges() if ranges is None else ranges
    )  # fmt: skip
