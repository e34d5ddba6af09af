"""Eigenvalues of stacks, an alloy and a hydrogenated slab by NanoNet, written to tests/data/stacks_nanonet.json.

NanoNet (PyPI nano-net) rotates two-centre integrals by Wigner matrices (Podolskiy and Vogl, Phys. Rev. B 69, 233101
(2004)), sums Bloch phases over virtual atoms and adds its own spin-orbit blocks; it shares no line with the package. Its
search for virtual atoms misses some in leaning cells and is completed here. What it is given is made in a few lines:
positions (biaxial strain after the elastic constants), integrals at each bond's length V(d) = V(d0) (d0/d)^n from the
printed tables, and on-site energies. NanoNet has diagonal on-site energies only, so on-site strain terms are not covered:
tables that have them are taken at Harrison's exponents.

Run it in an environment of its own, from the root of the repository; it takes two minutes and ran with nano-net 1.3.12,
numpy 2.5.5, setuptools 79 (NanoNet needs pkg_resources), Python 3.12.1:

    python -m venv venv-nanonet && venv-nanonet/bin/pip install "nano-net==1.3.12" "setuptools<80"
    venv-nanonet/bin/python tests/regenerate/stacks_nanonet.py
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
from nanonet.tb import Hamiltonian, Orbitals, tb_params
from nanonet.tb.structure_designer import CyclicTopology
from nanonet.verbosity import set_verbosity

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "bandjax" / "materials" / "data"
OUT = ROOT / "tests" / "data" / "stacks_nanonet.json"
LEVELS = {"Si": {"s": 3, "s*": 4, "p": 3, "d": 3}, "Ge": {"s": 5, "s*": 6, "p": 5, "d": 5}, "H": {"s": 0}}
MAGNETIC = {"s": (0,), "s*": (0,), "p": (-1, 1, 0), "d": (-2, -1, 0, 1, 2)}
TITLES = {"s": ("s",), "s*": ("s*",), "p": ("px", "py", "pz"), "d": ("d1", "d2", "d3", "d4", "d5")}
ORBITAL_NUMBER = {"s": 0, "s*": 0, "p": 1, "d": 2}
ORDER = ("s", "s*", "p", "d")
SYMMETRY = {"s": "sigma", "p": "pi", "d": "delta"}

K = [[0.0, 0.0, 0.0], [0.11, -0.23, 0.37], [0.4, 0.1, -0.2]]


def read(name):
    return json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))


# ---- two-centre integrals, as numbers -----------------------------------------------------------------------------


def from_vogl(v, pair):
    """{(shell on a, shell on b, symmetry): eV} from Vogl's matrix elements."""
    sp, ps, stp, pst = ("V_sapc", "V_scpa", "V_s*apc", "V_pas*c") if pair else ("V_sp", "V_sp", "V_s*p", "V_s*p")
    r = math.sqrt(3) / 4
    out = {("s", "s", "sigma"): v["V_ss"] / 4}
    out["p", "p", "sigma"] = (v["V_xx"] + 2 * v["V_xy"]) / 4
    out["p", "p", "pi"] = (v["V_xx"] - v["V_xy"]) / 4
    out["s", "p", "sigma"], out["p", "s", "sigma"] = r * v[sp], r * v[ps]
    out["s*", "p", "sigma"], out["p", "s*", "sigma"] = r * v[stp], r * v[pst]
    return out


def from_two_centre(v, pair):
    """The same from a table of two-centre integrals; a is the "anion" of a pair's names."""
    out = {}
    for a in ORDER:
        for b in ORDER:
            for letter, symmetry in SYMMETRY.items():
                last = letter if a in "pd" and b in "pd" else ""
                if (not last and letter != "s") or (letter == "d" and (a, b) != ("d", "d")):
                    continue
                left, right = (a, b) if ORDER.index(a) <= ORDER.index(b) else (b, a)
                name = left + right + last
                if pair and a != b:  # as printed: sas*c and s*asc, else the lower shell first with its site
                    if {a, b} == {"s", "s*"}:
                        name = f"{a}a{b}c"
                    else:
                        name = (f"{a}a{b}c" if left == a else f"{b}c{a}a") + last
                out[a, b, symmetry] = v[name]
    return out


