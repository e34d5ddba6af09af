"""Where and in which portions work runs: the only module that names devices.

Work over many wave vectors is cut into chunks that fit a memory budget and, with more than one device, split evenly
over a one-dimensional mesh. Chunks are recomputed, not stored, when a gradient is taken.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bandjax.checks import positive

DEFAULT_BUDGET = 1 << 30  # bytes of temporary arrays at a time; override with the environment or `budget=`
BUDGET_VARIABLE = "BANDJAX_MEMORY_BUDGET"
THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"
AXIS = "batch"
NEVER_REFUSED = 64 << 20  # bytes; a smaller budget only sets the size of chunks


def memory_budget(budget: float | None = None) -> int:
    """Bytes that the temporaries of one chunk may take: the argument, $BANDJAX_MEMORY_BUDGET, or 1 GiB.

    Raises:
        ValueError: the budget is no number > 0.
    """
    if budget is None:
        text = os.environ.get(BUDGET_VARIABLE)
        if text is None:
            return DEFAULT_BUDGET
        try:
            budget = float(text)
        except ValueError as error:
            raise ValueError(
                f"Environment variable {BUDGET_VARIABLE} must be a number of bytes, but is {text!r}."
            ) from error
    positive("budget", budget, "bytes")
    return int(budget)


def cache_budget(budget: float | None = None) -> int:
    """Bytes for the temporaries of one chunk of work that has no need of many items at a time.

    On a CPU 32 MiB, or the budget if less: larger blocks of memory are asked of the system anew at every call, which
    took as long as the work itself (measured on recursive Green's functions). Elsewhere the budget.
    """
    return min(memory_budget(budget), 32 << 20) if jax.default_backend() == "cpu" else memory_budget(budget)


def refuse_beyond(need: float, budget: float | None, what: str, fits: Callable[[float], str]) -> None:
    """Raise ValueError where one item of work, which no chunk can cut further, is beyond the memory budget.

    Args:
        need: Bytes that it takes.
        budget: Bytes; None means `memory_budget()`. Up to 64 MiB are never refused.
        what: Its name.
        fits: What a number of bytes would hold, in words.
    """
    limit = max(memory_budget(budget), NEVER_REFUSED)
    if need > limit:
        raise ValueError(
            f"Argument `budget` must hold {what}, some {need / 2**30:.3g} GiB, but is {limit / 2**30:.3g} GiB, which "
            f"holds {fits(limit)}."
        )


def use_all_cores(count: int | None = None) -> None:
    """Make JAX see `count` CPU devices (default: the cores this process may use), so that k points run in parallel, each matrix on one core.

    Has to be called before JAX has started its backend; later it raises RuntimeError (from JAX).
    """
    one_core_a_matrix()
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)) if count is None else count)


def one_core_a_matrix() -> None:
    """Let LAPACK decompose every matrix on one core, unless $OPENBLAS_NUM_THREADS says otherwise.

    Threads that share a matrix of some dozens of orbitals wait for each other: with other work on two cores a thousand of 40 orbitals took ten times
    as long, of 800 orbitals three times. The command line and the experiments call this; a library that is imported leaves its user's threads alone.
    """
    import scipy.linalg  # noqa: F401  # whose LAPACK is JAX's on a CPU: must be there to be told
    from threadpoolctl import threadpool_limits

    if THREADS_VARIABLE not in os.environ:
        threadpool_limits(1, user_api="blas")


def device_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-dimensional mesh over `devices` (default: all), with the axis "batch"."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def describe() -> dict[str, Any]:
    """Platform, kind and number of the devices, for provenance."""
    devices = jax.devices()
    return {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}


def map_chunks(
    f: Callable, xs: Any, *, bytes_per_item: float, budget: float | None = None, mesh: Mesh | None = None
) -> Any:
    """`vmap(f)(xs)`, in chunks within the memory budget, split over the devices of `mesh`.

    Args:
        f: Function of one item, without batch axis.
        xs: Pytree of arrays that share their leading axis.
        bytes_per_item: Estimate of the temporaries and results that one item needs, reverse mode included.
        budget: Bytes; None means `memory_budget()`.
        mesh: None runs on the current device.

    Returns:
        Pytree of arrays with the same leading axis.
    """
    count = jax.tree.leaves(xs)[0].shape[0]
    chunk = max(1, int(memory_budget(budget) // max(bytes_per_item, 1.0)))
    if mesh is None or mesh.size == 1:
        return _chunked(f, xs, count, chunk)
    share = math.ceil(count / mesh.size)
    padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], share * mesh.size - count, axis=0)]), xs)
    spec = PartitionSpec(AXIS)
    local = jax.shard_map(
        lambda part: _chunked(f, part, share, max(1, chunk // mesh.size)),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    return jax.tree.map(lambda y: y[:count], local(padded))


def sum_chunks(f: Callable, xs: Any, *, bytes_per_item: float, budget: float | None = None) -> Any:
    """Σ over items of f(item), holding one chunk at a time in memory, also under `jax.grad`."""
    count = jax.tree.leaves(xs)[0].shape[0]
    chunk = min(count, max(1, int(memory_budget(budget) // max(bytes_per_item, 1.0))))
    full = count // chunk

    def total(part: Any) -> Any:
        return jax.tree.map(lambda y: y.sum(axis=0), jax.vmap(f)(part))

    if full == 1 and count == chunk:
        return total(xs)
    body = jax.checkpoint(total)
    head = jax.tree.map(lambda x: x[: full * chunk].reshape(full, chunk, *x.shape[1:]), xs)
    start = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(total, jax.tree.map(lambda x: x[0], head))
    )
    result, _ = jax.lax.scan(lambda carry, part: (jax.tree.map(jnp.add, carry, body(part)), None), start, head)
    if full * chunk < count:
        result = jax.tree.map(jnp.add, result, body(jax.tree.map(lambda x: x[full * chunk :], xs)))
    return result


def replicate(x: Any, mesh: Mesh) -> Any:
    """`x` on every device of the mesh."""
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec()))


def split(x: Any, mesh: Mesh) -> Any:
    """Arrays cut along their leading axis over the devices of the mesh; what has none lies on every device.

    Raises:
        ValueError: an axis is no multiple of the number of devices.
    """

    def placed(leaf: Any) -> Any:
        check_share(leaf.shape[0] if leaf.ndim else 0, mesh)
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(AXIS) if leaf.ndim else PartitionSpec()))

    return jax.tree.map(placed, x)


def check_share(batch: int, mesh: Mesh | None) -> None:
    """ValueError unless a batch can be cut evenly over the devices of the mesh."""
    if mesh is not None and batch % mesh.size:
        lower = batch - batch % mesh.size
        near = " or ".join(str(n) for n in (lower, lower + mesh.size) if n)
        raise ValueError(
            f"Argument `batch` must be a multiple of the {mesh.size} devices, such as {near}, but is {batch}; or let JAX see fewer of them."
        )


def all_devices() -> Mesh | None:
    """The mesh of all devices, or None where there is only one."""
    return device_mesh() if len(jax.devices()) > 1 else None


def _chunked(f: Callable, xs: Any, count: int, chunk: int) -> Any:
    if chunk >= count:
        return jax.vmap(f)(xs)
    return jax.lax.map(jax.checkpoint(f), xs, batch_size=chunk)
