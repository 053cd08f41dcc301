"""Evaluates a network on the hold-out set or the test set: metrics and figures."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from colorjax.data import loader, sources
from colorjax.data.opening import open_source, spread
from colorjax.models.build import build_model, build_task, predict
from colorjax.models.colorizer import ColorizationNet
from colorjax.models.task import Example, Statistics, Task, summarize
from colorjax.ops import bins
from colorjax.pictures import image_io
from colorjax.settings import ARGMAX, Decoding, Settings, complete
from colorjax.training import figures, parallel, resume, steps
from colorjax.training.setup import check_training
from colorjax.weights import runs

MAX_PER_DEVICE = 32  # photographs per batch: metrics take more memory than training

Measure = Callable[[Any, Example], dict[str, jax.Array]]


class EvalOptions(NamedTuple):
    """How photographs are loaded and batched for evaluation."""

    load_size: int  # photographs are made square and resized to this side ...
    crop_size: int  # ... and the centre crop of this side is evaluated
    batch_size: int  # over all devices
    num_threads: int
    fit: str = "crop"  # how photographs are made square, as in `image_io.read_square`


def eval_options(settings: Settings) -> EvalOptions:
    """Returns the options that match training, but with centre crops instead of random crops."""
    data, limit = settings.data, MAX_PER_DEVICE * jax.device_count()
    batch_size = min(settings.batch_size, limit)
    return EvalOptions(
        load_size=data.load_size,
        crop_size=data.crop_size,
        batch_size=batch_size,
        num_threads=data.num_threads,
        fit=data.fit,
    )


def compile_average(
    options: EvalOptions, task: Task, items: Sequence, measure: Measure
) -> Callable[[Any], dict[str, np.ndarray]]:
    """Returns a function of the model's variables: the mean of `measure` over all `items`."""
    step = parallel.compile_step(
        partial(steps.eval_step, measure=measure, task=task, crop_size=options.crop_size)
    )

    def average(variables):
        totals: dict[str, Any] = {}
        for batch in _eval_batches(options, items, jax.process_index(), jax.process_count()):
            for name, x in jax.device_get(step(variables, batch)).items():
                totals[name] = totals.get(name, 0) + np.float64(x)  # float32 cannot count exactly
        count = totals.pop("count")
        return {name: total / count for name, total in totals.items()}

    return average


def compile_metrics(
    options: EvalOptions, model: ColorizationNet, task: Task, items: Sequence, decoding: Decoding
) -> Callable[[Any], dict[str, float]]:
    """Returns a function of the model's variables: every metric, averaged over `items`."""

    def measure(variables, example):
        return task.measure(predict(model, variables, example.gray), example, decoding)

    average = compile_average(options, task, items, measure)
    return lambda variables: summarize(average(variables))


def measure_baseline(
    options: EvalOptions, task: Task, items: Sequence, counts: np.ndarray
) -> dict[str, float]:
    """Measures the constant predictor, which predicts the training set's most frequent bins."""

    def measure(counts, example):
        # One cell is enlarged to the whole image: hundreds of scores per pixel take much memory.
        cell = jax.tree.map(lambda x: x[:, :1, :1], example)
        return task.measure(task.constant(counts, cell), example, ARGMAX)

    return summarize(compile_average(options, task, items, measure)(np.float32(counts)))


def measure_bins(options: EvalOptions, task: Task, items: Sequence) -> Statistics:
    """Measures the frequencies and means of the bins over the photographs of a training set."""
    average = compile_average(options, task, items, lambda _, example: task.statistics(example))
    averages = average(0.0)  # in place of variables, which the statistics do not depend on
    counts, sums = (len(items) * averages[name] for name in ("counts", "sums"))
    means = np.asarray(bins.bin_means(counts, sums, task.binning.centers), np.float64)
    return Statistics(counts, means, float(averages["clipped"]), len(items))


def compile_figure(
    settings: Settings, model: ColorizationNet, task: Task, source: sources.Source
) -> Callable[[Any], np.ndarray]:
    """Returns a function of the variables that draws gray | prediction | truth, uint8 [h, w, 3].

    Hold-out images come first, then some training images.
    """
    step = parallel.compile_step(
        partial(steps.predict_step, model=model, task=task, decoding=settings.decoding),
        devices=jax.local_devices()[:1],
    )
    holdout = spread(source.holdout, max(settings.figure_images // 2, 1))
    training = spread(source.train, settings.figure_images - len(holdout))
    batch = {"rgb": load_rgb(eval_options(settings), [*holdout, *training])}
    names = ["hold-out"] * len(holdout) + ["training"] * len(training)

    def draw(variables):
        return figures.image_grid(jax.device_get(step(variables, batch)), names)

    return draw


def evaluate(config: Any, workdir: Path, *, on_holdout: bool = False) -> dict[str, float]:
    """Measures a run's best checkpoint and draws its predictions; needs only the run's folder.

    Uses the test set if `data.test` asks for one, else the hold-out. The hold-out also selected the
    best checkpoint; the test set did not. Writes `eval.json` and `figures/eval.png`, and returns
    the metrics. With `on_holdout`, uses the hold-out in any case, and writes nothing if there is a
    test set, since the files are for its results then.
    """
    settings = complete(config)
    check_training(settings)
    resume.check_same_targets(workdir, runs.read_settings(workdir), settings)
    statistics = runs.read_statistics(workdir)
    model, task = build_model(settings), build_task(settings, statistics)
    step, variables = runs.load_variables(workdir, model, averaged=settings.ema > 0)
    source, options = open_source(settings.data), eval_options(settings)
    on_test = bool(source.test) and not on_holdout
    part, items = ("test", source.test) if on_test else ("hold-out", source.holdout)
    metrics = compile_metrics(options, model, task, items, settings.decoding)(variables)
    baseline = measure_baseline(options, task, items, statistics.counts)
    if parallel.is_writer():
        if on_test or not source.test:
            (workdir / "figures").mkdir(exist_ok=True)
            picture = compile_figure(settings, model, task, source)(variables)
            image_io.write(workdir / "figures" / "eval.png", picture)
            runs.write_json(
                workdir / "eval.json",
                {"step": step, "part": part, "model": metrics, "constant": baseline},
            )
        print(f"step {step}, the checkpoint with the lowest {runs.BEST_METRIC}")
        print(comparison(metrics, baseline, part))
    return metrics


def comparison(
    metrics: dict[str, float], baseline: dict[str, float], part: str = "hold-out"
) -> str:
    """Formats a small table of the metrics of the model and of the constant predictor.

    A metric that the baseline lacks, because an older version measured it, has an empty cell.
    """
    lines = [f"{part:<10} {'model':>10} {'constant bin':>14}"]
    for name, value in metrics.items():
        if name != "loss":  # a constant has no probabilities, and so no cross-entropy
            constant = f"{baseline[name]:14.4g}" if name in baseline else ""
            lines.append(f"{name:<10} {value:10.4g} {constant}".rstrip())
    return "\n".join(lines)


def load_rgb(options: EvalOptions, items: Sequence) -> np.ndarray:
    """Loads centre crops, uint8 [len(items), crop, crop, 3]; the same on all processes."""
    batches = [b["rgb"][b["mask"] > 0] for b in _eval_batches(options, items, 0, 1)]
    return steps.center_crop(np.concatenate(batches), options.crop_size)


def _eval_batches(options: EvalOptions, items: Sequence, process_index: int, process_count: int):
    return loader.eval_batches(
        items,
        size=options.load_size,
        fit=options.fit,
        batch_size=options.batch_size,
        process_index=process_index,
        process_count=process_count,
        num_threads=options.num_threads,
    )
