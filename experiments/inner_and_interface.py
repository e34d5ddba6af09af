"""Spectral signatures of inner and interface atoms, exact and by the shipped surrogate.

Claim: in abrupt Si/Ge superlattices of 10 to 20 monolayers a period the mean spectral function of the atoms beside an interface differs
from that of the inner atoms of the same species (integrated |difference| over 5 % of the weight), and the surrogate gives these differences
with a cosine of at least 0.9. A smaller figure refutes it. k along [110], integrated over k_z; sp3s* without spin-orbit coupling.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.learning.cache import single_precision  # noqa: E402
from bandjax.learning.layer_data import VALENCE, reduced_wave_vectors  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402
from experiments.surrogate_accuracy import at_interface, exact_call, surrogate_call  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    stacks: tuple[tuple[int, int], ...] = ((5, 5), (7, 7), (8, 4), (4, 8), (10, 10), (12, 6), (6, 12))
    a_parallel: float = 5.545  # Å
    every: int = 3  # of the 64 wave vectors


PRESETS = {"default": Config(), "smoke": Config(stacks=((4, 4),), every=21)}
GROUPS = ("Si inner", "Si interface", "Ge inner", "Ge interface")


def run(config: Config, surrogate: bj.Surrogate) -> tuple[dict, dict]:
    """Figures, and mean spectra (route, group) on (k, energy)."""
    t = reduced_wave_vectors(0, config.every)
    layers: dict = {route: {g: [] for g in GROUPS} for route in ("exact", "surrogate")}
    with single_precision():
        ours, a = surrogate_call(surrogate, t), jnp.float32(config.a_parallel)
        for n, m in config.stacks:
            c = np.repeat([0.0, 1.0], [n, m])
            place = at_interface(c)
            for route, call in (("exact", exact_call(n + m, t)), ("surrogate", ours)):
                found = np.asarray(call(jnp.asarray(c, jnp.float32), a))
                for g in GROUPS:
                    chosen = (c == float(g.startswith("Ge"))) & (place == g.endswith("interface"))
                    layers[route][g].extend(found[chosen])
    mean = {route: {g: np.mean(found, axis=0) for g, found in groups.items()} for route, groups in layers.items()}
    metrics = {}
    for species in ("Si", "Ge"):
        exact, other = (mean[r][f"{species} interface"] - mean[r][f"{species} inner"] for r in ("exact", "surrogate"))
        metrics[species] = {
            "difference": float(np.abs(exact).sum() / mean["exact"][f"{species} inner"].sum()),
            "cosine": float((exact * other).sum() / np.sqrt((exact**2).sum() * (other**2).sum())),
        }
    return metrics, mean


def figure_of(mean: dict, config: Config) -> Figure:
    """Means of inner atoms and differences of interface atoms; exact above, surrogate below."""
    t = reduced_wave_vectors(0, config.every)
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey=True)
    for row, route in zip(axes, ("exact", "surrogate"), strict=True):
        for i, species in enumerate(("Si", "Ge")):
            inner, edge = (mean[route][f"{species} {g}"] for g in ("inner", "interface"))
            top = float(np.quantile(mean["exact"]["Si inner"], 0.995))
            shown = row[2 * i].pcolormesh(t, VALENCE, inner.T, vmin=0, vmax=top, cmap="magma", rasterized=True)
            off = row[2 * i + 1].pcolormesh(t, VALENCE, (edge - inner).T, vmin=-top / 3, vmax=top / 3, cmap="RdBu_r", rasterized=True)  # fmt: skip
            row[2 * i].set_title(f"{route}: {species} inner", fontsize=8)
            row[2 * i + 1].set_title("interface − inner", fontsize=8)
        row[0].set_ylabel("energy of the table (eV)", fontsize=8)
        figure.colorbar(shown, ax=row[2], label="A (1/eV)")
        figure.colorbar(off, ax=row[3], label="ΔA (1/eV)")
    for axis in axes[1]:
        axis.set_xlabel("k along [110] / zone edge", fontsize=8)
    for axis in axes.ravel():
        axis.tick_params(labelsize=7)
    return figure


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS, weights="a surrogate of your own (default: the shipped one)")
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    metrics, mean = run(chosen, bj.load_surrogate(args.weights))
    print(metrics)
    write_json(args.out / "result.json", chosen, metrics, started)
    figure_of(mean, chosen).savefig(args.out / "inner_and_interface.png", dpi=200)
