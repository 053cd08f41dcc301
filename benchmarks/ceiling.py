"""How near a training step comes to the device's matrix products, and where its time goes."""

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

SIDES = {"cpu": 1024, "gpu": 8192}  # of the square matrices, large enough for full speed
TRACED_STEPS = 3
COSTLIEST = 8


def measure(settings: Settings) -> list[Table]:
    """Two tables: operations a second of products and of the step, and the step's kernels."""
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
        f"products are of {side} x {side}",
        "a step's operations are three times those of our forward pass, not of plain Flax's",
    ]
    return [
        Table(f"share of the matrix products' speed, {size}", rows, notes),
        Table(f"costliest kernels of a training step, {size}", kernels(train)),
    ]


def multiplier(side: int, dtype: str) -> Callable[[], None]:
    """A function that multiplies two random matrices, as the network's products are computed."""
    x = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(dtype))
    compiled = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(compiled(x, x))


def operations(settings: Settings) -> float:
    """Floating-point operations of a training step.

    The gradients of a convolution are two more of its size. The compiler's count of the step itself
    would take the body of a loop once.
    """
    # Of bfloat16 every product of a convolution is computed, and so counted: `winograd.pays`.
    settings = settings._replace(dtype="bfloat16")
    model = jax_peer.network(settings, "classification", plain=False)
    gray = jax.ShapeDtypeStruct((settings.batch, settings.size, settings.size, 1), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), gray)
    return 3 * jax.jit(model.apply).lower(variables, gray).cost_analysis()["flops"]


def trainer(settings: Settings) -> Callable[[], None]:
    """A function that trains one step on a random batch."""
    devices = jax.devices()[:1]
    step, state = programs.training(settings)
    state = [place(state, devices)]
    batch = jax.device_put(programs.random_batch(settings), devices[0])
    compiled = parallel.compile_step(step, donate=True, devices=devices)

    def train():
        state[0], scalars = jax.block_until_ready(compiled(state[0], batch))
        if not np.isfinite(float(scalars["loss"])):
            raise ValueError("the loss of the step that is measured is not finite")

    return train


def kernels(work: Callable[[], Any]) -> list[harness.Row]:
    """The costliest kernels of `work`: their time a call, and their share of all kernels'."""
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
    """Nanoseconds by the name of a kernel: of a GPU's streams, else of XLA's threads on a CPU."""
    planes = list(profile.planes)
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    times: Counter = Counter()
    for plane in gpus or planes:
        for line in plane.lines:
            if gpus and not line.name.startswith("Stream"):
                continue  # the same time again, by module and by step
            for event in line.events:
                if gpus or any(name == "hlo_op" for name, _ in event.stats):
                    times[event.name] += event.duration_ns
    return times