def exponent(law, a, b, symmetry):
    """Published exponent of a channel; 2 without a law."""
    if law is None:
        return 2.0
    left, right = sorted((a, b), key=ORDER.index)
    letter = {"sigma": "s", "pi": "p", "delta": "d"}[symmetry] if left in "pd" else ""
    return law[left + right + letter]


class Model:
    """Numbers of one table for Si, Ge and their bond."""

    def __init__(self, name, own_law):
        data = read(name)
        self.sp3s = data["convention"] == "vogl sp3s*"
        convert = from_vogl if self.sp3s else from_two_centre
        self.energy, self.delta, self.bond, self.law = {}, {}, {}, {}
        pair = data["pairs"]["SiGe"]
        for element in ("Si", "Ge"):
            v = data["materials"][element]["values"]
            shift = pair["band_offset_of_second"] if element == "Ge" else 0.0
            shells = ("s", "p", "s*") if self.sp3s else ("s", "p", "d", "s*")
            self.energy[element] = {s: v[f"E_{s}"] + shift for s in shells}
            self.delta[element] = v["Delta"] if self.sp3s else 3 * v["lambda"]
            length = math.sqrt(3) / 4 * data["materials"][element]["lattice_constant"]
            self.bond[element, element] = length, convert(v, False)
            if own_law:
                self.law[element, element] = next(iter(data["distance_laws"][element].values()))["exponents"]
        if "values" in pair:
            self.bond["Si", "Ge"] = pair["length"], convert(pair["values"], True)
            if own_law:
                self.law["Si", "Ge"] = pair["exponents"]
        else:
            (d1, v1), (d2, v2) = self.bond["Si", "Si"], self.bond["Ge", "Ge"]
            self.bond["Si", "Ge"] = (d1 + d2) / 2, {c: (v1[c] + v2[c]) / 2 for c in v1}

    def at(self, pair, distance):
        """{channel: eV} at a distance."""
        length, values = self.bond[pair]
        return {c: v * (length / distance) ** exponent(self.law.get(pair), *c) for c, v in values.items()}


# ---- NanoNet --------------------------------------------------------------------------------------------------------


def label(pair, channel):
    """NanoNet's name of a channel: principal number and letter of each shell, the lower l first."""
    (a, b, symmetry), (na, nb) = channel, (LEVELS[p][s] for p, s in zip(pair, channel[:2], strict=True))
    la, lb = ORBITAL_NUMBER[a], ORBITAL_NUMBER[b]
    if (la, na) > (lb, nb):
        (la, na), (lb, nb) = (lb, nb), (la, na)
    return f"{na or ''}{'spd'[la]}{nb or ''}{'spd'[lb]}_{symmetry}"


class PerSpecies(Hamiltonian):
    """NanoNet has one spin-orbit constant; this hands it that of the atom at hand."""

    delta = None

    def _comp_so(self, atom, first, second):
        self.so_coupling = self.delta[atom.title]
        return super()._comp_so(atom, first, second)


class EveryImage(CyclicTopology):
    """NanoNet looks for the atoms at the faces of the cell, which fails where it leans; here all atoms have images."""

    def _generate_atom_list(self, labels, coords):
        coords = np.asarray(coords)
        self.interfacial_atoms_ind = list(range(len(coords)))
        for at, (name, place) in enumerate(zip(labels, coords, strict=True)):
            self.virtual_and_interfacial_atoms[f"{at}_{name}"] = place
        for step in shifts(self.pcv):
            for at, (name, place) in enumerate(zip(labels, coords + step, strict=True)):
                if 0.1 < np.linalg.norm(coords - place, axis=1).min() < self._nn_distance:
                    number = len(self.virtual_and_interfacial_atoms)
                    self.virtual_and_interfacial_atoms[f"*_{number}_{at}_{name}"] = place


