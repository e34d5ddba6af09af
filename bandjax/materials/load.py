"""Loading parameter tables: the package's own, and a user's from a TOML or JSON file.

A file (the package's or a user's) holds one of three forms:

- `convention = "vogl sp3s*"` or `"two-centre sp3d5s*"` with `anion`, `cation`, `values`;
- `base = "InAs/boykin2004"` with the `values` to be changed;
- `convention = "general"` with `orbitals`, `values`, `onsite`, `spin_orbit`, `bonds` written out.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from bandjax.checks import nearest
from bandjax.materials import conventions
from bandjax.materials.compounds import compound_parts
from bandjax.materials.files import package_file
from bandjax.materials.hydrogen import HYDROGEN, hydrogen_parts
from bandjax.materials.pairs import pair_parts
from bandjax.materials.table import SHELLS, SYMMETRIES, Bond, DistanceLaw, Integral, Table, TableSpec

TABLES = (
    "vogl1983", "klimeck2000", "jancu1998", "boykin2004", "niquet2009", "pbe_sp3s", "pbe_sp3d5s", "pz", "single_orbital", "two_orbital",
)  # fmt: skip


class Entry(NamedTuple):
    """One table of one material, as `list_parameters` returns it."""

    material: str
    table: str
    orbitals: str
    values: int
    uncertain: int
    citation: str


def list_parameters(material: str | None = None) -> list[Entry]:
    """All (material, table) pairs of the package, or those of one material.

    Raises:
        ValueError: no table holds the material; the nearest name is given.
    """
    entries = []
    for name in TABLES:
        data = package_file(name)
        for found in data["materials"]:
            spec = load_parameters(found, name).spec
            shells = " ".join(dict.fromkeys("".join(s) for _, s in spec.orbitals))
            values = len(data["materials"][found]["values"])
            entries.append(Entry(found, name, shells, values, len(spec.state), spec.citation))
    if material is None:
        return entries
    chosen = [e for e in entries if e.material == material]
    if not chosen:
        raise ValueError(f"No table holds material {material!r}.{nearest(material, {e.material for e in entries})}")
    return chosen


def load_parameters(material: str | tuple[str, str], table: str) -> Table:
    """A published table as a pytree of named values.

    Args:
        material: "InAs", "Si", "graphene", …; a pair such as ("Si", "Ge") takes both elements and the
            bond between them, with value names prefixed ("Si.E_s", "SiGe.sapc"). Where the table has no such bond
            of its own (vogl1983, jancu1998) its integrals are the mean of the elements', at the mean bond length. A pair
            of compounds with a common anion, ("GaAs", "InAs"), takes both ("GaAs.E_sa", "InAs.V_ss").
            A last "H" adds hydrogen: ("Si", "H") and ("Si", "Ge", "H") of jancu1998, with the values "H.E_s", "SiH.ss", …
        table: "vogl1983", "klimeck2000" (sp3s*), "jancu1998", "boykin2004", "niquet2009" (sp3d5s*),
            "pbe_sp3s", "pbe_sp3d5s" (Si, Ge and the pair, refitted to first principles),
            "pz" (graphene, bilayer graphene, nanotube), "single_orbital", "two_orbital" (square, cubic, tetragonal).

    Returns:
        Values in eV (exponents and strain constants without unit). `table.spec` carries citation and the state
        of each value.

    Raises:
        ValueError: unknown table or material (the nearest name is given), or a pair that the table lacks.
    """
    if table not in TABLES:
        raise ValueError(
            f"Argument `table` must be one of {', '.join(TABLES)}, but is {table!r}.{nearest(table, TABLES)}"
        )
    return table_of_data(package_file(table), material)


def table_of_data(data: Mapping[str, Any], material: str | tuple[str, str]) -> Table:
    """One material or pair of a table file's content (the files of `bandjax/materials/data`, as `json.load` gives them).

    Raises:
        ValueError: the file lacks the material or the pair, or what is asked for is neither of both.
    """
    if not isinstance(material, str):
        elements: tuple[str, ...] = tuple(material)
        bare = elements[: elements.index(HYDROGEN)] if HYDROGEN in elements[1:] else elements
        if not 1 <= len(bare) <= 2 or len(elements) < 2:
            raise ValueError(
                f"Argument `material` must be a name, a pair of names, or either with 'H' last, but is {elements!r}."
            )
        if bare != elements:
            base = table_of_data(data, bare if len(bare) > 1 else next(iter(bare)))
            return _checked(*hydrogen_parts(data, elements, base))
        common = len(elements) == 2 and all(data["materials"].get(m, {"anion": m})["anion"] == m for m in elements)
        values, spec = (pair_parts if common else compound_parts)(data, elements)
        return _checked(values, spec)
    if material not in data["materials"]:
        known = ", ".join(data["materials"])
        raise ValueError(
            f"Table {data['name']} has no material {material!r}.{nearest(material, data['materials'])} It has {known}."
        )
    return _table(data["materials"][material], material, data)


def load_table(path: str | Path) -> Table:
    """A user's table from a TOML or JSON file; see the module's head and docs/materials.md for the three forms.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is neither TOML nor JSON, a key or value is missing, unknown or no number; the file,
            the key and what was found are named.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"File {path} must be {'JSON' if path.suffix == '.json' else 'TOML'}, but {error}.") from error
    try:
        return _user_table(data, path.stem)
    except KeyError as error:
        raise ValueError(f"File {path}: key {error.args[0]!r} is missing.") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"File {path}: {error}") from error


