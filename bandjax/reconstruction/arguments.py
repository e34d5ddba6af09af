"""Which options of `reconstruct_bands` go together, whatever the map."""

from collections.abc import Sequence
from typing import Any

from bandjax import checks
from bandjax.reconstruction.volumes import Bands


def check_options(
    posterior: str, sigma_pair: float | None, sigma_curvature: float | None, prior: Bands | None, sigma_prior: float | None,
    prior_modes: Sequence[Bands] | None, line: tuple[float, float] | None, background: int, fermi_edge: Any, momentum_scale: float,
    freedom: float | None, draws: int, noise_scale: float | str,
) -> None:  # fmt: skip
    """ValueError for options of `reconstruct_bands` that are no such thing, that need another, or that belong to the other posterior."""
    if prior_modes is not None and prior is None:
        raise ValueError(
            "Argument `prior_modes` needs `prior`, the surfaces to which they are added, but there are none."
        )
    if isinstance(noise_scale, str):
        checks.one_of("noise_scale", noise_scale, ("measure", "residual"))
    if noise_scale == "residual" and posterior == "published":
        raise ValueError(
            'Argument `noise_scale="residual"` belongs to posterior="counts", but `posterior` is "published".'
        )
    if draws and posterior == "published":
        raise ValueError('Argument `draws` belongs to posterior="counts", but `posterior` is "published".')
    if draws < 0:
        raise ValueError(f"Argument `draws` must be ≥ 0, but is {draws}.")
    widths = {"sigma_pair": sigma_pair, "sigma_curvature": sigma_curvature, "sigma_prior": sigma_prior}
    for name, value in {**widths, "momentum_scale": momentum_scale, "freedom": freedom}.items():
        if value is not None:
            checks.positive(name, value, "eV" if name in widths else "")
    if background < 1 or background != int(background):
        raise ValueError(f"Argument `background` must be a number of values ≥ 1, but is {background}.")
    if line is not None:
        checks.shape_is("line", line, (2,))
        checks.positive("line", line, "eV")
    if posterior == "published":
        only = {
            "sigma_curvature": sigma_curvature, "prior": prior, "sigma_prior": sigma_prior, "line": line, "fermi_edge": fermi_edge,
            "background": None if background == 1 else background, "freedom": None if freedom == 2 else freedom or "None",
        }  # fmt: skip
        given = [name for name, value in only.items() if value is not None]
        if given:
            raise ValueError(f'Argument `{given[0]}` belongs to posterior="counts", but `posterior` is "published".')
    if sigma_prior is not None and prior is None:
        raise ValueError("Argument `sigma_prior` needs `prior`, the surfaces about which it is, but there are none.")
