"""Times the training step on several devices: pmap as in `colorjax.training.parallel`, or sharding.

If there are several GPUs, they are used. Otherwise the CPU is divided into simulated devices, which
share its cores: this measures the cost of dividing the work, not a gain. There are at most as many
simulated devices as cores, because XLA's threads wait for each other in a sum over devices, and may
deadlock if there are fewer threads than devices.
"""

import json
import os
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks import harness, report
from benchmarks.report import Table
from benchmarks.settings import Settings

COUNTS = (1, 2, 4, 8)
# Relative, of the loss: the number of devices changes the order of sums over a batch.
TOLERANCE = 1e-3


def measure(settings: Settings) -> list[Table]:
    """Returns a table of both methods on each number of devices, for the same global batch."""
    import jax

    real = jax.device_count() if settings.platform == "gpu" else 1
    available = real if real > 1 else report.cores()
    counts = [count for count in COUNTS if count <= available]
    batch = -(-settings.batch // counts[-1]) * counts[-1]
    settings = settings._replace(batch=batch)
    rows = []
    for count in counts:
        rows += measure_count(settings, count, simulated=real == 1)
    losses = np.asarray([row["loss"] for row in rows])
    harness.difference("loss", losses, np.full_like(losses, losses[0]), TOLERANCE)
    for row in rows:
        row["ratio"] = row["median_s"] / rows[0]["median_s"]
    order = (
        "devices",
        "way",
        "ratio",
        "images_per_s",
        "median_s",
        "least_s",
        "most_s",
        "loss",
        "times_s",
    )
    rows = [{name: row[name] for name in order} for row in rows]
    kind = "simulated on the CPU" if real == 1 else "GPUs"
    return [Table(f"devices ({kind}), {batch} x {settings.size} in all", rows)]


def measure_count(settings: Settings, count: int, simulated: bool) -> list[harness.Row]:
    """Returns the rows of one number of devices, measured in a process that has as many."""
    environment = {}
    if simulated:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    arguments = {"settings": settings._asdict(), "count": count}
    results = harness.child("benchmarks.devices", arguments, **environment)
    rows = harness.compare(results["times"], settings.batch, loss=results["losses"])
    return [{"devices": count, "way": row.pop("contender"), **row} for row in rows]


def main(settings: dict[str, Any], count: int) -> dict[str, dict]:
    """Runs in the child process; returns `times` and the first of the `losses` of each method."""
    import jax

    settings = Settings(**settings)
    devices = jax.devices()[:count]
    works = {way: trainer(settings, devices, way) for way in ("pmap", "sharding")}
    _, results = harness.warm_up(works, 2)
    times = harness.interleave(works, settings.repeats)
    return {"times": times, "losses": {way: losses[0] for way, losses in results.items()}}


def trainer(settings: Settings, devices: list, way: str):
    """Returns a function that trains one step and returns the loss."""
    import jax

    from benchmarks import programs
    from colorjax.training import parallel
    from colorjax.weights.devices import place

    step, state = programs.training(settings)
    state = [place(state, devices)]
    batch = programs.random_batch(settings)
    if way == "pmap":
        compiled = parallel.compile_step(step, donate=True, devices=devices)
    else:
        compiled = sharded(step, devices)

    def train():
        state[0], scalars = jax.block_until_ready(compiled(state[0], batch))
        return float(scalars["loss"])

    return train


def sharded(step, devices: list):
    """Compiles the step as for one device, with the batch sharded over all devices."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.asarray(devices), ("devices",))
    replicated = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("devices"))
    return jax.jit(
        partial(step, axis_name=None),
        in_shardings=(replicated, split),
        out_shardings=replicated,
        donate_argnums=0,
    )


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
