"""Chunks, meshes and other platforms change where the work runs, never its result."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from crystals import build
from threadpoolctl import threadpool_info, threadpool_limits

from bandjax import devices
from bandjax.devices import DEFAULT_BUDGET, device_mesh, map_chunks, memory_budget, sum_chunks
from bandjax.spectrum import bands, spectral_function

ROOT = Path(__file__).resolve().parent.parent


def item(x):
    a, b = x
    return {"product": a[:, None] * b[None], "sum": a.sum() + jnp.sin(b).sum()}


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(11, 3))), jnp.asarray(rng.normal(size=(11, 2)))


@pytest.mark.parametrize("budget", [1, 400, 1100, 10**9])
def test_chunks_equal_vmap(items, budget):
    """Chunks of 1, of 4 (11 is no multiple), of 11 and larger than everything."""
    whole = jax.vmap(item)(items)
    pieces = map_chunks(item, items, bytes_per_item=100, budget=budget)
    total = sum_chunks(item, items, bytes_per_item=100, budget=budget)
    meshed = map_chunks(item, items, bytes_per_item=100, budget=budget, mesh=device_mesh(jax.devices()[:1]))
    for name, value in whole.items():
        np.testing.assert_allclose(pieces[name], value, rtol=1e-14)
        np.testing.assert_allclose(meshed[name], value, rtol=1e-14)
        np.testing.assert_allclose(total[name], value.sum(axis=0), rtol=1e-13, atol=1e-14)


def test_chunks_hold_the_memory_down(items):
    """With a small budget the compiled program needs less temporary memory, backwards too."""
    x = jnp.linspace(0, 1, 64)

    def one(t):
        return jnp.sum(jnp.linalg.inv(jnp.eye(40) + t * jnp.ones((40, 40))))

    def temporaries(budget):
        f = jax.jit(jax.grad(lambda y: sum_chunks(one, y, bytes_per_item=40 * 40 * 8, budget=budget)))
        return f.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(1) < temporaries(1e9) / 5


def test_budget_is_argument_then_environment_then_default(monkeypatch):
    monkeypatch.delenv("BANDJAX_MEMORY_BUDGET", raising=False)
    assert memory_budget() == DEFAULT_BUDGET and memory_budget(5e6) == 5_000_000
    monkeypatch.setenv("BANDJAX_MEMORY_BUDGET", "2e9")
    assert memory_budget() == 2_000_000_000 and memory_budget(5e6) == 5_000_000


@pytest.mark.parametrize(("text", "words"), [("1 GB", "BANDJAX_MEMORY_BUDGET.*'1 GB'"), ("-1", "> 0"), ("nan", "> 0")])
def test_wrong_budget(monkeypatch, text, words):
    monkeypatch.setenv("BANDJAX_MEMORY_BUDGET", text)
    with pytest.raises(ValueError, match=words):
        memory_budget()


ON_EIGHT = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
sys.path.insert(0, "tests")
from crystals import build
from bandjax.devices import describe, device_mesh
from bandjax.spectrum import bands, spectral_function
assert describe()["count"] == 8
k = np.random.default_rng(0).uniform(-1, 1, (13, 3))
_, _, model = build("bilayer graphene", "pz")
mesh, energy = device_mesh(), np.linspace(-5, 5, 7)
out = {}
for name, options in {"mesh": {"mesh": mesh}, "pieces": {"mesh": mesh, "budget": 1e4}}.items():
    e = bands(model, k, **options)
    a = spectral_function(model, k, energy, resolve="atom", **options)
    grad = jax.jit(jax.grad(lambda q, o=options: spectral_function(model, q, energy, **o)[:, 2].sum()))(k)
    out |= {name + "_e": e, name + "_a": a, name + "_g": grad}
assert len(bands(model, k[:8], mesh=mesh).sharding.device_set) == 8
np.savez(sys.argv[1], **out)
"""


def test_eight_devices_give_what_one_gives(tmp_path):
    """13 wave vectors over 8 pretended CPU devices: values and gradients, whole and in chunks."""
    file = tmp_path / "out.npz"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT, str(file)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(file)
    _, _, model = build("bilayer graphene", "pz")
    k, energy = np.random.default_rng(0).uniform(-1, 1, (13, 3)), np.linspace(-5, 5, 7)
    expected = {
        "e": bands(model, k),
        "a": spectral_function(model, k, energy, resolve="atom"),
        "g": jax.jit(jax.grad(lambda q: spectral_function(model, q, energy)[:, 2].sum()))(k),
    }
    for way in ("mesh", "pieces"):
        for kind, value in expected.items():
            np.testing.assert_allclose(found[f"{way}_{kind}"], value, rtol=0, atol=1e-11)
            assert np.abs(value).max() > 1e-2


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_programs_lower_for_other_platforms(platform):
    """The spectral function and its gradient become programs of each platform (made here, not run there)."""
    _, _, model = build("Si", "vogl1983")
    single = jax.tree.map(lambda x: x.astype(jnp.complex64 if jnp.iscomplexobj(x) else jnp.float32), model)
    k, energy = jnp.zeros((4, 3), jnp.float32), jnp.linspace(-5, 5, 6, dtype=jnp.float32)

    def spectrum(m, q):
        return spectral_function(m, q, energy, eta=jnp.float32(0.1), resolve="atom")

    def slope(m, q):
        return jax.grad(lambda p: spectrum(m, p)[..., 0].sum())(q)

    for program in (spectrum, slope):
        lowered = jax.export.export(jax.jit(program), platforms=[platform])(single, k)
        assert lowered.platforms == (platform,) and len(lowered.mlir_module_serialized) > 1000


def test_a_matrix_has_one_core_unless_the_user_says_otherwise(monkeypatch):
    with threadpool_limits(2, user_api="blas"):
        monkeypatch.setenv(devices.THREADS_VARIABLE, "2")
        devices.one_core_a_matrix()
        assert {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"} == {2}
        monkeypatch.delenv(devices.THREADS_VARIABLE)
        devices.one_core_a_matrix()
        assert {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"} == {1}
