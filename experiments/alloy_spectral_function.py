"""Unfolded bands of a random Si-Ge alloy of 8,000 atoms, beside the virtual crystal's.

Claim: chemical disorder hardly moves the bands of Si0.5Ge0.5 (sp3s* of Vogl, no spin-orbit, along L-Γ-X) but broadens them
by their s character. No isolated line is off the virtual crystal's by more than 0.06 eV; the lowest valence band is
broadened by at least 0.15 eV (standard deviation, mean over k), the highest by at most 0.06 eV. Other numbers refute it.

The atoms stay on the sites of the average lattice (no relaxation), so that what differs from the virtual crystal is
disorder of the species alone. Lines are read from the map as means and variances over windows that hold one isolated
group of levels, and the same is read from the virtual crystal's map with the same kernel: their differences count.
"""

import dataclasses
import time

import jax
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    fraction: float = 0.5
    repeat: int = 10  # cubic cells along each axis: 8 repeat³ atoms
    path: str = "LΓX"
    k_points: int = 32
    energy_points: int = 200
    energies: tuple[float, float] = (-13.0, 7.0)  # eV from the virtual crystal's valence-band top
    sigma: float = 0.1  # of the Jackson kernel, eV
    table: str = "vogl1983"
    seed: int = 1


PRESETS = {"default": Config(), "smoke": Config(repeat=2, k_points=7, energy_points=160, sigma=0.2)}
FILLED = 4  # bands of the virtual crystal, without spin
TOGETHER = 0.05  # eV; levels nearer than this are one group
WINDOW = 1.5  # eV to either side of a line that is read
ALONE = 4.0  # σ; a group is read where the middle to its neighbours is farther


def run(config: Config) -> tuple[dict, dict]:
    """Metrics, and what the figure needs."""
    began = time.perf_counter()
    table = bj.load_parameters(("Si", "Ge"), config.table)
    atoms = bj.alloy(("Si", "Ge"), config.fraction, repeat=config.repeat, seed=config.seed)
    primitive = bj.zincblende("Si", atoms.cell.lengths()[0] / config.repeat)
    virtual = bj.tight_binding(bj.alloy(primitive, config.fraction, kind="virtual"), table, spin_orbit=False)
    model = bj.tight_binding(atoms, table, spin_orbit=False)
    k, distance, marks = bj.k_path(primitive, config.path, config.k_points)
    levels = np.asarray(bj.bands(virtual, k))
    top = levels[:, FILLED - 1].max()
    energy = top + np.linspace(*config.energies, config.energy_points)
    built = time.perf_counter()
    expansion = bj.chebyshev_expansion(model, sigma=config.sigma, k=k)
    a = np.asarray(bj.unfolded_spectral_function(model, primitive, k, energy, sigma=config.sigma, expansion=expansion))
    seconds = time.perf_counter() - built
    plain = bj.spectral_function(virtual, k, energy, sigma=config.sigma, expansion=expansion)
    lines = read_lines(config, energy, a, np.asarray(plain), levels)
    metrics = {
        "atoms": len(atoms),
        "moments": expansion.count,
        "seconds_model": built - began,
        "seconds_map": seconds,
        "weight_of_map": float((a.sum(axis=1) * (energy[1] - energy[0])).mean()),
        "lines": len(lines),
        **judge(lines),
    }
    return metrics, {"distance": distance, "marks": marks, "energy": energy - top, "a": a, "levels": levels - top}


def read_lines(config: Config, energy: np.ndarray, a: np.ndarray, plain: np.ndarray, levels: np.ndarray) -> list[dict]:
    """Every isolated group of the virtual crystal's levels: how far the alloy's line is off it, and its further variance."""
    found, step = [], energy[1] - energy[0]
    for at, e in enumerate(levels):
        cuts = np.flatnonzero(np.diff(e) > TOGETHER) + 1
        groups = np.split(np.arange(e.size), cuts)
        edges = [-np.inf, *((e[cuts - 1] + e[cuts]) / 2), np.inf]
        for group, low, high in zip(groups, edges[:-1], edges[1:], strict=True):
            centre = e[group].mean()
            low, high = max(low, centre - WINDOW), min(high, centre + WINDOW)
            if min(centre - low, high - centre) < ALONE * config.sigma or low < energy[0] or high > energy[-1]:
                continue
            inside = (energy > low) & (energy < high)
            e_in, moments = energy[inside] - centre, []
            for spectrum in (a[at, inside], plain[at, inside]):
                weight = spectrum.sum() * step
                mean = (spectrum * e_in).sum() * step / weight
                moments.append((weight, mean, (spectrum * (e_in - mean) ** 2).sum() * step / weight))
            (weight, mean, variance), (_, mean_0, variance_0) = moments
            found.append(
                {
                    "k": at, "bands": [int(b) for b in group], "weight": float(weight / len(group)),
                    "shift": float(mean - mean_0), "variance": float(variance - variance_0),
                }
            )  # fmt: skip
    return found


def judge(lines: list[dict]) -> dict:
    """Shift and disorder width of each group of bands, mean over k."""
    out = {}
    for name, keep in (
        ("s_like", lambda b: b == [0]),
        ("second", lambda b: b == [1]),
        ("top", lambda b: b[-1] == FILLED - 1),
        ("conduction", lambda b: b[0] == FILLED),
    ):
        kept = [line for line in lines if keep(line["bands"])]
        if kept:
            out[name] = {
                "k": len(kept),
                "shift": float(np.mean([line["shift"] for line in kept])),
                "largest_shift": float(max((line["shift"] for line in kept), key=abs)),
                "width": float(np.sqrt(max(np.mean([line["variance"] for line in kept]), 0.0))),
                "weight": float(np.mean([line["weight"] for line in kept])),
            }
    return out


def draw(config: Config, shown: dict) -> Figure:
    """The unfolded map with the virtual crystal's bands on top."""
    figure = Figure(figsize=(3.6, 4.2), layout="constrained")
    axis = figure.subplots()
    norm = PowerNorm(0.5, vmin=0)  # weak lines beside sharp ones
    mesh = axis.pcolormesh(shown["distance"], shown["energy"], shown["a"].T, cmap="viridis", norm=norm, rasterized=True)
    axis.plot(shown["distance"], shown["levels"], color="white", linewidth=0.6, linestyle=":")
    for place, _ in shown["marks"]:
        axis.axvline(place, color="0.7", linewidth=0.6)
    axis.set_xticks([place for place, _ in shown["marks"]], [label for _, label in shown["marks"]])
    axis.set_ylim(shown["energy"][0], shown["energy"][-1])
    axis.set_ylabel("E − valence-band top of the virtual crystal (eV)")
    axis.set_title(
        f"Si$_{{{1 - config.fraction:g}}}$Ge$_{{{config.fraction:g}}}$, {8 * config.repeat**3} atoms (dotted: virtual crystal)",
        fontsize=8,
    )
    figure.colorbar(mesh, ax=axis, label="A (1/eV)")
    return figure


if __name__ == "__main__":
    args = arguments(__doc__, PRESETS)
    started = time.perf_counter()
    chosen = PRESETS[args.preset]
    metrics, shown = run(chosen)
    print(metrics)
    write_json(args.out / "result.json", chosen, metrics, started)
    draw(chosen, shown).savefig(args.out / "unfolded_bands.png", dpi=200)
