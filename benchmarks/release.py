"""Times the released model's training step, and two parts of it that are optimized for CPUs.

The depthwise layer and the loss are compared with those of XLA and optax. The step is timed when it
trains the whole encoder and when it trains the layers of `configs/release.py`, on one device and on
two simulated devices. Weights and pictures are random, as times do not depend on them.
"""

import json
import os
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.report import Table
from benchmarks.settings import Settings

BATCH, CROP = 32, 112  # of the release config; --batch and --size only affect the paper's networks
LAYER = (16, 32, 32, 144)  # batch, height, width and channels of a depthwise layer, 5x5
TOLERANCE = 1e-4


def measure(settings: Settings) -> list[Table]:
    """Returns three tables: a depthwise layer, the loss, the training step."""
    return [layer(settings), loss(settings), step(settings)]


def layer(settings: Settings) -> Table:
    """Times a depthwise convolution and its gradient with respect to the input."""
    import jax
    import jax.numpy as jnp

    from colorjax.models import efficientnet

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=LAYER), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(5, 5, 1, LAYER[-1])), jnp.float32)

    def contender(convolve):
        compiled = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(convolve(x, kernel)))))
        return lambda: jax.block_until_ready(compiled(x))

    def grouped(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )

    works = {"ours": contender(efficientnet.depthwise), "XLA's grouped": contender(grouped)}
    return table(f"depthwise layer, {LAYER}, 5x5, and its gradient", works, settings, LAYER[0])


def loss(settings: Settings) -> Table:
    """Times the cross-entropy against soft targets of 449 bins, and its gradient."""
    import jax
    import jax.numpy as jnp
    import optax

    from colorjax.ops import losses

    rng = np.random.default_rng(0)
    shape = (BATCH, CROP // 4, CROP // 4, 1, 449)
    logits, scores = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    targets = jax.nn.softmax(5 * scores)

    def contender(loss_of):
        compiled = jax.jit(jax.value_and_grad(lambda x: jnp.mean(loss_of(x, targets))))
        return lambda: jax.block_until_ready(compiled(logits))

    works = {
        "ours": contender(losses.soft_cross_entropy),
        "optax's": contender(optax.losses.softmax_cross_entropy),
    }
    return table(f"loss of {BATCH} x {CROP}, and its gradient", works, settings, BATCH)


def table(title: str, works: dict, settings: Settings, images: int) -> Table:
    """Times contenders that return (value, gradient); raises ValueError if their results differ."""
    _, results = harness.warm_up(works, 1)
    reference = results[next(iter(works))][0]
    for name, (result,) in results.items():
        for i, what in enumerate(("value", "gradient")):
            harness.difference(
                f"{what} of {name}", *map(np.asarray, (result[i], reference[i])), TOLERANCE
            )
    return Table(title, harness.compare(harness.interleave(works, settings.repeats), images))


def step(settings: Settings) -> Table:
    """Times each setting in a new process, because jax fixes the number of devices at its start."""
    rows = []
    for trained in ("as released", "all"):
        for devices in (1, 2):
            flag = f"--xla_force_host_platform_device_count={devices}"
            times = harness.child(
                "benchmarks.release",
                {"trained": trained, "repeats": settings.repeats},
                XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {flag}",
                MALLOC_MMAP_THRESHOLD_=str(2**32),
                MALLOC_TRIM_THRESHOLD_=str(2**32),
            )
            rows.append({"trained": trained, "devices": devices, **times})
    for row in rows:
        row["ratio"] = row["median_s"] / rows[0]["median_s"]
    return Table(f"training step of {BATCH} x {CROP}, float32", rows)


def main(trained: str, repeats: int) -> dict[str, Any]:
    """Runs in the child process; returns seconds, images per second and CPU seconds of a step."""
    import time

    import jax

    from colorjax.models import build
    from colorjax.models.task import Statistics
    from colorjax.settings import complete
    from colorjax.training import parallel, setup, steps
    from colorjax.training.augment import augmentation_of
    from colorjax.weights.devices import place
    from configs import release

    config = release.get_config("classify,first")
    config.model.encoder_weights = "none"
    if trained == "all":
        config.model.train_depthwise, config.model.frozen_stages = True, 0
    settings = complete(config)
    model, tx = build.build_model(settings), setup.build_optimizer(settings)
    uniform = Statistics(np.ones((1, model.num_bins)), None)
    compiled = parallel.compile_step(
        partial(
            steps.train_step,
            model=model,
            task=build.build_task(settings, uniform),
            tx=tx,
            augmentation=augmentation_of(settings),
            average_decay=settings.ema,
        ),
        donate=True,
    )
    side = settings.data.load_size
    rgb = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    batch = {"rgb": rgb, "example": np.arange(BATCH, dtype=np.int32)}
    state = [place(setup.init_state(settings, model, tx))]

    def train():
        state[0], scalars = jax.block_until_ready(compiled(state[0], batch))
        return float(scalars["loss"])

    works = {"step": train}
    _, losses = harness.warm_up(works, 2)
    start = time.process_time()
    (row,) = harness.compare(harness.interleave(works, repeats), BATCH)
    row["cpu_s"] = (time.process_time() - start) / repeats
    del row["contender"], row["ratio"]
    return {**row, "first_loss": losses["step"][0]}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
