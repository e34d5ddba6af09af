"""Tables that share their bulk bands, and families with numbers that the network does not infer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bandjax as bj
from bandjax.learning.closed_loop import problem_of
from bandjax.learning.families import buried_sige, buried_sige_tables
from bandjax.learning.family import EXPOSURE, physical, standardised
from bandjax.learning.images import mean_image
from bandjax.learning.table_spread import Spread, bond_rows, spread_model, table_spread

FAMILY = buried_sige()
MARGINAL = dataclasses.replace(FAMILY, marginalised=("SiGe.offset", "eta"))


def test_drawn_tables_keep_the_valence_bands_near_gamma():
    spread = table_spread()
    table, crystal = bj.load_parameters("Si", spread.table), bj.zincblende("Si", a=5.431)
    own = [i for i, n in enumerate(spread.names) if n.startswith("Si.")]
    k = np.array([[0.0, 0.0, 0.0], [0.2, 0.2, 0.0], [0.4, 0.4, 0.1]])

    @jax.jit
    def bands(energies):
        named = {spread.names[i].removeprefix("Si."): energies[i] for i in own}
        return bj.bands(bj.tight_binding(crystal, table.replace(**named), spin_orbit=False), k)[:, 1:4]

    x = np.random.default_rng(3).standard_normal((6, spread.root.shape[1]))
    found = np.stack([np.asarray(bands(spread.mean + spread.root @ one)) for one in x])
    middle = np.asarray(bands(spread.mean))
    assert abs(middle[0, 2] - spread.valence_top) < 1e-3  # float32 of the process, or not
    # what `spread_tables` finds down to 2.6 eV: 0.03 eV rms, 0.06 eV the worst table; the deep band of the last k is outside
    assert np.sqrt(((found - middle)[:, :, 1:] ** 2).mean()) < 0.06
    moved = (spread.root @ x.T / spread.mean[:, None])[own]
    assert np.sqrt((moved**2).mean()) > 0.05


def test_integrals_of_the_bond_go_with_those_of_the_elements():
    spread = Spread("x", ("Si.sp", "Si.ss*", "Ge.sp", "Ge.ss*"), np.zeros(4), np.eye(4), 0.0, "")
    rows = bond_rows(spread, {"SiGe.sapc": 1.0, "SiGe.s*asc": 2.0, "SiGe.n_sp": 3.0, "SiGe.offset": 0.5, "Si.sp": 1.0})
    assert {n: r.tolist() for n, r in rows.items()} == {"SiGe.sapc": [0.5, 0, 0.5, 0], "SiGe.s*asc": [0, 0.5, 0, 0.5]}
    with pytest.raises(ValueError, match=r"must have Si\.pps for SiGe\.pps, but has none"):
        bond_rows(spread, {"SiGe.pps": 1.0})


def test_marginalised_numbers_are_drawn_and_fitted_but_not_inferred():
    assert set(FAMILY.names) - set(MARGINAL.names) == {"SiGe.offset", "eta"} and MARGINAL.drawn == FAMILY.drawn
    assert "SiGe.offset" not in MARGINAL.sample_names and MARGINAL.fingerprint != FAMILY.fingerprint
    assert MARGINAL.signals_fingerprint == FAMILY.signals_fingerprint
    values = jnp.array([[p.value + 0.3 * p.sigma for _, p in FAMILY.parameters]])
    exposure = {n: jnp.array([1.0]) for n in EXPOSURE}
    z = standardised(MARGINAL, values, exposure, jnp.array([20.0]))
    assert z.shape == (1, len(MARGINAL.names)) and np.allclose(z[0, : len(MARGINAL.inferred)], 0.3)
    shown = [v for n, v in zip(FAMILY.drawn, values[0], strict=True) if n not in MARGINAL.marginalised]
    assert np.allclose(physical(MARGINAL, z, jnp.array([20.0]))[0, : len(shown)], shown)
    assert MARGINAL.centre_of_marginalised == {"SiGe.offset": 0.68, "eta": 0.12}
    axes = {"kx": np.linspace(-0.6, 0.6, 8), "energy": np.linspace(-5.0, 0.2, 9)}
    image = xr.DataArray(
        np.ones((8, 9)), dims=tuple(axes), coords=axes, attrs={"photon_energy": 100.0, "fwhm_energy": 0.1}
    )
    assert set(MARGINAL.marginalised) < set(problem_of(image, MARGINAL, 30.0).parameters)


@pytest.mark.slow
def test_the_model_of_coordinates_is_that_of_their_table():
    spread, materials = table_spread(), ("Si", "Ge")
    table = bj.load_parameters(materials, spread.table)
    x = {f"table_{i}": 0.0 for i in range(spread.root.shape[1])} | {"table_2": 0.7}
    energies = dict(zip(spread.names, spread.mean + 0.7 * spread.root[:, 2], strict=True))
    moved = {n: float(v) - float(table[n]) for n, v in energies.items()}
    both = lambda n: (moved[f"Si.{n}"] + moved[f"Ge.{n}"]) / 2  # noqa: E731
    own = energies | {"SiGe.offset": 0.6}
    of_bond = {
        "ss": "ss", "sapc": "sp", "scpa": "sp", "sadc": "sd", "scda": "sd", "sas*c": "ss*", "s*asc": "ss*", "pps": "pps", "ppp": "ppp",
        "padcs": "pds", "pcdas": "pds", "padcp": "pdp", "pcdap": "pdp", "dds": "dds", "ddp": "ddp", "ddd": "ddd", "s*apc": "s*p",
        "s*cpa": "s*p", "s*adc": "s*d", "s*cda": "s*d", "s*s*": "s*s*",
    }  # fmt: skip
    own |= {f"SiGe.{bond}": float(table[f"SiGe.{bond}"]) + both(plain) for bond, plain in of_bond.items()}
    stack = {"fraction": 0.4, "upper": 0.5, "lower": 3.0, "interface": 0.5, "a_parallel": 5.44, "SiGe.offset": 0.6}
    found = jax.jit(spread_model(2, materials, spin_orbit=False))(stack | x)
    expected = jax.jit(bj.stack_model(table, 2, materials, spin_orbit=False))(stack | own)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.allclose(one, other, atol=1e-5)  # eV; single precision


def test_an_image_needs_the_marginalised_numbers():
    with pytest.raises(ValueError, match="must have no marginalised numbers"):
        mean_image(MARGINAL, (), jnp.zeros(11), None)


def test_the_family_of_many_tables_fits_what_it_draws():
    family = buried_sige_tables()
    assert len(family.marginalised) == 7 + table_spread().root.shape[1]
    assert not set(family.marginalised) & set(family.names)
    # what is no number of the instrument must be one of the model
    own = [n for n in family.drawn if n not in bj.photoemission.QUANTITIES]
    assert set(own) <= family.model_of.names
