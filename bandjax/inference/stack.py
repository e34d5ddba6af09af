"""`model_of` of a stack: a composition profile, the in-plane lattice constant and table values as fitted numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model, tight_binding
from bandjax.inference.problem import ModelOf
from bandjax.materials import Table
from bandjax.structure import erf_profile, graded, stack_positions
from bandjax.structure.growth import pair_of

Profile = Callable[[Mapping[str, Any], np.ndarray], jax.Array]
BURIED = ("fraction", "upper", "lower", "interface")
PERIODIC = ("cap", "first", "second", "interface")
THINNEST = 3.0  # monolayers: the shortest period that `periodic_layers` follows to the bottom of the stack
VACUUM = 15.0  # Å


def buried_layer(values: Mapping[str, Any], depth: np.ndarray) -> jax.Array:
    """Composition of one buried layer with interdiffused interfaces.

    Args:
        values: `fraction` of the second species in the layer, depth of its `upper` and `lower` interface, and
            `interface`, the standard deviation of both, all in monolayers from the surface.
        depth: Depth of each layer in monolayers (0: outermost), shape (layer,).
    """
    edges = jnp.stack([jnp.asarray(values["upper"]), jnp.asarray(values["lower"])])
    inside = erf_profile(depth, edges, values["interface"], jnp.array([0.0, 1.0, 0.0]))
    return values["fraction"] * jnp.clip(inside, 0.0, 1.0)  # rounding, and interfaces that a trial step has crossed


def periodic_layers(values: Mapping[str, Any], depth: np.ndarray) -> jax.Array:
    """Composition of a superlattice with interdiffused interfaces, from the surface downwards without end.

    Numbers of layers are continuous; whole ones with sharp interfaces are the stack that is counted by them.

    Args:
        values: Thickness of the `cap` of the first species on top, then, in turn, of the layers of the `second` and of the
            `first` species, and `interface`, the standard deviation of every interface, all in monolayers. Periods
            shorter than `THINNEST` end above the bottom.
        depth: Depth of each layer in monolayers (0: outermost), shape (layer,).
    """
    upper = values["cap"] + (values["first"] + values["second"]) * np.arange(np.ceil((depth[-1] + 1) / THINNEST))
    # n layers are those at depths 0 … n − 1, so that the interface lies half a layer above depth n
    step = lambda edge: jax.scipy.special.ndtr((depth[:, None] - (edge - 0.5)) / values["interface"])  # noqa: E731
    return jnp.clip((step(upper) - step(upper + values["second"])).sum(axis=1), 0.0, 1.0)


def stack_model(
    table: Table,
    layers: int,
    materials: tuple[str, str] = ("Si", "Ge"),
    *,
    profile: Profile = buried_layer,
    names: tuple[str, ...] = BURIED,
    **options: Any,
) -> ModelOf:
    """`model_of` of a (001) stack with a free surface: of two elements, or of two compounds with a common anion.

    Args:
        table: Table of the pair, such as `load_parameters(("Si", "Ge"), "vogl1983")`.
        layers: Number of monolayers, counted from the surface; of compounds an even number, an anion on top.
        materials: The two elements or compounds.
        profile: Function of (values, depth in monolayers) to the fraction of the second material, shape (layer,); of
            compounds only the layers of cations are asked for.
        names: Names of the values that `profile` uses.
        **options: Passed to `tight_binding`.

    Returns:
        Function of values (those of `profile`, `a_parallel` in Å and any of the table's) to a model.

    Raises:
        ValueError: an odd number of monolayers of compounds, or materials that do not go together.
    """
    step = pair_of(materials).layers
    if layers % step:
        raise ValueError(f"Argument `layers` must be even for compounds, which grow in bilayers, but is {layers}.")
    # all labels are the first material's; with a composition given they do not matter
    atoms = graded(materials, np.zeros(layers // step), substrate=materials[0], vacuum=VACUUM)
    depth = np.arange(step - 1, layers, step, dtype=float)

    def model_of(values: Mapping[str, Any]) -> Model:
        composition = jnp.asarray(profile(values, depth))[::-1]  # structures count from the bottom
        positions, cell = stack_positions(composition, values["a_parallel"], materials, vacuum=VACUUM)
        own = table.replace(**{n: v for n, v in values.items() if n in table.values})
        sites = jnp.repeat(composition, step)  # what stands at an anion is not read
        return tight_binding(atoms, own, positions=positions, cell=cell, composition=sites, **options)

    model_of.names = frozenset({*names, "a_parallel", *table.values})
    return model_of
