"""Parameter tables as data files, and their loader."""

from bandjax.materials.load import Entry, list_parameters, load_parameters, load_table
from bandjax.materials.table import SHELLS, Bond, DistanceLaw, Integral, Table, TableSpec

__all__ = [
    "SHELLS",
    "Bond",
    "DistanceLaw",
    "Entry",
    "Integral",
    "Table",
    "TableSpec",
    "list_parameters",
    "load_parameters",
    "load_table",
]
