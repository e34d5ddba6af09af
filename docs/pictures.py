"""The pictures of README and docs, all simulated: `python docs/pictures.py` writes docs/images/*.png."""

from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

jax.config.update("jax_enable_x64", True)

import bandjax as bj  # noqa: E402
from bandjax.inference import bands_along_cut  # noqa: E402

FOLDER = Path(__file__).resolve().parent / "images"
TURN = np.deg2rad(55)  # from which the frame is drawn
RISE = np.deg2rad(22)


def silicon(path: Path) -> None:
    """Simulated counts of Si, the image behind them, and its exact derivative in one hopping."""
    atoms, table = bj.zincblende("Si"), bj.load_parameters("Si", "vogl1983")
    instrument = bj.Instrument(
        photon_energy=173.0, escape_depth=20.0, surface=(0, 0, 1), slit=(1, 1, 0), fermi_energy=0.5, eta=0.1,
        fwhm_energy=0.1, fwhm_momentum=0.03, gain=12.0, background=1.5,
    )  # fmt: skip
    axes = {"kx": np.linspace(-1.6, 1.6, 129), "energy": np.linspace(-8.5, 0.4, 179)}
    model = bj.tight_binding(atoms, table)
    plan = bj.plan_image(model, instrument, axes, kz_points=9)

    def image(value: jax.Array) -> jax.Array:
        return bj.arpes_image(bj.tight_binding(atoms, table.replace(V_xy=value)), instrument, plan)

    mean, slope = jax.jvp(image, (table["V_xy"],), (1.0,))
    mean, slope = np.asarray(mean), np.asarray(slope)
    counts = np.random.default_rng(1).poisson(mean)
    energy, _ = bands_along_cut(model, instrument, axes["kx"])

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    high, limit = np.percentile(mean, 99.7), np.percentile(np.abs(slope), 99)
    for axis, values, title, options in (
        (panels[0], counts, "simulated counts", {"cmap": "viridis", "vmin": 0, "vmax": high}),
        (panels[1], mean, "model image, bands at the central k$_z$", {"cmap": "viridis", "vmin": 0, "vmax": high}),
        (panels[2], slope, "∂ image / ∂ V$_{xy}$ (counts/eV)", {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}),
    ):
        mesh = axis.pcolormesh(axes["kx"], axes["energy"], values.T, shading="nearest", rasterized=True, **options)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("k$_x$ (1/Å)")
        figure.colorbar(mesh, ax=axis, shrink=0.85, pad=0.02)
    panels[1].plot(axes["kx"], energy, "w--", linewidth=0.7, alpha=0.8)
    panels[0].set_ylim(axes["energy"][0], axes["energy"][-1])
    panels[0].set_ylabel("E − E$_F$ (eV)")
    figure.suptitle("Simulated: silicon, sp³s*, hν = 173 eV, k$_z$ broadening, counting noise", fontsize=10)
    figure.savefig(path, dpi=130)


def flat(vector: np.ndarray) -> np.ndarray:
    """A point of the laboratory on the paper."""
    x, y, z = np.asarray(vector, float).T
    across = -np.sin(TURN) * x + np.cos(TURN) * y
    up = z * np.cos(RISE) - (np.cos(TURN) * x + np.sin(TURN) * y) * np.sin(RISE)
    return np.stack([across, up], axis=-1)


def frame(path: Path) -> None:
    """The laboratory frame with its angles."""
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)

    def arrow(axis, tip, text, color, start=(0, 0, 0), shift=(0.04, 0.04)) -> None:
        a, b = flat(np.array(start)), flat(np.array(tip))
        axis.annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1.6})
        axis.annotate(text, b + np.array(shift), color=color, fontsize=10)

    corners = np.array([[-0.8, -0.8, 0], [0.8, -0.8, 0], [0.8, 0.8, 0], [-0.8, 0.8, 0]])
    for axis in (left, right):
        axis.fill(*flat(corners).T, color="0.9", zorder=0)
        axis.set_aspect("equal")
        axis.set_axis_off()
        axis.set_xlim(-1.45, 1.45)
        axis.set_ylim(-0.75, 1.4)
    for tip, text in (
        ((1.25, 0, 0), "x: slit, angle θ > 0"),
        ((0, 1.25, 0), "y: deflector δ > 0"),
        ((0, 0, 1.2), "z: surface normal"),
    ):
        arrow(left, tip, text, "k", shift=(-0.42, -0.13) if text[0] == "x" else (0.0, 0.06))
    slant = np.deg2rad(35)
    arrow(left, (np.sin(slant), 0, np.cos(slant)), "electron K, θ > 0", "tab:blue", shift=(-0.75, 0.05))
    turn = np.linspace(0, np.deg2rad(40), 30)
    left.plot(*flat(0.6 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1)).T, color="tab:green")
    arrow(
        left,
        (0.75 * np.cos(turn[-1]), 0.75 * np.sin(turn[-1]), 0),
        "azimuth > 0:\ncrystal turns x → y",
        "tab:green",
        shift=(-0.25, -0.3),
    )
    left.set_title("axes, emission angles, azimuth", fontsize=10)

    alpha, psi = np.deg2rad(55), np.deg2rad(125)
    source = 1.3 * np.array([np.sin(alpha) * np.cos(psi), np.sin(alpha) * np.sin(psi), np.cos(alpha)])
    for tip, text in (((1.2, 0, 0), "x"), ((0, 1.2, 0), "y"), ((0, 0, 1.2), "z")):
        arrow(right, tip, text, "0.4")
    arrow(right, 0.03 * source, "", "tab:red", start=source)
    right.annotate("light, hν", flat(source) + np.array([-0.1, 0.05]), color="tab:red", fontsize=10)
    arrow(right, -0.55 * source, "photon momentum q\n(into the crystal)", "tab:purple", shift=(-0.5, -0.24))
    below = source * np.array([1, 1, 0])
    right.plot(*flat(np.stack([np.zeros(3), below])).T, ":", color="tab:red", linewidth=1)
    right.plot(*flat(np.stack([source, below])).T, ":", color="tab:red", linewidth=1)
    arc = np.linspace(0, alpha, 30)
    curve = 0.5 * np.stack([np.sin(arc) * np.cos(psi), np.sin(arc) * np.sin(psi), np.cos(arc)], axis=-1)
    right.plot(*flat(curve).T, color="tab:red", linewidth=1)
    right.annotate("incidence α", flat(curve[15]) + np.array([0.02, 0.06]), color="tab:red", fontsize=9)
    arc = np.linspace(0, psi, 30)
    curve = 0.5 * np.stack([np.cos(arc), np.sin(arc), 0 * arc], axis=-1)
    right.plot(*flat(curve).T, color="tab:red", linewidth=1)
    right.annotate("incidence\nazimuth ψ", flat(curve[18]) + np.array([-0.02, -0.3]), color="tab:red", fontsize=9)
    right.set_title("light: incidence, azimuth, momentum", fontsize=10)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    silicon(FOLDER / "silicon.png")
    frame(FOLDER / "frame.png")
