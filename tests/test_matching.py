"""A density of states as a target: values come back, whatever the zero of energy."""

import numpy as np
import pytest

import bandjax as bj
from bandjax.fingerprints import density

TABLE = bj.load_parameters("square", "single_orbital")
LATTICE = bj.square_lattice(3.9)
GRID = (16, 16, 1)
ENERGY = np.linspace(8.0, 12.4, 89)


def model_of(values):
    return bj.tight_binding(LATTICE, TABLE.replace(**values), spin_orbit=False)


def target(t, moved):
    levels = bj.model_levels(model_of({"t": t, "t'": -0.05}), grid=GRID)
    return np.asarray(density(levels._replace(energy=levels.energy + moved), ENERGY, smearing=0.1, cut=np.inf))


def start(t=0.3):
    return {
        "t": bj.Parameter(t, 0.05, 1.0, sigma=0.2),
        "t'": bj.Parameter(0.0, sigma=0.1),
        "epsilon": bj.Parameter(0.0, fixed=True),
    }


@pytest.mark.slow
def test_values_and_shift_come_back():
    """Made by the model itself (inverse crime), 10 eV away from its zero: from 25 % off to the truth, within what the priors pull."""
    found = bj.match_fingerprint(
        target(0.4, 10.0), ENERGY, model_of, start(), grid=GRID, sigma_mmd=(0.6, 0.15), noise=1e-4
    )
    assert found.converged and found.distance < 1e-3 < 0.05 < found.distance_before
    assert found.values["t"] == pytest.approx(0.4, abs=1e-3) and found.values["t'"] == pytest.approx(-0.05, abs=1e-3)
    assert found.shift == pytest.approx(-10.0, abs=2e-3)


def test_shape_alone():
    """Of a target in other units, and without a shift where none is needed."""
    parameters = start() | {"epsilon": bj.Parameter(10.0, fixed=True)}
    found = bj.match_fingerprint(
        7 * target(0.4, 10.0),
        ENERGY,
        model_of,
        parameters,
        grid=GRID,
        noise=1e-4,
        sigma_mmd=(0.3,),
        shape_only=True,
        shift=False,
    )
    assert found.shift == 0 and found.values["t"] == pytest.approx(0.4, abs=1e-3)


def test_bad_input():
    good = target(0.4, 10.0)
    for call, words in (
        (lambda: bj.match_fingerprint(good[:-1], ENERGY, model_of, start()), "must have shape"),
        (lambda: bj.match_fingerprint(good, ENERGY**2, model_of, start()), "equally spaced"),
        (lambda: bj.match_fingerprint(0 * good, ENERGY, model_of, start()), "target.sum()"),
        (lambda: bj.match_fingerprint(good * np.nan, ENERGY, model_of, start()), "finite"),
        (lambda: bj.match_fingerprint(good, ENERGY, model_of, start(2.0)), "within its bounds"),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert words in str(refused.value)
