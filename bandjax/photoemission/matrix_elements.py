"""Plane-wave photoemission amplitudes with atomic form factors (being filled in)."""

import jax


def plane_wave_amplitude(lab, instrument, k) -> jax.Array:  # noqa: ANN001
    raise ValueError
