"""Maps in and results out: measured photoemission maps from the files that groups have, and NetCDF written safely."""

from bandjax.io.collections import read_collection, write_collection
from bandjax.io.energies import to_fermi
from bandjax.io.formats import FORMATS, recognise
from bandjax.io.maps import check_map, standardise
from bandjax.io.read import read
from bandjax.io.write import write_atomically, write_map

__all__ = [
    "FORMATS", "check_map", "read", "read_collection", "recognise", "standardise", "to_fermi", "write_atomically",
    "write_collection", "write_map",
]  # fmt: skip
