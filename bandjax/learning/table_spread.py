"""Tables of Si and Ge that share their bulk bands near Γ and else differ: mean + root · x, x whitened (`table_0` …).

The numbers are made by `experiments/spread_tables.py`. A network that is trained over x reads images which no one table made; a fit
in which x is free has the tables' spread as a prior.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bandjax.hamiltonian import Model
from bandjax.inference import stack_model
from bandjax.inference.problem import ModelOf
from bandjax.materials import load_parameters


class Spread(NamedTuple):
    """What tables are drawn from.

    Attributes:
        table: Name of the published table that they come from.
        names: Of its energies, as in the pair's table.
        mean: eV, (energy,).
        root: eV, (energy, coordinate).
        valence_top: Of silicon on the tables' scale, eV; the same in all to first order.
        digest: Of all this.
    """

    table: str
    names: tuple[str, ...]
    mean: np.ndarray
    root: np.ndarray
    valence_top: float
    digest: str


@functools.cache
def table_spread() -> Spread:
    """The shipped spread."""
    text = (resources.files("bandjax") / "learning" / "weights" / "buried_sige_tables.json").read_text(encoding="utf-8")
    d = json.loads(text)
    digest = f"{d['table']} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return Spread(d["table"], tuple(d["names"]), np.array(d["mean"]), np.array(d["root"]), d["valence_top"], digest)


def spread_model(layers: int, materials: tuple[str, str], **options: Any) -> ModelOf:
    """`stack_model` of the tables of `table_spread`: `table_0` … are values of the model.

    Integrals of the bond between the elements move with the mean of what those of the elements move by.
    """
    spread = table_spread()
    table = load_parameters(materials, spread.table)
    published = {n: float(v) for n, v in table.values.items()}
    bond = bond_rows(spread, published)
    names = (*spread.names, *bond)
    start = np.concatenate(
        [
            spread.mean,
            [published[n] + row @ (spread.mean - [published[m] for m in spread.names]) for n, row in bond.items()],
        ]
    )
    slope = np.concatenate([spread.root, np.stack([row @ spread.root for row in bond.values()])])
    inner = stack_model(table, layers, materials, **options)
    coordinates = [f"table_{i}" for i in range(spread.root.shape[1])]

    def model_of(values: Mapping[str, Any]) -> Model:
        x = jnp.stack([jnp.asarray(values[n]) for n in coordinates])
        energies = jnp.asarray(start, x.dtype) + jnp.matmul(jnp.asarray(slope, x.dtype), x, precision="highest")
        return inner(
            {n: v for n, v in values.items() if n not in coordinates} | dict(zip(names, energies, strict=True))
        )

    model_of.names = (inner.names - set(names)) | set(coordinates)
    return model_of


def bond_rows(spread: Spread, published: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Integrals of the Si-Ge bond: by how much each moves with each energy, (energy,)."""
    rows = {}
    for name in published:
        pair, _, integral = name.partition(".")
        if pair != "SiGe" or integral == "offset" or integral.startswith("n_"):
            continue
        # "sapc" is s on one element with p on the other: "sp" of the elements
        plain = integral.replace("a", "").replace("c", "")
        plain = {"s*s": "ss*"}.get(plain, plain)
        both = [f"{element}.{plain}" for element in ("Si", "Ge")]
        if not all(b in spread.names for b in both):
            raise ValueError(f"Table {spread.table!r} must have {both[0]} for {name}, but has none.")
        rows[name] = np.array([0.5 * (n in both) for n in spread.names])
    return rows
