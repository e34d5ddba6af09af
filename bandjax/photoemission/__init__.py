"""From bands to the detector: kinematics, matrix elements, self-energy, resolution, background, image."""

from bandjax.photoemission.image import arpes_image, signal
from bandjax.photoemission.instrument import QUANTITIES, Instrument, Quantity, check_instrument, half_width
from bandjax.photoemission.pixels import Axes, as_axes
from bandjax.photoemission.plan import Plan, plan_image

__all__ = [
    "QUANTITIES",
    "Axes",
    "Instrument",
    "Plan",
    "Quantity",
    "arpes_image",
    "as_axes",
    "check_instrument",
    "half_width",
    "plan_image",
    "signal",
]
