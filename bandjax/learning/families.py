"""The families that networks are trained on, by name: what their stacks are made of, with priors and instrument."""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model
from bandjax.inference import Parameter, periodic_layers, stack_model
from bandjax.inference.problem import ModelOf
from bandjax.inference.stack import PERIODIC
from bandjax.learning.crystals import CrystalFamily, zincblende_family
from bandjax.learning.family import Family, Ranges
from bandjax.learning.table_spread import spread_model, table_spread
from bandjax.materials import load_parameters
from bandjax.photoemission import Instrument

INF = float("inf")
OF_INSTRUMENT = {
    "fermi_energy": Parameter(0.3, sigma=0.05),
    "eta": Parameter(0.12, 2e-3, 5.0, sigma=0.02),
    "inner_potential": Parameter(12.0, -50.0, 100.0, sigma=0.5),
}


@functools.cache
def buried_sige(layers: int = 24, ranges: Ranges | None = None) -> Family:
    """A buried SiGe layer in silicon under (001), seen by a coherent cut along [110] near 100 eV.

    Args:
        layers: Monolayers from the surface; depths scale with them.
        ranges: What differs from image to image; None: the shipped ranges.

    Source:
        Table vogl1983 without spin-orbit coupling; priors as in experiments/invert_stack.py.
    """
    a_parallel = Parameter(5.431, 5.0, 6.0, sigma=0.02, unit="Å")
    parameters = _buried(layers, a_parallel) | {"SiGe.offset": Parameter(0.68, sigma=0.1)}
    return _family("buried_sige", layers, parameters | OF_INSTRUMENT, ranges, 4.3e-5)


@functools.cache
def sige_superlattice(layers: int = 24, ranges: Ranges | None = None) -> Family:
    """A film of a Si/Ge superlattice under (001), silicon on top, with the instrument of `buried_sige`.

    A period is n layers of Si on m of Ge. Both are drawn evenly from 1.5 to 8.5 monolayers, as continuous numbers of a
    smooth profile; a grown stack has whole ones, 2 to 8, to which these round with even odds.

    Args:
        layers: Monolayers from the surface.
        ranges: What differs from image to image; None: the shipped ranges.
    """
    parameters = {
        "cap": Parameter(3.0, 0.5, 5.5, unit="monolayers"),
        "first": Parameter(5.0, 1.5, 8.5, unit="monolayers"),
        "second": Parameter(5.0, 1.5, 8.5, unit="monolayers"),
        "interface": Parameter(0.6, 0.1, INF, sigma=0.15, unit="monolayers"),
        "a_parallel": Parameter(5.5, 5.0, 6.0, sigma=0.04, unit="Å"),
        "SiGe.offset": Parameter(0.68, sigma=0.1),
    }
    options = {"profile": periodic_layers, "names": PERIODIC}
    return _family("sige_superlattice", layers, parameters | OF_INSTRUMENT, ranges, 3.5e-5, **options)


@functools.cache
def buried_algaas(layers: int = 24, ranges: Ranges | None = None) -> Family:
    """A buried AlGaAs layer in gallium arsenide: `buried_sige` in other materials, arsenic on top.

    Args:
        layers: Monolayers from the surface, an even number; depths scale with them.
        ranges: What differs from image to image; None: the shipped ranges.
    """
    offset = Parameter(-0.53, sigma=0.1)  # of AlAs: difference of the recommended valence-band tops
    parameters = _buried(layers, Parameter(5.653, 5.0, 6.0, sigma=0.02, unit="Å")) | {"GaAsAlAs.offset": offset}
    return _family("buried_algaas", layers, parameters | OF_INSTRUMENT, ranges, 1.6e-5, ("GaAs", "AlAs"))


