"""The families that networks are trained on, by name: what their stacks are made of, with priors and instrument."""

import functools
import hashlib
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


FAMILIES: dict[str, Callable[..., Family | CrystalFamily]] = {
    "buried_sige": buried_sige,
    "sige_superlattice": sige_superlattice,
    "buried_algaas": buried_algaas,
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
    instrument = Instrument(
        inner_potential=12.0, escape_depth=10.0, fwhm_momentum=0.03, temperature=80.0, slit=(1, 1, 0),
        matrix_elements="plane_wave", polarisation=(1, 0, 1), photon_momentum=False, fermi_energy=0.3, eta=0.12,
    )  # fmt: skip
    table = load_parameters(materials, "vogl1983")
    # float32, so that the digest does not depend on the precision that the process runs in
    numbers = np.array([float(v) for v in table.values.values()], np.float32).tobytes()
    source = f"{layers} layers, vogl1983 {hashlib.sha256(numbers).hexdigest()[:8]}"
    return Family(
        name, source, _stack_of(layers, materials, **options), tuple(parameters.items()), instrument,
        Ranges() if ranges is None else ranges, brightness=brightness,
    )  # fmt: skip


def _stack_of(layers: int, materials: tuple[str, str], **options: Any) -> ModelOf:
    """`model_of` in the precision of the moment: float32 while images for training are made, else the process's own."""

    @functools.cache
    def of(dtype: object) -> ModelOf:
        with jax.ensure_compile_time_eval():  # may be first called inside a trace, and must not keep its tracers
            return stack_model(load_parameters(materials, "vogl1983"), layers, materials, spin_orbit=False, **options)

    def model_of(values: Mapping[str, Any]) -> Model:
        return of(jnp.zeros(()).dtype)(values)

    model_of.names = of(jnp.zeros(()).dtype).names
    return model_of
