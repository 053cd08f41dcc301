"""Compares a training step with the speed of matrix products, and lists its costliest kernels."""

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, jax_peer, programs
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax.training import parallel
from colorjax.weights.devices import place

SIDES = {"cpu": 1024, "gpu": 8192}  # of square matrices that are large enough for full speed
TRACED_STEPS = 3
COSTLIEST = 8


def measure(settings: Settings) -> list[Table]:
    """Returns two tables: operations per second of products and of the step; the step's kernels."""
    side = SIDES["cpu" if settings.platform == "cpu" else "gpu"]
    product, train = multiplier(side, settings.dtype), trainer(settings)
    works = {"matrix product": product, "training step": train}
    harness.warm_up(works, 2)
    times = harness.interleave(works, settings.repeats)
    amounts = {"matrix product": 2 * side**3, "training step": operations(settings)}
    rows = harness.compare(times)
    for row in rows:
        row["gflop"] = amounts[row["contender"]] / 1e9
        row["gflop_per_s"] = row["gflop"] / row["median_s"]
        row["share"] = row["gflop_per_s"] / rows[0]["gflop_per_s"]
        del row["ratio"]
    size = f"{settings.batch} x {settings.size}, {settings.dtype}"
    notes = [
        f"the matrices are {side} x {side}",
        "a step counts as three times the operations of colorjax's forward pass, not plain Flax's",
    ]
    return [
        Table(f"share of the matrix products' speed, {size}", rows, notes),
        Table(f"costliest kernels of a training step, {size}", kernels(train)),
    ]


def multiplier(side: int, dtype: str) -> Callable[[], None]:
    """Returns a function that multiplies two random matrices in the dtype of the network."""
    x = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(dtype))
    compiled = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(compiled(x, x))


def operations(settings: Settings) -> float:
    """Returns the number of floating-point operations of a training step.

    This is three times the forward pass: each of the two gradients of a convolution costs as much
    as the convolution. The compiler's count for the step would count the body of a loop only once.
    """
    # In bfloat16 convolutions do not use Winograd (`winograd.is_faster`), so all products count.
    settings = settings._replace(dtype="bfloat16")
    model = jax_peer.network(settings, "classification", plain=False)
    gray = jax.ShapeDtypeStruct((settings.batch, settings.size, settings.size, 1), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), gray)
    return 3 * jax.jit(model.apply).lower(variables, gray).cost_analysis()["flops"]


def trainer(settings: Settings) -> Callable[[], None]:
    """Returns a function that trains one step on a random batch."""
    devices = jax.devices()[:1]
    step, state = programs.training(settings)
    state = [place(state, devices)]
    batch = jax.device_put(programs.random_batch(settings), devices[0])
    compiled = parallel.compile_step(step, donate=True, devices=devices)

    def train():
        state[0], scalars = jax.block_until_ready(compiled(state[0], batch))
        if not np.isfinite(float(scalars["loss"])):
            raise ValueError("the loss of the measured step is not finite")

    return train


def kernels(work: Callable[[], Any]) -> list[harness.Row]:
    """Returns the costliest kernels of `work`: time per call, and share of all kernels' time."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(TRACED_STEPS):
                work()
        (file,) = Path(folder).rglob("*.xplane.pb")
        times = kernel_times(jax.profiler.ProfileData.from_file(str(file)))
    total = sum(times.values())
    return [
        {"kernel": name[:60], "ms": ns / TRACED_STEPS / 1e6, "share": ns / total}
        for name, ns in times.most_common(COSTLIEST)
    ]


def kernel_times(profile: jax.profiler.ProfileData) -> Counter:
    """Returns nanoseconds by kernel name, from a GPU's streams or else from XLA's CPU threads."""
    planes = list(profile.planes)
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    times: Counter = Counter()
    for plane in gpus or planes:
        for line in plane.lines:
            if gpus and not line.name.startswith("Stream"):
                continue  # other lines repeat the same time by module and by step
            for event in line.events:
                if gpus or any(name == "hlo_op" for name, _ in event.stats):
                    times[event.name] += event.duration_ns
    return times