@functools.cache
def buried_sige_tables(layers: int = 24, ranges: Ranges | None = None) -> Family:
    """A buried SiGe layer in silicon whose table and matrix elements are only roughly known, so that images need not be of one model.

    Every stack has an sp3d5s* table of its own: `table_0` … are whitened coordinates of the tables that agree with given
    bulk bands near Γ (`experiments/spread_tables.py`), and the factors of the partial waves are wide. The network is
    trained over them and does not infer them; the refinement has them free. The cut is that of `experiments/invert_foreign_stack.py`.

    Args:
        layers: Monolayers from the surface; depths scale with them.
        ranges: What differs from image to image; None: the shipped ranges.
    """
    spread = table_spread()
    parameters = _buried(layers, Parameter(5.431, 5.0, 6.0, sigma=0.02, unit="Å"))
    scale = layers / 24
    parameters["lower"] = Parameter(12.0 * scale, 0.0, INF, sigma=1.5 * scale, unit="monolayers")
    parameters["SiGe.offset"] = Parameter(0.65, sigma=0.15)
    parameters |= {"fermi_energy": Parameter(spread.valence_top + 0.1, sigma=0.05)}
    parameters |= {
        "eta": Parameter(0.08, 0.03, 5.0, sigma=0.02),
        "inner_potential": Parameter(12.0, -50.0, 100.0, sigma=0.7),
    }
    marginalised = {"eta_linear": Parameter(0.01, 0.0, 0.1, sigma=0.01)}
    marginalised |= {
        n: Parameter(1.0, sigma=0.5) for n in ("amplitude_s", "amplitude_d", "amplitude_lower", "amplitude_excited")
    }
    # at photon energies at which the p wave of Ge has a node, its sign differs between the forms of the dipole operator
    marginalised |= {"amplitude_s_second": Parameter(1.0, sigma=0.5), "amplitude_p_second": Parameter(0.5, sigma=1.0)}
    marginalised |= {f"table_{i}": Parameter(0.0, sigma=1.0) for i in range(spread.root.shape[1])}
    ranges = Ranges(
        kx_points=24, energy_points=40, kx_centre=(-0.05, 0.05), kx_half=(0.5, 0.65), bottom=(-2.8, -2.4), top=(0.2, 0.4),
        photon_energy=(73.0, 75.0), fwhm_energy=(0.08, 0.12), crop=0.85,
    ) if ranges is None else ranges  # fmt: skip
    instrument = _instrument().replace(eta=0.08, fermi_energy=spread.valence_top + 0.1)
    model_of = _stack_of(layers, ("Si", "Ge"), spread_model, dangling_shift=10.0)
    sizes = {
        "rows": 24, "columns": 56, "reach_k": (-0.72, 0.72), "reach_energy": (-2.9, 0.5),
        "typical": (
            (-0.5, 0.1), (0.5, 0.1), (-2.4, 0.3), (0.2, 0.2), (2.9, 1.1), (74.0, 1.0), (0.1, 0.015), (0.05, 0.006),
            (0.074, 0.006), (math.log(800.0), 0.3),
        ),
    }  # fmt: skip
    # brightness: the median signal of 64 draws; widths of the factors: a choice, wide enough for a change of sign or a factor of two
    return Family(
        "buried_sige_tables", f"{layers} layers, {spread.digest}, dangling bonds 10 eV up", model_of, tuple((parameters | marginalised).items()),
        instrument, ranges, brightness=1.6e-4, marginalised=tuple(marginalised), network_sizes=tuple(sizes.items()),
    )  # fmt: skip


FAMILIES: dict[str, Callable[..., Family | CrystalFamily]] = {
    "buried_sige": buried_sige,
    "sige_superlattice": sige_superlattice,
    "buried_algaas": buried_algaas,
    "buried_sige_tables": buried_sige_tables,
    "zincblende": zincblende_family,
}


def _buried(layers: int, a_parallel: Parameter) -> dict[str, Parameter]:
    """One buried layer, the same in all materials."""
    scale = layers / 24
    return {
        "fraction": Parameter(0.5, 0.0, 1.0, sigma=0.15, unit="1"),
        "upper": Parameter(4.0 * scale, 0.0, INF, sigma=1.0 * scale, unit="monolayers"),
        "lower": Parameter(11.5 * scale, 0.0, INF, sigma=1.2 * scale, unit="monolayers"),
        "interface": Parameter(0.8, 0.1, INF, sigma=0.2, unit="monolayers"),
        "a_parallel": a_parallel,
    }


def _family(
    name: str, layers: int, parameters: dict[str, Parameter], ranges: Ranges | None, brightness: float,
    materials: tuple[str, str] = ("Si", "Ge"), **options: Any,
) -> Family:  # fmt: skip
    """Stacks of two materials, vogl1983; options as in `stack_model`."""
    table = load_parameters(materials, "vogl1983")
    # float32, so that the digest does not depend on the precision that the process runs in
    numbers = np.array([float(v) for v in table.values.values()], np.float32).tobytes()
    source = f"{layers} layers, vogl1983 {hashlib.sha256(numbers).hexdigest()[:8]}"
    return Family(
        name, source, _stack_of(layers, materials, _vogl_model, **options), tuple(parameters.items()), _instrument(),
        Ranges() if ranges is None else ranges, brightness=brightness,
    )  # fmt: skip


def _instrument() -> Instrument:
    return Instrument(
        inner_potential=12.0, escape_depth=10.0, fwhm_momentum=0.03, temperature=80.0, slit=(1, 1, 0),
        matrix_elements="plane_wave", polarisation=(1, 0, 1), photon_momentum=False, fermi_energy=0.3, eta=0.12,
    )  # fmt: skip


def _stack_of(layers: int, materials: tuple[str, str], make: Callable[..., ModelOf], **options: Any) -> ModelOf:
    """`model_of` in the precision of the moment: float32 while images for training are made, else the process's own."""

    @functools.cache
    def of(dtype: object) -> ModelOf:
        with jax.ensure_compile_time_eval():  # may be first called inside a trace, and must not keep its tracers
            return make(layers, materials, spin_orbit=False, **options)

    def model_of(values: Mapping[str, Any]) -> Model:
        return of(jnp.zeros(()).dtype)(values)

    model_of.names = of(jnp.zeros(()).dtype).names
    return model_of


def _vogl_model(layers: int, materials: tuple[str, str], **options: Any) -> ModelOf:
    return stack_model(load_parameters(materials, "vogl1983"), layers, materials, **options)