def eigenvalues(symbols, positions, cell, model, spin, ks):
    """By NanoNet; `cell` may hold two vectors for a slab."""
    Orbitals.orbital_sets = {}
    for species in dict.fromkeys(symbols):
        orbitals = Orbitals(species)
        for s in (0, 1) if spin else (0,):
            for shell, energy in model.energy[species].items():
                l, n = ORBITAL_NUMBER[shell], LEVELS[species][shell]  # noqa: E741
                for title, m in zip(TITLES[shell], MAGNETIC[shell], strict=True):
                    orbitals.add_orbital(title, energy=energy, principal=n, orbital=l, magnetic=m, spin=s)
    # NanoNet counts in which shell of distances a pair lies: here every distance is a shell; number 100 means none
    found = sorted(distances(positions, cell))
    middles = [(a + b) / 2 for a, b in itertools.pairwise(found)]
    shells = [*middles[:99], *middles[98:99], *middles[99:], found[-1] + 0.05]
    for distance in found:
        number = sum(distance > s for s in shells) + 1
        assert number != 100
        setattr(tb_params, f"PARAMS_H_H{number}", {})  # two hydrogens do not bond
        for pair in model.bond:
            values = {label(pair, c): v for c, v in model.at(pair, distance).items()}
            name = "_".join(sorted(p.upper() for p in pair))
            setattr(tb_params, f"PARAMS_{name}{number}", values)
    places = enumerate(zip(symbols, positions, strict=True))
    lines = [f"{s}{at} {x:.17g} {y:.17g} {z:.17g}" for at, (s, (x, y, z)) in places]
    xyz = f"{len(symbols)}\n\n" + "\n".join(lines)
    h = PerSpecies(xyz=xyz, nn_distance=shells, so_coupling=1.0 if spin else 0.0)
    h.delta = model.delta
    h.initialize()
    h.ct = EveryImage(np.asarray(cell).tolist(), list(h.atom_list), list(h.atom_list.values()), h._nn_distance)
    return [h.diagonalize_periodic_bc(k)[0] for k in ks]


def shifts(cell):
    """Lattice vectors to all neighbouring cells."""
    steps = np.array(np.meshgrid(*[[-1, 0, 1]] * len(cell))).reshape(len(cell), -1).T
    return steps[np.any(steps != 0, axis=1)] @ np.asarray(cell)


def distances(positions, cell, reach=2.75):
    """All different bond lengths."""
    steps = np.concatenate([np.zeros((1, 3)), shifts(cell)])
    d = np.linalg.norm(positions[None, :, None] + steps[None, None] - positions[:, None, None], axis=-1)
    d = np.sort(d[(d > 0.1) & (d < reach)])
    return d[np.concatenate([[True], np.diff(d) > 1e-7])]


# ---- structures -----------------------------------------------------------------------------------------------------


def stack(layers, a):
    """Symbols, positions, cell of a (001) superlattice on an in-plane constant a."""
    constants = read("elastic")["materials"]
    kinds = [("Si", "Ge")[i % 2] for i, n in enumerate(layers) for _ in range(n)]
    height = []
    for kind in kinds:
        c = constants[kind]
        parallel = a / c["lattice_constant"] - 1
        height.append(c["lattice_constant"] * (1 - 2 * c["c12"] / c["c11"] * parallel))
    pairs = zip(height, height[1:] + height[:1], strict=True)
    z = np.concatenate([[0], np.cumsum([(p + q) / 8 for p, q in pairs])])
    lateral = a * np.array([[0, 0], [0.25, 0.25], [0.5, 0], [0.75, 0.25]])
    n = len(kinds)
    positions = np.column_stack([lateral[np.arange(n) % 4], z[:n]])
    lean = a / 2 if n % 4 == 2 else 0.0
    return kinds, positions, np.array([[a / 2, a / 2, 0], [-a / 2, a / 2, 0], [lean, 0, z[n]]])


