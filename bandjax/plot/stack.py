"""A stack as a fit sees it: its composition by depth with error bands, and how much of the light comes from where."""

import numpy as np
from matplotlib.figure import Figure

from bandjax.inference import ProfileBand


def plot_profile(band: ProfileBand, *, species: str = "Ge", truth: np.ndarray | None = None) -> Figure:
    """Composition by depth: fit ± one and two standard errors, the prior's ± one in grey, the layers' share of the light.

    Args:
        band: What `profile_band` returns.
        species: The element whose fraction it is.
        truth: Composition that simulated data were made with, (layer,).
    """
    figure = Figure(figsize=(3.5, 3.2), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    z = band.depth
    for reach, alpha in ((2, 0.15), (1, 0.3)):
        low, high = band.value - reach * band.error, band.value + reach * band.error
        top.fill_between(z, np.clip(low, 0, 1), np.clip(high, 0, 1), color="tab:blue", alpha=alpha, linewidth=0)
    low, high = band.prior - band.prior_error, band.prior + band.prior_error
    top.fill_between(z, np.clip(low, 0, 1), np.clip(high, 0, 1), color="0.9", zorder=0, label="prior, one σ")
    top.plot(z, band.value, color="tab:blue", linewidth=1.2, label="fit, one and two σ")
    if truth is not None:
        top.plot(z, truth, "k--", linewidth=0.9, label="truth (simulated)")
    top.set_ylabel(f"fraction of {species}")
    top.set_ylim(-0.02, 1.02)
    top.legend(fontsize=7, frameon=False)
    below.bar(z, 100 * band.share, width=0.8, color="0.6")
    below.set_ylabel("light (%)")
    below.set_xlabel("depth (monolayers)")
    below.set_xlim(float(z[0]) - 0.5, float(z[-1]) + 0.5)
    return figure
