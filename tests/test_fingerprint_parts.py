"""A run of `bandjax fingerprint` that is killed goes on where it stopped, to the same collection bit by bit."""

import os
import signal
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest

import bandjax as bj
from bandjax.cli import main
from bandjax.fingerprints import structures as module

OPTIONS = {"grid": (3, 3, 3), "smearing": 0.2, "spin_orbit": False, "coarse": True}
WINDOW = "vbm:-14:-11:31"  # about the lowest level
LENGTHS = (5.35, 5.43, 5.46, 5.5, 5.52)


def crystals():
    """Two topologies, and with 6.2 Å narrow bands, of which the window holds none."""
    many = [bj.zincblende("Si", a) for a in (*LENGTHS[:3], 6.2, *LENGTHS[3:])]
    return [*many[:2], bj.zincblende("Ge", 5.658), *many[2:]]


def same(one, other):
    assert list(one) == list(other)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, strict=True)


def stop_after(chunks):
    """A progress that raises when so many chunks are done."""
    seen = []

    def progress(*_):
        seen.append(_)
        if len(seen) == chunks:
            raise KeyboardInterrupt

    return progress


@pytest.fixture(scope="module")
def compiled():
    return {}


@pytest.fixture
def small_chunks(monkeypatch, compiled):
    """Chunks of two, and programs that are compiled once for all runs."""
    plain = module._program

    def once(first, table, settings):
        key = (first.get_chemical_formula(), settings)
        if key not in compiled:
            compiled[key] = plain(first, table, settings)
        return compiled[key]

    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(module, "_program", once)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, small_chunks, monkeypatch):
    whole_refused, refused = [], []
    whole = bj.fingerprint_structures(crystals(), "vogl1983", WINDOW, refused=whole_refused, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        bj.fingerprint_structures(
            crystals(), "vogl1983", WINDOW, state_folder=tmp_path / "s", refused=[], progress=stop_after(2), **OPTIONS
        )  # the second chunk has the refused one
    assert len(list((tmp_path / "s").glob("*.npz"))) == 2
    made, plain = [], module._part
    monkeypatch.setattr(module, "_part", lambda *given: made.append(given[2]) or plain(*given))
    again = bj.fingerprint_structures(
        crystals(), "vogl1983", WINDOW, state_folder=tmp_path / "s", refused=refused, **OPTIONS
    )
    same(whole, again)
    assert made == [[5, 6], [2]]  # the two chunks that were not there, and no other
    assert refused == whole_refused and [name for name, _ in refused] == ["Si2-4"]
    assert whole.attrs == again.attrs


def test_the_command_goes_on_and_clears_up(tmp_path, small_chunks, monkeypatch, capsys):
    ase.io.write(tmp_path / "s.extxyz", [bj.zincblende("Si", a) for a in LENGTHS])
    settings = [
        "--table",
        "vogl1983",
        "--no-spin-orbit",
        "--coarse",
        "--grid",
        "3",
        "3",
        "3",
        "--window",
        WINDOW,
        "--smearing",
        "0.2",
    ]

    def command(out, *more):
        return main(["fingerprint", str(tmp_path / "s.extxyz"), "-o", str(tmp_path / out), *settings, *more])

    assert command("whole.nc") == 0
    parts, plain = tmp_path / "f.nc.parts", module._part

    def killed(run, structures, members, *rest):
        if members[0] >= 4:
            raise KeyboardInterrupt
        return plain(run, structures, members, *rest)

    monkeypatch.setattr(module, "_part", killed)
    assert command("f.nc") == 130 and "the same command goes on" in capsys.readouterr().err
    assert len(list(parts.glob("*.npz"))) == 2 and not (tmp_path / "f.nc").exists()
    assert command("f.nc", "--smearing", "0.1") == 2
    words = capsys.readouterr().err
    assert "`smearing` 0.2 where this run has 0.1" in words and "f.nc.parts" in words and words.count("\n") == 1
    monkeypatch.setattr(module, "_part", plain)
    assert command("f.nc") == 0 and not parts.exists()
    same(bj.read_collection(tmp_path / "whole.nc"), bj.read_collection(tmp_path / "f.nc"))


def test_parts_of_another_run_are_refused(tmp_path, small_chunks):
    def run(structures=None, table="vogl1983", **changed):
        bj.fingerprint_structures(
            structures or crystals()[:2], table, WINDOW, state_folder=tmp_path / "s", **(OPTIONS | changed)
        )

    run()
    moved = crystals()[:2]
    moved[1].positions[1] += 1e-9
    silicon = bj.load_parameters("Si", "vogl1983")
    table = silicon.replace(E_p=silicon["E_p"] + 1e-9)
    for again, words in (
        (lambda: run(moved), "other structures"),
        (lambda: run(crystals()[:3]), "other structures"),
        (lambda: run(table=table), "other tables"),
        (lambda: run(per="atom"), "`per` cell where this run has atom"),
        (lambda: run(grid=(4, 3, 3)), "`wave vectors` 3 × 3 × 3 where"),
        (lambda: run(cut=np.inf), "`cut`"),
    ):
        with pytest.raises(ValueError, match=words):
            again()
    run()
    (tmp_path / "s" / "000000.npz").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"000000\.npz must hold a part of a run, but cannot be read"):
        run()
    (tmp_path / "s" / "settings.json").unlink()
    with pytest.raises(ValueError, match="but holds other files"):
        run()


@pytest.mark.slow
def test_a_killed_process_loses_one_chunk(tmp_path):
    rng = np.random.default_rng(0)
    ase.io.write(tmp_path / "s.extxyz", [bj.zincblende("Si", a) for a in rng.uniform(5.3, 5.6, 640)])
    command = [sys.executable, "-c", "import sys; from bandjax.cli import main; sys.exit(main())", "fingerprint", "s.extxyz"]  # fmt: skip
    settings = [
        "--table",
        "vogl1983",
        "--no-spin-orbit",
        "--grid",
        "8",
        "8",
        "8",
        "--coarse",
        "--window",
        "vbm:-3:3:61",
    ]
    parts = tmp_path / "f.nc.parts"
    at_start = 0
    for blow in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen([*command, "-o", "f.nc", *settings], cwd=tmp_path, env=os.environ)
        try:
            while len(list(parts.glob("*.npz"))) < at_start + 2:
                assert process.poll() is None, "the run ended before it could be killed"
                time.sleep(0.02)
            process.send_signal(blow)
            process.wait(60)
        finally:
            process.kill()
        at_start = len(list(parts.glob("*.npz")))
        assert at_start < 10 and not (tmp_path / "f.nc").exists()
    assert at_start >= 6
    for out in ("f.nc", "whole.nc"):
        subprocess.run([*command, "-o", out, *settings], cwd=tmp_path, check=True)
    assert not parts.exists()
    same(bj.read_collection(tmp_path / "whole.nc"), bj.read_collection(tmp_path / "f.nc"))
