"""Inner and interface atoms of Si/Ge stacks told apart by their descriptors.

Claim: whatever the stack (3 to 8 monolayers of each, any in-plane constant between Si and Ge), the descriptor
"interface_distance" alone, with one threshold for all stacks of a kind, separates the atoms beside an interface of the ideal
stack from the others with an area under the curve (AUC) ≥ 0.99: in ideal stacks, relaxed ones (Keating), ones displaced at
random (0.05 Å a component, without and after relaxation) and interdiffused ones (error functions of σ up to 0.6
monolayers, fractions on every site). A smaller AUC refutes it.

Not claimed, but reported: layers of a random alloy, where an interface is that of the layers' mean composition, blurred by
1/√(atoms in a layer); the AUC of other single descriptors; and that of a linear combination of all descriptors but the
distance, found on half of the stacks and scored on the other half.
"""

import dataclasses
import time

import ase
import jax
import numpy as np
from scipy.stats import rankdata

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from experiments.common import arguments, write_json  # noqa: E402

PURE = ("ideal", "relaxed", "displaced", "relaxed displaced", "interdiffused displaced")
MATERIALS = ("Si", "Ge")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that the experiment depends on."""

    kinds: tuple[str, ...] = (*PURE, "alloyed relaxed displaced")
    stacks: int = 40  # of each kind
    thinnest: int = 3  # monolayers of one material
    thickest: int = 8
    period: int | None = None  # monolayers; None: any even number
    lateral: int = 6  # alloyed layers have lateral² atoms
    displacement: float = 0.05  # Å, standard deviation of a component
    seed: int = 1


PRESETS = {"default": Config(), "smoke": Config(kinds=PURE, stacks=8, thickest=5, period=8)}


def area_under_curve(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores higher than a negative (Mann-Whitney)."""
    rank, hits = rankdata(score), positive.sum()
    return float((rank[positive].sum() - hits * (hits + 1) / 2) / (hits * (~positive).sum()))


def make_stack(config: Config, kind: str, rng: np.random.Generator) -> tuple[ase.Atoms, np.ndarray]:
    """A stack of that kind of disorder, and which of its atoms lie beside an interface of the ideal one."""
    n, m = (int(x) for x in rng.integers(config.thinnest, config.thickest + 1, 2))
    m = config.period - n if config.period else m + (n + m) % 2
    atoms = bj.superlattice(MATERIALS, (n, m), substrate=float(rng.uniform(5.431, 5.658)))
    beside = np.isin(np.arange(n + m), [0, n - 1, n, n + m - 1])
    if "interdiffused" in kind:
        edges, sigma = [-0.5, n - 0.5, n + m - 0.5], float(rng.uniform(0.2, 0.6))
        c = bj.erf_profile(np.arange(n + m), edges, sigma, [1.0, 0.0, 1.0, 0.0])
        atoms.set_array("composition", np.clip(np.asarray(c), 0, 1))
    if "alloyed" in kind:
        atoms, beside = atoms.repeat((config.lateral, config.lateral, 1)), np.tile(beside, config.lateral**2)
        keep = (atoms.symbols == "Si") | (rng.uniform(size=len(atoms)) < rng.uniform(0.4, 0.8))
        atoms.set_chemical_symbols(list(np.where(keep, atoms.symbols, "Si")))
        atoms.set_array("composition", (atoms.symbols == "Ge").astype(float))
    if "relaxed" in kind:
        atoms = bj.relax(atoms, MATERIALS, free="growth").atoms(atoms)
    if "displaced" in kind:
        atoms.positions += rng.normal(scale=config.displacement, size=atoms.positions.shape)
    return atoms, beside


def separation(config: Config, kind: str) -> dict:
    """Areas under the curve for one kind."""
    rng = np.random.default_rng((config.seed, config.kinds.index(kind)))
    stacks = [make_stack(config, kind, rng) for _ in range(config.stacks)]
    rows = [np.asarray(bj.environment(atoms, MATERIALS).features()) for atoms, _ in stacks]
    half = np.repeat(np.arange(len(rows)) % 2 == 0, [len(r) for r in rows])
    features, beside = np.concatenate(rows), np.concatenate([b for _, b in stacks])
    names = [name for name, _ in bj.DESCRIPTORS]
    single = {"interface_distance": -1, "order_1": -1, "order_3": -1, "bond_variance": 1}
    area = {name: area_under_curve(sign * features[:, names.index(name)], beside) for name, sign in single.items()}
    rest = features[:, : names.index("interface_distance")]
    rest = np.column_stack([(rest - rest.mean(axis=0)) / (rest.std(axis=0) + 1e-9), np.ones(len(rest))])
    weight = np.linalg.lstsq(rest[half], beside[half].astype(float), rcond=1e-8)[0]
    area["linear, without the distance"] = area_under_curve(rest[~half] @ weight, beside[~half])
    distance = features[:, names.index("interface_distance")]
    return {
        "atoms": len(beside),
        "beside": int(beside.sum()),
        "area": area,
        "farthest_beside": float(distance[beside].max()),
        "nearest_inner": float(distance[~beside].min()),
    }


def run(config: Config) -> dict:
    """All kinds."""
    return {kind: separation(config, kind) for kind in config.kinds}


def main() -> None:
    options = arguments(__doc__, PRESETS)
    config, started = PRESETS[options.preset], time.perf_counter()
    metrics = run(config)
    for kind, found in metrics.items():
        areas = ", ".join(f"{name} {area:.4f}" for name, area in found["area"].items())
        print(f"{kind} ({found['atoms']} atoms): {areas}")
    write_json(options.out / "result.json", config, metrics, started)


if __name__ == "__main__":
    main()
