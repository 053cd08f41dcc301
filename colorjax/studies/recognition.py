"""Measures whether a classifier recognises what coloured photographs show.

Zhang, Isola and Efros 2016 (section 3.2) had VGG16 classify ImageNet's photographs in their own
colours, in gray, and in predicted colours: plausible colours help the classifier. This module uses
EfficientNet-Lite0's classifier of ImageNet's 1000 classes, at 224 pixels; it was not trained on
predicted colours. The `pooled` features of the same network give the Frechet distance between
results and truths, which needs no labels.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from colorjax.coloring import colorize
from colorjax.coloring.colorize import Painter, open_painter
from colorjax.coloring.network import tiles
from colorjax.coloring.settings import ColorSettings
from colorjax.data.places import Item
from colorjax.errors import UserError
from colorjax.models.efficientnet import EfficientNetLite
from colorjax.ops import metrics, resample
from colorjax.pictures import photo
from colorjax.studies import imagenet
from colorjax.studies.assess import GRAY, MEAN, TRUTH, mean_chroma
from colorjax.weights.published.efficientnet import classifier_params
from colorjax.weights.released import Network

NETWORK = "EfficientNet-Lite0"
SIDE = 224  # pixels; side of the squares that the classifier was trained on
SHOWN = {"top_1": "top-1", "won_back": "won back", "frechet_lite0": "Frechet (Lite0)"}


class Predictions(NamedTuple):
    """A classifier's outputs for n pictures."""

    classes: np.ndarray  # int [n], the most likely class, 0 to 999
    features: np.ndarray  # float32 [n, d], the inputs of the classifier's last layer


# Takes sRGB pictures, uint8 [b, SIDE, SIDE, 3].
Classifier = Callable[[np.ndarray], Predictions]


def open_classifier() -> Classifier:
    """Returns EfficientNet-Lite0 with its published weights, downloaded unless they are cached.

    Raises:
      UserError: the weights cannot be downloaded, or the cached ones are damaged.
    """
    return classifier_of(classifier_params())


def classifier_of(params: dict[str, Any], width: float = 1.0) -> Classifier:
    """Returns EfficientNet-Lite with given params; see `EfficientNetLite` for both arguments."""
    model = EfficientNetLite(width, classifier=True)

    @jax.jit
    def predict(params, rgb_u8):
        with jax.default_matmul_precision("highest"):  # a GPU would use tf32 by default
            taps = cast(Mapping[str, jax.Array], model.apply({"params": params}, rgb_u8))
        return jnp.argmax(taps["logits"], axis=-1), taps["pooled"]

    return lambda rgb_u8: Predictions(*jax.device_get(predict(params, rgb_u8)))


def known_classes(
    name: str, photos: Sequence[Item], table: dict[str, int] | None = None
) -> list[int | None]:
    """Returns the class of each photograph from `imagenet.labels`, or None where it is unknown.

    Args:
      name: of the photographs, for the error message.
      photos: from `sources.open_folders`.
      table: from `imagenet.read_table`.

    Raises:
      UserError: no photograph has a known class, or a folder's name denotes several classes.
    """
    # The name of the searched folder may itself denote a class.
    paths = [item.key if table is not None else _with_folder(item) for item in photos]
    labels = imagenet.labels(paths, table)
    if all(label is None for label in labels):
        fault = (
            "is in the table of labels, want their names as they are in the folder"
            if table is not None
            else "has a folder or file that is named after an ImageNet class, want that or --labels"
        )
        raise UserError(
            f"{name}: none of its {len(labels)} photographs {fault}; --frechet alone needs none"
        )
    return labels


def _with_folder(item: Item) -> str:
    """Returns a photograph's path, starting with the name of the folder that was searched."""
    assert isinstance(item.data, Path)  # true of every item from a folder
    path = Path(os.path.abspath(item.data))
    return "/".join(path.parts[-(item.key.count("/") + 2) :])


