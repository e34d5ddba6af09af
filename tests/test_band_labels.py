"""Which band is which: labels by their coordinate, and sentences where a surface may have left its own."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.special import voigt_profile

from bandjax import reconstruct_bands
from bandjax.reconstruction.labels import label_sentences
from bandjax.reconstruction.volumes import volume_of

K, ENERGY = np.linspace(-1, 1, 61), np.linspace(-1.5, 0.3, 120)
STEEP, FLAT = 0.9 * K - 0.32, 0.45 * K - 0.55  # they cross at k = −0.51


def cut(*bands):
    """60 counts a line on a background of 3, simulated."""
    lines = (voigt_profile(ENERGY - b[:, None], 0.06, 0.04) / voigt_profile(0, 0.06, 0.04) for b in bands)
    drawn = np.random.default_rng(0).poisson(60 * sum(lines) + 3).astype(float)
    return xr.DataArray(drawn, dims=("kx", "energy"), coords={"kx": K, "energy": ENERGY})


def told(start, found):
    return label_sentences(np.stack(start)[..., None], np.stack(found)[..., None], volume_of(cut(STEEP, FLAT)))


def test_labels_that_were_swapped_are_told_of():
    beyond = np.where(K > 0.2, FLAT, STEEP), np.where(K > 0.2, STEEP, FLAT)
    sentences = [s for s in told((STEEP - 0.2, FLAT - 0.2), beyond) if "labels may be swapped" in s]
    assert sentences and "kx = 0.2" in sentences[0] and "to 1)" in sentences[0]


@pytest.mark.parametrize(
    "start", [(STEEP, FLAT), (STEEP - 0.2, FLAT - 0.2), (0.8 * STEEP, 0.8 * FLAT), (STEEP + 0.1, FLAT - 0.1)]
)
def test_a_start_that_is_only_off_is_not_called_a_swap(start):
    assert [s for s in told(start, (STEEP, FLAT)) if "swapped" in s] == []


def test_a_start_beyond_the_window_is_told_of():
    (sentence,) = told((STEEP, FLAT), (STEEP, FLAT))
    outside = int((STEEP > 0.3).sum())
    assert f"start of band 0 lies outside the energy window at {outside} of 61 points" in sentence
    assert told((np.minimum(STEEP, 0.25), FLAT), (np.minimum(STEEP, 0.25), FLAT)) == []


@pytest.mark.slow
def test_a_flat_sketch_swaps_the_labels_and_the_report_says_so():
    """The steep line leaves the window; a sketch that stays inside takes the other line to the left of the crossing."""
    data = cut(STEEP, FLAT)
    good = reconstruct_bands(data, np.stack([STEEP - 0.1, FLAT]), errors=False)
    bad = reconstruct_bands(data, np.stack([-0.4 + 0.1 * K, FLAT]), errors=False)
    assert np.abs(good.energy - np.stack([STEEP, FLAT])).max() < 0.05
    assert not any("swapped" in s for s in good.report)
    assert np.abs(bad.energy - np.stack([STEEP, FLAT])).max() > 0.1 and any("swapped" in s for s in bad.report)
    assert any("swapped" in s for s in json.loads(bad.dataset.attrs["report"]))


def surfaces(*bands, labels):
    return xr.DataArray(np.stack(bands), dims=("band", "kx"), coords={"band": list(labels), "kx": K})


GIVEN = {"line": (0.06, 0.04), "sigma_curvature": 0.005, "freedom": None, "errors": False, "sigma_prior": 0.02}


@pytest.mark.slow
def test_bands_are_taken_by_their_coordinate():
    """A prior in another order, and one of other bands; the result has the start's names."""
    data = cut(STEEP, FLAT)
    start = surfaces(STEEP, FLAT, labels=("steep", "flat"))
    found = reconstruct_bands(data, start, prior=start.isel(band=[1, 0]), **GIVEN)
    assert list(found.energy["band"].values) == ["steep", "flat"] == list(found.dataset["height"]["band"].values)
    assert np.abs(found.energy.sel(band="flat") - FLAT).max() < 0.05
    with pytest.raises(ValueError, match=r"`prior` must have the bands steep, flat of `initial`.*but has 0, 1"):
        reconstruct_bands(data, start, prior=surfaces(STEEP, FLAT, labels=(0, 1)), **GIVEN)
    with pytest.raises(ValueError, match="must name every band differently, but holds"):
        reconstruct_bands(data, surfaces(STEEP, FLAT, labels=(0, 0)))


@pytest.mark.parametrize("option", [{"background": 3}, {"fermi_edge": np.ones(120)}, {"freedom": None}])
def test_options_of_the_counting_posterior_are_no_options_of_the_published(option):
    with pytest.raises(ValueError, match=f'`{next(iter(option))}` belongs to posterior="counts"'):
        reconstruct_bands(cut(FLAT), FLAT[None], posterior="published", sigma_pair=1.0, **option)
