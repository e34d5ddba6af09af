"""What may be written after `bandjax`: its commands, their options and examples."""

import argparse
from typing import Any

from bandjax.fingerprints import KERNELS, METRICS
from bandjax.fingerprints.collection import PER

EXAMPLES = """Examples:
  bandjax demo --out demo/                                  fit a bundled simulated map
  bandjax init-config map.nc --material InAs -o fit.toml    write a commented configuration
  bandjax fit map.nc -c fit.toml -o out/                    fit it
  bandjax report out/result.nc                              read the result again
Each command teaches itself: bandjax fit --help
"""


def make_parser() -> argparse.ArgumentParser:
    """Of the whole command line; `run` is the name of the command."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "bandjax",
        description="Tight-binding Hamiltonians from photoemission maps.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, short: str, long: str) -> Any:
        one = commands.add_parser(
            name, help=short, description=short[0].upper() + short[1:] + ".", epilog=long, formatter_class=raw
        )
        one.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        one.set_defaults(run=name)
        return one

    one = command("materials", "list the parameter tables, or one material's values",
        "bandjax materials            every material and table, with its source\n"
        "bandjax materials InAs       the values of each table of InAs, in eV")  # fmt: skip
    one.add_argument("name", nargs="?", metavar="NAME", help="a material, such as InAs")
    one.add_argument("--table", help="only this table")

    one = command("bands", "bands of a material along a path",
        "bandjax bands InAs --table boykin2004 --path LGX -o bands.png\n"
        "Energies are relative to the valence-band top of the path where the filling is known.")  # fmt: skip
    one.add_argument("material")
    one.add_argument("--table", help="parameter table (default: the last that `bandjax materials` lists)")
    one.add_argument("--path", help="labels of the lattice, G for Γ (default: LGX, or GKM in two dimensions)")
    one.add_argument("--points", type=int, default=120, help="wave vectors along the path (default: 120)")
    one.add_argument("-o", "--output", metavar="FIG", help="figure to write (png, pdf, svg)")

    one = command("simulate", "make a map with counting noise from a configuration",
        "The same configuration serves a fit; the axes come from its section [simulate],\n"
        "  [simulate]\n  kx = [-0.9, 0.9, 60]        # low, high, number of pixels\n  energy = [-6.0, 0.3, 90]\n"
        "or from a map (--like map.nc). The file says `simulated`.")  # fmt: skip
    one.add_argument("-c", "--config", required=True, metavar="TOML")
    one.add_argument("-o", "--output", required=True, metavar="MAP", help="NetCDF file to write")
    one.add_argument("--like", metavar="MAP", help="take the axes from this map")
    one.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    one.add_argument("--no-noise", action="store_true", help="write the mean instead of counts")

    one = command("init-config", "write a commented configuration for a map",
        "bandjax init-config map.nc --material InAs --table boykin2004 -o fit.toml\n"
        "Window, bins, normal emission and Fermi level are chosen from the map; the file runs as it is.")  # fmt: skip
    one.add_argument("map", metavar="MAP")
    one.add_argument("--material", required=True, help="such as InAs; `bandjax materials` lists them")
    one.add_argument("--table", help="parameter table (default: the last that `bandjax materials` lists)")
    one.add_argument("--variable", help="which map, where the file holds several")
    one.add_argument("-o", "--output", default="fit.toml", metavar="TOML", help="file to write (default: fit.toml)")

    one = command("fit", "fit a measured map",
        "bandjax fit map.nc -c fit.toml -o out/\n"
        "Writes out/result.nc (data, model, residual, parameters, covariance, bands, provenance), fit.png,\n"
        "parameters.png, correlation.png, curves.png and report.txt. While it runs out/state.npz keeps its state:\n"
        "a fit that was interrupted goes on with --resume. Several maps: one [[maps]] section each, in this order.")  # fmt: skip
    one.add_argument("map", nargs="*", metavar="MAP", help="the map; none where the configuration names its files")
    one.add_argument("-c", "--config", required=True, metavar="TOML", help="from `bandjax init-config`")
    one.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    one.add_argument("--resume", action="store_true", help="go on from out/state.npz where there is one")
    one.add_argument("--quiet", action="store_true", help="no progress bar")

    one = command("report", "print what a fit found", "bandjax report out/result.nc")
    one.add_argument("result", metavar="RESULT")

    one = command("invert", "stack, errors and verdict from a cut, by network and exact refinement",
        "bandjax invert map.nc -o out/\n"
        "A cut over kx (1/Å) and energy (E − E_F, eV) of a stack of the trained family. Writes out/inversion.json, result.nc\n"
        "and report.txt. The verdict is accepted, ambiguous, rejected or unfinished; the numbers are those of the exact model.")  # fmt: skip
    one.add_argument("map", metavar="MAP")
    one.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    one.add_argument(
        "--weights", metavar="NPZ", help="a network of your own, or the name of a shipped one (default: buried_sige)"
    )
    one.add_argument("--starts", type=int, default=3, help="starts that are refined (default: 3)")
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    _told(one)

    one = command("train", "train a network",
        "bandjax train reverse -c reverse.toml -o folder/\n"
        "bandjax train surrogate -c surrogate.toml -o folder/\n"
        "The file holds keys of `TrainingConfig` or `SurrogateConfig`, such as steps = 6000. The same command goes on with a run\n"
        "that was killed, to the same weights. Writes folder/reverse.npz or surrogate.npz, metrics.csv and checkpoints/.")  # fmt: skip
    one.add_argument("what", choices=("reverse", "surrogate"), help="which network")
    one.add_argument("-c", "--config", metavar="TOML", help="configuration (default: that of the class)")
    one.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for checkpoints and the result")
    one.add_argument("--quiet", action="store_true", help="no progress bar")

    one = command("adapt", "adapt a network to maps without labels, through the exact model",
        "bandjax adapt map1.nc map2.nc … -o adapted.npz\n"
        "Maps of one instrument, with the same axes. Each is refined by the exact model with wide priors of the instrument; the\n"
        "network then learns from those that it explains. Afterwards: bandjax invert map.nc --weights adapted.npz -o out/")  # fmt: skip
    one.add_argument("map", nargs="+", metavar="MAP")
    one.add_argument("-o", "--output", required=True, metavar="NPZ", help="file of the adapted network")
    one.add_argument("--weights", metavar="NPZ", help="the network to begin with (default: the shipped one)")
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    _told(one)

    one = command("reconstruct", "bands of a map without a Hamiltonian",
        "bandjax reconstruct map.nc --initial bands.nc -o found.nc\n"
        "bandjax reconstruct map.nc --model fit.toml -o found.nc\n"
        "Starts from surfaces on the map's grid, or from the bands of a configured model. Writes found.nc (band_energy, band_error and, from\n"
        "counts, height and background, with every setting), found.png (cuts, surface, errors), found_slices.png (volumes at constant energies, E_F among them)\n"
        "and found_residual.png (in units of the noise). What is smooth, and how much, is chosen by held-out counts.")  # fmt: skip
    one.add_argument("map", metavar="MAP")
    one.add_argument("-o", "--output", required=True, metavar="NC", help="file of the surfaces")
    one.add_argument("--initial", metavar="NC", help="start: surfaces over the map's axes and `band`")
    one.add_argument("--model", metavar="TOML", help="start: bands of a configuration, see init-config")
    one.add_argument(
        "--bands", type=int, metavar="N", help="with --model: so many, the highest in the window (default: all there)"
    )
    one.add_argument("--posterior", choices=("counts", "published"), default="counts", help="default: counts")
    one.add_argument("--prior", metavar="NC", help="surfaces about which the prior is smooth, or `model`")
    one.add_argument(
        "--energy", type=float, nargs=2, metavar=("LOW", "HIGH"), help="only these energies of the map, eV"
    )
    one.add_argument(
        "--align", action="store_true", help="search an offset, energy and momentum scale of the start first"
    )
    one.add_argument("--offset", type=float, default=0.0, metavar="EV", help="added to the start")
    one.add_argument("--momentum-scale", type=float, default=1.0, metavar="X", help="the start is taken at X times k")
    one.add_argument(
        "--sigma-pair", type=float, metavar="EV", help="prior of neighbours (published: default by held-out counts)"
    )
    one.add_argument(
        "--sigma-curvature", type=float, metavar="EV", help="prior of second differences (default: by held-out counts)"
    )
    one.add_argument(
        "--background",
        type=int,
        default=1,
        help="values of the background at every k, linear in between; 1: a constant",
    )
    one.add_argument(
        "--line", type=float, nargs=2, metavar=("SIGMA", "ETA"), help="widths of the line in eV (default: fitted)"
    )
    one.add_argument(
        "--noise-scale",
        default="1",
        metavar="X",
        help="variance over mean of a value; a number, `measure` (finest structure) or `residual`",
    )
    one.add_argument(
        "--rotational", type=int, default=0, metavar="N", help="symmetrise by an N-fold axis about the found centre"
    )
    one.add_argument(
        "--mirror", default="", metavar="AXIS", help="symmetrise by the mirror that turns this axis around"
    )
    one.add_argument(
        "--clahe", type=float, default=0.0, metavar="CLIP", help="adaptive histogram equalisation (scikit-image)"
    )
    one.add_argument("--smooth", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("X", "Y", "E"), help="pixels")
    one.add_argument("--fill-missing", action="store_true", help="let the prior fill spectra without data")
    one.add_argument("--seed", type=int, default=0, help="of held-out counts (default: 0)")

    one = command("retrieve", "Hamiltonian and Fermi surface from maps, or a part of them, from several starts",
        "bandjax retrieve map.nc -c fit.toml -o out/ --fraction 0.25 --energy -0.1 0.06\n"
        "The configuration is that of `bandjax fit`. Writes out/result.nc, retrieval.json, report.txt and fermi_surface.png: parameters with\n"
        "errors, how many starts agree, filled areas and pockets in each map's plane with errors. Several maps: one [[maps]] section each.")  # fmt: skip
    one.add_argument("map", nargs="*", metavar="MAP", help="the map; none where the configuration names its files")
    one.add_argument("-c", "--config", required=True, metavar="TOML", help="see `bandjax init-config`")
    one.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    one.add_argument(
        "--starts", type=int, default=10, metavar="N", help="descents from draws of the priors (default: 10)"
    )
    one.add_argument("--fraction", type=float, default=1.0, metavar="X", help="part of the wave vectors, in (0, 1]")
    one.add_argument(
        "--pattern",
        choices=("window", "random"),
        default="window",
        help="which part (default: window, a quadrant for 1/4)",
    )
    one.add_argument(
        "--energy", type=float, nargs=2, metavar=("LOW", "HIGH"), help="only these energies, E − E_F in eV"
    )
    one.add_argument("--bands", type=int, metavar="N", help="refuse a model with fewer bands")
    one.add_argument("--k-z", type=float, metavar="K", help="plane of the areas, 1/Å (default: normal emission at E_F)")
    one.add_argument(
        "--grid", type=int, default=120, metavar="N", help="points along the zone for the areas (default: 120)"
    )
    one.add_argument("--resume", action="store_true", help="go on from out/state.npz where there is one")
    one.add_argument("--quiet", action="store_true", help="no progress bar")

    one = command("field", "a map as a function that networks hold: denoise, interpolate, refine the grid",
        "bandjax field map.nc -o field.npz --grid fine.nc --shape 200 400\n"
        "Trains small networks on the counts (Poisson), stopped by counts that are held out. Writes field.npz, field.png (data, field, residual\n"
        "in units of its noise) and, with --grid, the field on the map's grid or one of --shape. For values between the\n"
        "pixels choose --held-out pixels.")  # fmt: skip
    one.add_argument("map", metavar="MAP")
    one.add_argument("-o", "--output", required=True, metavar="NPZ", help="file of the field")
    one.add_argument("--grid", metavar="NC", help="write the field on a grid, too")
    one.add_argument("--shape", type=int, nargs="+", metavar="N", help="points of that grid along the map's axes")
    one.add_argument(
        "--energy", type=float, nargs=2, metavar=("LOW", "HIGH"), help="only these energies of the map, eV"
    )
    one.add_argument("--kind", choices=("fourier", "siren"), default="fourier", help="default: fourier")
    one.add_argument("--width", type=int, default=64, help="units of a layer (default: 64)")
    one.add_argument("--depth", type=int, default=2, help="hidden layers (default: 2)")
    one.add_argument(
        "--bandwidth",
        type=float,
        metavar="RAD",
        help="of the first waves, over half the window (default: by held-out counts)",
    )
    one.add_argument("--members", type=int, default=4, help="networks whose mean is taken (default: 4)")
    one.add_argument("--held-out", choices=("counts", "pixels"), default="counts", help="what judges (default: counts)")
    one.add_argument(
        "--noise-scale", default="1", metavar="X", help="variance over mean of a value; `measure` for camera data"
    )
    one.add_argument("--rounds", type=int, default=120, help="of 50 steps, at most (default: 120)")
    one.add_argument("--folder", metavar="DIR", help="keeps the trainings: the same command goes on with them")
    one.add_argument("--seed", type=int, default=0, help="of weights and of what is held out (default: 0)")
    one.add_argument("--quiet", action="store_true", help="no progress bar")

    one = command("fingerprint", "density-of-states fingerprints of structures",
        "bandjax fingerprint structures.extxyz -o features.nc --table vogl1983 --window vbm\n"
        "Structures from any file that ASE reads. Windows: fermi, vbm, cbm, edges, or pieces such as vbm:-3:1:257 joined by '+'.\n"
        "bandjax fingerprint Si.npz Ge.npz -o features.nc --energies E --electrons 8      (levels of other programs)\n"
        "Writes fingerprints (states per eV), gaps and edges with every setting. A run that was killed goes on by the same command: until\n"
        "it is done, features.nc.parts/ keeps what is finished.")  # fmt: skip
    one.add_argument("structures", nargs="+", metavar="FILE", help="structures, such as .extxyz, or levels (.npz)")
    one.add_argument("-o", "--output", required=True, metavar="NC", help="file of the collection")
    one.add_argument("--table", help="parameter table of structures, see `bandjax materials`")
    one.add_argument("--energies", metavar="NAME", help="of levels: array of energies in the file (k, band), eV")
    one.add_argument("--electrons", type=float, metavar="N", help="of levels: electrons in the cell")
    one.add_argument("--degeneracy", type=int, choices=(1, 2), help="of levels: electrons each holds (default: 2)")
    one.add_argument("--window", default="fermi", help="energies, and what they count from (default: fermi)")
    one.add_argument("--smearing", type=float, default=0.05, metavar="EV", help="of the kernel (default: 0.05)")
    one.add_argument("--kernel", choices=KERNELS, default="gaussian", help="default: gaussian")
    one.add_argument(
        "--cut",
        type=float,
        metavar="X",
        help="where the kernel ends, in smearings (default: √8 for the Gaussian; inf: nowhere)",
    )
    one.add_argument("--per", choices=PER, help="what states count in (default: cell)")
    one.add_argument("--spacing", type=float, metavar="K", help="of wave vectors, at most, 1/Å (default: 0.12)")
    one.add_argument("--grid", type=int, nargs=3, metavar="N", help="numbers of wave vectors instead")
    one.add_argument("--no-spin-orbit", action="store_true", help="leave spin-orbit coupling out")
    one.add_argument("--coarse", action="store_true", help="allow too few wave vectors for the smearing")
    one.add_argument("--quiet", action="store_true", help="no progress bar")

    one = command("nearest", "nearest neighbours in a collection of fingerprints",
        "bandjax nearest features.nc --of Si-0 --count 3\n"
        "bandjax nearest features.nc --queries others.nc --metric wasserstein -o table.csv\n"
        "Without --of or --queries: of every structure, itself left out.")  # fmt: skip
    one.add_argument("collection", metavar="NC", help="from `bandjax fingerprint`")
    one.add_argument("--queries", metavar="NC", help="another collection, of the same settings, that asks")
    one.add_argument("--of", metavar="NAME", help="only this structure")
    one.add_argument("--count", type=int, default=5, metavar="N", help="neighbours (default: 5)")
    one.add_argument(
        "--metric",
        choices=METRICS,
        default="euclidean",
        help="default: euclidean",
    )
    one.add_argument("--sigma-mmd", type=float, default=0.2, metavar="EV", help="of the kernel of mmd (default: 0.2)")
    one.add_argument("--shape-only", action="store_true", help="compare fingerprints divided by their integrals")
    one.add_argument(
        "--max-shift", type=float, default=0.0, metavar="EV", help="ignore a rigid shift by at most so much"
    )
    one.add_argument("--mixed", action="store_true", help="compare collections from different tables or programs")
    one.add_argument("-o", "--output", metavar="CSV", help="write the table, too")

    one = command("demo", "fit a bundled simulated map",
        "Fits a small cut of silicon with counting noise, made by the same model, and prints the truth beside the fit.")  # fmt: skip
    one.add_argument("--out", "-o", default="demo", metavar="DIR", help="folder for the results (default: demo)")
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _told(one: argparse.ArgumentParser) -> None:
    """What a map may leave unsaid of the measurement."""
    one.add_argument("--photon-energy", type=float, metavar="EV", help="where the map does not state it")
    one.add_argument(
        "--fwhm-energy", type=float, metavar="EV", help="energy resolution, where the map does not state it"
    )