def recognise(
    networks: dict[str, Network],
    photos: Sequence[Item],
    labels: Sequence[int | None] | None,
    classifier: Classifier,
) -> dict[str, dict[str, float | None]]:
    """Measures how well photographs are recognised in their own colours, in models', and in gray.

    Each model colours them at full size with its own settings, as `colorjax` does for users. The
    results are then cropped and resized by `square`. The baselines are those of `assess.assess`;
    they too keep the photograph's lightness.

    Args:
      networks: the models by name.
      photos: colour photographs from `sources.open_folders`.
      labels: their classes from `known_classes`; None to compute only the Frechet distance.
      classifier: from `open_classifier`.

    Returns:
      {row: {name: number}} of the truth, the baselines and the models:
        `top_1`: the share of the labelled photographs whose label is the classifier's top class.
        `won_back`: the share of the accuracy lost without colours that the row's colours restore:
          (top_1 - gray's) / (truth's - gray's); None if gray loses no accuracy.
        `labelled`: the number of photographs that have a label.
        `frechet_lite0`: `metrics.frechet_distance` between the features of all photographs in the
          row's colours and in their own. It uses the 1280 pooled features of EfficientNet-Lite0, so
          it is not FID. It is biased for small sets: with fewer than about 1280 photographs,
          compare it only between results for the same photographs.

    Raises:
      UserError: a photograph cannot be read, there is only one, or the first model's colour space
        is not CIELUV.
    """
    if len(photos) < 2:
        raise UserError(f"{len(photos)} photograph has no Frechet distance, want at least 2")
    painters = {name: open_painter(network) for name, network in networks.items()}
    chroma = mean_chroma(next(iter(networks.values())))
    rows = [TRUTH, GRAY, MEAN, *networks]
    predictions = []  # of each photograph, in the order of rows
    for item in tqdm(photos, "recognising", unit="photo", delay=1, disable=None):
        rgb_u8 = photo.read_photo(item.data).rgb
        coloured = [square(picture) for picture in in_colours(painters, chroma, rgb_u8)]
        predictions.append(classifier(np.stack(coloured)))
    by_row = {
        row: Predictions(
            *(np.stack([part[i] for part in parts]) for parts in zip(*predictions, strict=True))
        )
        for i, row in enumerate(rows)
    }
    return summarize(by_row, labels)


def in_colours(
    painters: dict[str, Painter], chroma: np.ndarray, rgb_u8: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields a photograph in its own colours, in gray, in one chroma [2], and by each painter.

    All are uint8 [height, width, 3]. Each is computed when it is requested.
    """
    yield rgb_u8
    first = next(iter(painters.values()))
    for constant in (np.zeros(2), chroma):
        fits = resample.unguided_fits(jnp.asarray(constant, jnp.float32)[None, None])
        yield tiles.color_photo(first.color_tile, fits, rgb_u8)
    for painter in painters.values():
        ((_, (result,)),) = colorize.colorize(painter, [rgb_u8], [ColorSettings()])
        yield result


def square(rgb_u8: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Returns the largest centre square, resized to `side` pixels: bicubic, antialiased.

    uint8 [height, width, 3] -> [side, side, 3]. Smaller pictures are enlarged.
    """
    height, width, _ = rgb_u8.shape
    shorter = min(height, width)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    image = Image.fromarray(rgb_u8)
    box = (left, top, left + shorter, top + shorter)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def summarize(
    predictions: dict[str, Predictions], labels: Sequence[int | None] | None
) -> dict[str, dict[str, float | None]]:
    """Computes the metrics of `recognise` from each row's predictions; needs TRUTH and GRAY."""
    truth = predictions[TRUTH].features
    distance = {
        row: metrics.frechet_distance(outputs.features, truth)
        for row, outputs in predictions.items()
    }
    if labels is None:
        return {row: {"frechet_lite0": distance[row]} for row in predictions}
    known = np.array([label is not None for label in labels])
    targets = np.array([label for label in labels if label is not None])
    accuracy = {
        row: float(np.mean(outputs.classes[known] == targets))
        for row, outputs in predictions.items()
    }
    share = functools.partial(won_back, gray=accuracy[GRAY], truth=accuracy[TRUTH])
    return {
        row: {
            "top_1": accuracy[row],
            "won_back": share(accuracy[row]),
            "labelled": len(targets),
            "frechet_lite0": distance[row],
        }
        for row in predictions
    }


def won_back(accuracy: float, gray: float, truth: float) -> float | None:
    """Scales an accuracy to 0 at gray's and 1 at the truth's; None unless truth > gray."""
    return (accuracy - gray) / (truth - gray) if truth > gray else None


def joined(
    measured: dict[str, dict[str, Any]], recognised: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Merges the metrics of `assess.assess` and `recognise`, row by row."""
    return {row: {**measured.get(row, {}), **more} for row, more in recognised.items()}


def note(labels: Sequence[int | None] | None, count: int) -> str:
    """Returns text that explains the columns of `SHOWN` for `count` photographs."""
    lines = [
        f"Frechet (Lite0): Frechet distance between the pooled {NETWORK} features of the {count} "
        "results and of their truths; not FID."
    ]
    if labels is not None:
        known = sum(label is not None for label in labels)
        lines.insert(
            0,
            (
                f"top-1: share of {known} photographs that {NETWORK} recognises at {SIDE} pixels; "
                f"{count - known} of {count} ({(count - known) / count:.0%}) are of no known class."
            ),
        )
    return "\n".join(lines)
