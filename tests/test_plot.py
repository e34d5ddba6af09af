"""Figures exist, are not blank, and say what their energies are counted from."""

import json

import numpy as np
import pytest
import xarray as xr

from bandjax import plot


def dataset(volume: bool = False) -> xr.Dataset:
    """A result as a fit writes it, without a fit."""
    rng = np.random.default_rng(0)
    dims = ("ky", "kx", "energy") if volume else ("kx", "energy")
    shape = (6, 20, 30) if volume else (20, 30)
    axes = {"ky": np.linspace(-0.2, 0.2, 6), "kx": np.linspace(-1, 1, 20), "energy": np.linspace(-2, 0.2, 30)}
    model = 10 + 50 * np.exp(-((axes["energy"] + axes["kx"][:, None] ** 2 + 0.5) ** 2) / 0.02)
    model = np.broadcast_to(model, shape)
    data = rng.poisson(model).astype(float)
    data[..., 3] = np.nan
    out = xr.Dataset(
        {"data": (dims, data), "model": (dims, model), "residual": (dims, (data - model) / np.sqrt(model))},
        coords={d: axes[d] for d in dims},
        attrs={"maps": json.dumps(["map"]), "model": "test", "reduced_chi2": 1.0, "converged": 1},
    )
    out["band_energy"] = (("kx", "band"), -0.5 - axes["kx"][:, None] ** 2 * np.ones((1, 2)))
    names = ["V_xx", "eta", "gain"]
    out = out.assign_coords(parameter=names, parameter_1=names, parameter_2=names)
    for name, values in (
        ("value", [1.7, 0.1, 50]),
        ("standard_error", [0.1, 0.01, 1.0]),
        ("prior_sigma", [0.2, 0.05, np.inf]),
    ):
        out[name] = ("parameter", values)
    for name, values in (("bootstrap_error", [0.1, np.nan, 1]), ("pull", [0.3, -2.0, np.nan]), ("free", [1, 1, 1])):
        out[name] = ("parameter", values)
    out["unit"] = ("parameter", np.array(["eV", "eV", "counts"], dtype=object))
    out["covariance"] = (("parameter_1", "parameter_2"), np.diag([0.01, 1e-4, 1.0]))
    return out


def pixels(figure, tmp_path) -> np.ndarray:
    import matplotlib.image

    figure.savefig(tmp_path / "figure.png", dpi=60)
    return matplotlib.image.imread(tmp_path / "figure.png")[..., :3]


@pytest.mark.parametrize("make", [plot.plot_fit, plot.plot_curves, plot.plot_parameters, plot.plot_correlation])
def test_a_figure_is_drawn(make, tmp_path):
    image = pixels(make(dataset()), tmp_path)
    assert (image < 0.9).any(axis=-1).mean() > 0.02
    assert np.unique((image * 255).astype(int).reshape(-1, 3), axis=0).shape[0] > 30  # grey panels alone have a few


def test_data_and_model_have_the_same_colours_and_the_residual_is_symmetric():
    figure = plot.plot_fit(dataset())
    data, model, residual = (a.collections[0].get_clim() for a in figure.axes[:3])
    assert data == model
    assert residual[0] == -residual[1]
    assert len(figure.axes[0].lines) == 2  # the bands


def test_a_volume_is_shown_at_its_central_slices(tmp_path):
    figure = plot.plot_fit(dataset(volume=True))
    titles = [a.get_title() for a in figure.axes]
    assert any("kx =" in t for t in titles) and any("energy =" in t for t in titles)


def test_bands_say_what_the_energies_are_counted_from(tmp_path):
    energy = np.stack([-np.linspace(0, 1, 30) + 3.0, np.linspace(0, 1, 30) + 4.0], axis=1)
    figure = plot.plot_bands(np.linspace(0, 1, 30), energy, [(0.0, "Γ"), (1.0, "X")], n_valence=1)
    axis = figure.axes[0]
    assert "valence-band top" in axis.get_ylabel()
    assert max(axis.lines[0].get_ydata()) == pytest.approx(0.0)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["Γ", "X"]
    assert "table's scale" in plot.plot_bands(np.linspace(0, 1, 30), energy, []).axes[0].get_ylabel()
