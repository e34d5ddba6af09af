"""A run of `bandjax fingerprint` that is killed goes on where it stopped, to the same collection bit by bit."""

import os
import platform
import signal
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest

import bandjax as bj
from bandjax import commands_fingerprints
from bandjax.cli import main
from bandjax.fingerprints import parts as parts_module
from bandjax.fingerprints import structures as module
from bandjax.fingerprints.parts import remove_parts

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


SETTINGS = ["--table", "vogl1983", "--no-spin-orbit", "--coarse", "--grid", "3", "3", "3", "--window", WINDOW, "--smearing", "0.2"]  # fmt: skip


@pytest.fixture
def command(tmp_path):
    """`bandjax fingerprint` of five crystals, by the name of its output."""
    ase.io.write(tmp_path / "s.extxyz", [bj.zincblende("Si", a) for a in LENGTHS])

    def run(out, *more, settings=SETTINGS):
        return main(["fingerprint", str(tmp_path / "s.extxyz"), "-o", str(tmp_path / out), *settings, *more])

    return run


def test_the_command_goes_on_and_clears_up(tmp_path, small_chunks, monkeypatch, capsys, command):
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


def test_a_folder_of_the_user_is_left_alone(tmp_path, small_chunks, capsys, command):
    thesis = tmp_path / "f.nc.parts" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("three years")
    assert command("f.nc") == 2 and "f.nc.parts must be empty or hold parts" in capsys.readouterr().err
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.txt"]
    thesis.rename(tmp_path / "thesis.txt")
    assert command("f.nc") == 0 and not thesis.parent.exists()  # an empty one is taken


def test_only_own_files_are_removed(tmp_path, small_chunks, monkeypatch, command):
    parts, plain = tmp_path / "f.nc.parts", module._part
    monkeypatch.setattr(module, "_part", interrupting)
    assert command("f.nc") == 130
    for name in ("thesis.txt", "data.npz", ".000000.npz.123.part"):  # the last left by a run that was killed
        (parts / name).write_text("three years")
    monkeypatch.setattr(module, "_part", plain)
    assert command("f.nc") == 0
    assert sorted(path.name for path in parts.iterdir()) == ["data.npz", "thesis.txt"]


def interrupting(*_, **__):
    raise KeyboardInterrupt


def test_what_a_refusal_proposes_runs(tmp_path, small_chunks, capsys, command):
    fine = [x for x in SETTINGS if x != "--coarse"]
    assert command("f.nc", settings=fine) == 2
    words = capsys.readouterr().err
    assert "all are refused" in words and "coarse=True" in words
    assert not (tmp_path / "f.nc.parts").exists()
    assert command("f.nc", "--coarse", settings=fine) == 0


def test_it_goes_on_only_where_there_are_parts(tmp_path, small_chunks, monkeypatch, capsys, command):
    monkeypatch.setattr(module, "_part", interrupting)
    assert command("f.nc") == 130 and capsys.readouterr().err == "bandjax: interrupted.\n"  # nothing was finished
    np.savez(tmp_path / "levels.npz", E=np.zeros((3, 4)))
    (tmp_path / "l.nc.parts").mkdir()
    (tmp_path / "l.nc.parts" / "000000.npz").touch()  # of another run
    monkeypatch.setattr(commands_fingerprints, "file_levels", interrupting)
    levels = ["fingerprint", str(tmp_path / "levels.npz"), "-o", str(tmp_path / "l.nc"), "--energies", "E"]
    assert main(levels) == 130 and capsys.readouterr().err == "bandjax: interrupted.\n"


def test_a_mistake_in_an_option_leaves_the_parts(tmp_path, small_chunks, monkeypatch, capsys, command):
    monkeypatch.setattr(module, "_part", interrupting)
    assert command("f.nc") == 130
    for more in (["--grid", "0", "3", "3"], ["--smearing", "0.1"], ["--table", "vogl"]):
        assert command("f.nc", *more) == 2
        assert [path.name for path in (tmp_path / "f.nc.parts").iterdir()] == ["settings.json"]


def test_a_folder_belongs_to_one_process(tmp_path, small_chunks, monkeypatch, capsys, command):
    parts, lock, plain = tmp_path / "f.nc.parts", tmp_path / "f.nc.parts" / "lock", module._part
    seen = []

    def looking(*given):
        seen.append(lock.read_text())
        return plain(*given)

    monkeypatch.setattr(module, "_part", looking)
    assert command("f.nc") == 0 and seen == [f"{os.getpid()} {platform.node()}"] * 3 and not parts.exists()
    for owner, words in (
        (f"{os.getppid()} {platform.node()}", f"one run at a time, but process {os.getppid()} works in it"),
        ("1 elsewhere", "but process 1 of elsewhere has it"),
    ):
        parts.mkdir(exist_ok=True)
        lock.write_text(owner)
        assert command("f.nc") == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1 and lock.read_text() == owner
    remove_parts(parts)
    assert lock.exists()  # another's
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process in (ended.pid, os.getpid()):  # killed; one of another start of the machine
        parts.mkdir(exist_ok=True)
        lock.write_text(f"{process} {platform.node()}")
        assert command("f.nc") == 0 and not parts.exists()


def test_a_part_is_not_believed(tmp_path, small_chunks):
    def run():
        return bj.fingerprint_structures(crystals()[:2], "vogl1983", WINDOW, state_folder=tmp_path / "s", **OPTIONS)

    whole = run()
    kept = tmp_path / "s" / "000000.npz"
    with np.load(kept) as file:
        good = dict(file)
    np.save(tmp_path / "one.npy", np.arange(3))
    kept.write_bytes((tmp_path / "one.npy").read_bytes())
    with pytest.raises(ValueError, match=r"000000\.npz must hold a part of a run, but cannot be read"):
        run()
    for changed in (
        {"index": good["index"] + 1},
        {"features": good["features"][:, 1:]},
        {"labels": good["labels"][:1]},
        {"words": np.array(["why"])},
        {"features": good["features"].astype(str)},
        {"index": np.array(0)},
    ):
        np.savez(kept, **(good | changed))
        with pytest.raises(ValueError, match=r"000000\.npz must hold 2 structures of this run in 31 energies"):
            run()
    np.savez(kept, **good)
    same(whole, run())


def test_settings_say_what_the_bits_depend_on(tmp_path, small_chunks, monkeypatch):
    def run(spacing):
        more = {k: v for k, v in OPTIONS.items() if k != "grid"} | {"spacing": spacing}
        bj.fingerprint_structures(crystals()[:1], "vogl1983", WINDOW, state_folder=tmp_path / "s", **more)

    for spacing in (1, 1.0, np.float64(1.0)):
        run(spacing)
    monkeypatch.setattr(parts_module, "version", lambda package: "0")
    with pytest.raises(ValueError, match="`version of"):
        run(1)
    monkeypatch.undo()
    monkeypatch.setattr(module, "CHUNK", 2)
    monkeypatch.setattr(parts_module.jax, "default_backend", lambda: "abacus")
    with pytest.raises(ValueError, match=r"`platform` .* where this run has abacus"):
        run(1)


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