def _user_table(data: Mapping[str, Any], stem: str) -> Table:
    allowed = {"name", "material", "citation", "base", "convention", "anion", "cation", "lattice_constant", "values"}
    allowed |= {"uncertain", "orbitals", "onsite", "spin_orbit", "bonds", "note"}
    for key in data:
        if key not in allowed:
            raise ValueError(f"key {key!r} is not known.{nearest(key, allowed)}")
    if not isinstance(data["values"], Mapping):
        raise ValueError(f"`values` must be a section of names and numbers, but is {data['values']!r}.")
    for name, value in data["values"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"value {name!r} must be a number, but is {value!r}.")
    name, material = data.get("name", stem), data.get("material", stem)
    if "base" in data:
        base_material, _, base_name = str(data["base"]).rpartition("/")
        base = load_parameters(base_material, base_name)
        for value in data["values"]:
            if value not in base.values:
                raise ValueError(f"base {data['base']} has no value {value!r}.{nearest(value, base.values)}")
        return base.replace(**data["values"])
    if "convention" not in data:
        raise ValueError('one of the keys "base" or "convention" must be given, but neither is.')
    entry = {"uncertain": {}, "lattice_constant": None, **data}
    return _table(
        entry,
        material,
        {"name": name, "convention": data["convention"], "citation": data.get("citation", "user's table")},
    )


def _table(entry: Mapping[str, Any], material: str, data: Mapping[str, Any]) -> Table:
    """One material's entry of a file, whatever its convention."""
    values = dict(entry["values"])
    convention = data["convention"]
    if convention == "general":
        parts, laws = _general(entry), ()
    elif convention in ("vogl sp3s*", "two-centre sp3d5s*"):
        build = conventions.vogl_sp3s if convention == "vogl sp3s*" else conventions.sp3d5s
        parts = build(entry["anion"], entry["cation"], values)
        pair, integrals = parts.pop("bond")
        parts["bonds"] = (conventions.zincblende_bond(pair, integrals, entry["lattice_constant"]),)
        laws = _laws(data.get("distance_laws", {}).get(material, {}), parts["bonds"], values)
        parts["neighbours"] = tuple((species, 4) for species, _ in parts["orbitals"])
    else:
        raise ValueError(f"convention must be 'vogl sp3s*', 'two-centre sp3d5s*' or 'general', but is {convention!r}.")
    spec = TableSpec(
        name=data["name"],
        material=material,
        citation=entry.get("citation", data.get("citation", "")),
        species=tuple(s for s, _ in parts["orbitals"]),
        lattice_constant=entry["lattice_constant"],
        laws=laws,
        state=tuple(entry["uncertain"].items()),
        note=entry.get("note", ""),
        **parts,
    )
    return _checked(values, spec)


def _checked(values: Mapping[str, float], spec: TableSpec) -> Table:
    """The table, if every value that the Hamiltonian needs is there."""
    used = [c for _, _, c in spec.onsite + spec.spin_orbit] + [i.value for b in spec.bonds for i in b.integrals]
    missing = sorted({name for combination in used for name, _ in combination if name not in values})
    if missing:
        raise ValueError(
            f"value {missing[0]!r} is missing from table {spec.name} of {spec.material}.{nearest(missing[0], values)}"
        )
    return Table({name: jnp.asarray(float(v)) for name, v in values.items()}, spec)


def _laws(laws: Mapping[str, Any], bonds: tuple[Bond, ...], values: dict[str, float]) -> tuple[DistanceLaw, ...]:
    """Distance laws of a single material; adds their exponents and strain constants to `values`."""
    out = []
    species = bonds[0].pair[0]
    for name, law in laws.items():
        mark = "" if name == "table" else f"{name}."
        values |= {f"{mark}n_{key}": exponent for key, exponent in law["exponents"].items()}
        values |= {f"{mark}{key}": constant for key, constant in law.get("onsite", {}).items()}
        names = tuple(f"{mark}n_{conventions.exponent_name(i)}" for i in bonds[0].integrals)
        out.append(
            DistanceLaw(
                name=name,
                exponents=((bonds[0].pair, names),),
                onsite_form=law.get("onsite_form"),
                onsite_values=((species, tuple((key, mark + key) for key in law.get("onsite", {}))),),
                energy_shift=((species, law["energy_shift"]),) if "energy_shift" in law else (),
            )
        )
    return tuple(out)


def _general(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Orbitals, on-site energies, spin-orbit and bonds written out in the file."""
    orbitals = tuple((species, tuple(shells)) for species, shells in entry["orbitals"].items())
    for species, shells in orbitals:
        for shell in shells:
            if shell not in SHELLS:
                raise ValueError(f"orbital of {species} must be one of {', '.join(SHELLS)}, but is {shell!r}.")

    def blocks(key: str) -> tuple:
        out = []
        for species, shells in entry.get(key, {}).items():
            for shell, combination in shells.items():
                if shell not in dict(orbitals).get(species, ()):
                    raise ValueError(f"{key} names orbital {shell!r} of {species!r}, which `orbitals` lacks.")
                out.append((species, shell, tuple((n, float(f)) for n, f in combination.items())))
        return tuple(out)

    bonds = []
    for bond in entry["bonds"]:
        integrals = []
        for integral in bond["integrals"]:
            if integral["symmetry"] not in SYMMETRIES:
                raise ValueError(f"symmetry must be one of {', '.join(SYMMETRIES)}, but is {integral['symmetry']!r}.")
            combination = tuple((n, float(f)) for n, f in integral["value"].items())
            shell_i, shell_j = integral["shells"]
            integrals.append(Integral(shell_i, shell_j, integral["symmetry"], combination))
        first, second = bond["pair"]
        bonds.append(Bond((first, second), bond["length"], tuple(integrals)))
    return {"orbitals": orbitals, "onsite": blocks("onsite"), "spin_orbit": blocks("spin_orbit"), "bonds": tuple(bonds)}
