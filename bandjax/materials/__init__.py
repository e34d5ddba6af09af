"""Parameter tables as data files, and their loader."""

from bandjax.materials.elastic import Elastic, elastic_constants, interpolate, out_of_plane_constant
from bandjax.materials.files import package_file
from bandjax.materials.hydrogen import HYDROGEN
from bandjax.materials.load import Entry, list_parameters, load_parameters, load_table, table_of_data
from bandjax.materials.table import SHELLS, Bond, DistanceLaw, Integral, Table, TableSpec

__all__ = [
    "HYDROGEN",
    "SHELLS",
    "Bond",
    "DistanceLaw",
    "Elastic",
    "Entry",
    "Integral",
    "Table",
    "TableSpec",
    "elastic_constants",
    "interpolate",
    "list_parameters",
    "load_parameters",
    "load_table",
    "out_of_plane_constant",
    "package_file",
    "table_of_data",
]