def alloy():
    """64 atoms in a box strained three ways, every atom off its site."""
    random = np.random.default_rng(7)
    box = 2 * np.array([5.52, 5.58, 5.49])
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    cube = np.concatenate([corners, corners + 0.25])
    cells = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    positions = (cube[None] + cells[:, None]).reshape(-1, 3) / 2 * box + random.normal(scale=0.04, size=(64, 3))
    symbols = np.array(["Si"] * 64)
    symbols[random.permutation(64)[:32]] = "Ge"
    return list(symbols), np.round(positions, 6), np.diag(box)


def hydrogenated(layers, bond, a=5.43):
    """A Si(001) slab, two hydrogens along the missing bonds of either end, and its two lattice vectors."""
    kinds, positions, cell = stack((layers,), a)
    below = np.array([[1, -1, -1], [-1, 1, -1]]) / math.sqrt(3)
    above = np.array([[[1, 1, 1], [-1, -1, 1]], [[1, -1, 1], [-1, 1, 1]]][(layers - 1) % 2]) / math.sqrt(3)
    positions = np.concatenate([positions, positions[0] + bond * below, positions[-1] + bond * above])
    return [*kinds, *["H"] * 4], positions, cell[:2]


def with_hydrogen(model, bond):
    """The integrals of Si-H that NanoNet ships."""
    shipped = tb_params.PARAMS_H_SI
    model.energy["H"], model.delta["H"] = {"s": 0.9998}, 0.0
    integrals = {
        ("s", "s", "sigma"): shipped["ss_sigma"],
        ("s*", "s", "sigma"): shipped["s1s_sigma"],
        ("p", "s", "sigma"): shipped["sp_sigma"],
        ("d", "s", "sigma"): shipped["sd_sigma"],
    }
    model.bond["Si", "H"] = bond, integrals
    return model


def main():
    set_verbosity(0)
    cases = []

    def add(name, table, own_law, spin, structure, ks=K, model=None, **more):
        symbols, positions, cell = structure
        found = eigenvalues(symbols, positions, cell, model or Model(table, own_law), spin, ks)
        law = "table" if own_law else "harrison"
        levels = [[float(f"{e:.11f}") for e in row] for row in found]
        case = {"name": name, "table": table, "distance_law": law, "spin_orbit": spin, **more, "k": ks}
        cases.append({**case, "eigenvalues": levels})
        print(name, table, len(symbols), "atoms", len(found[0]), "levels", flush=True)

    for layers in ((1, 1), (2, 2), (3, 5), (4, 4), (1, 3, 2, 2)):
        name = "Si" + "/".join(map(str, layers))
        add(name, "vogl1983", False, True, stack(layers, 5.431), layers=layers)
        add(name, "boykin2004", True, layers == (1, 1), stack(layers, 5.431), layers=layers)
    add("Si1/1", "jancu1998", False, True, stack((1, 1), 5.431), layers=(1, 1))
    add("Si2/4", "niquet2009", False, True, stack((2, 4), 5.431), layers=(2, 4))
    symbols, positions, cell = alloy()
    about = {"symbols": "".join(symbols), "positions": positions.tolist(), "cell": cell.tolist()}
    add("alloy", "vogl1983", False, True, alloy(), K[1:2], **about)
    add("alloy", "boykin2004", True, False, alloy(), K[1:2])
    capped = with_hydrogen(Model("jancu1998", False), 1.48)
    add("slab", "jancu1998", False, True, hydrogenated(5, 1.48), K[:2], capped, layers=(5,), hydrogen=1.48)
    OUT.parent.mkdir(exist_ok=True)
    rows = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f'{{"made_by": "nano-net 1.3.12, tests/regenerate/stacks_nanonet.py",\n"cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
