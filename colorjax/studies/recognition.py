"""Whether a network that knows things by their colours still knows them in coloured photographs.

Zhang, Isola and Efros 2016 (section 3.2) had VGG16 classify ImageNet's photographs in colour, in
gray and coloured: what is in a photograph is told better by the colours that it would have. Here
EfficientNet-Lite0's own classifier of ImageNet's 1000 classes does it, at 224 pixels, none of it
trained on anything that was coloured. The same network's `pooled` features give the Frechet
distance between results and truths, for which nobody has to know what the photographs show.
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
from colorjax.coloring.settings import Settings
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
SIDE = 224  # pixels, of the squares that it was trained on
SHOWN = {"top_1": "top-1", "won_back": "won back", "frechet_lite0": "Frechet (Lite0)"}


class Predictions(NamedTuple):
    """What a classifier makes of n pictures."""

    classes: np.ndarray  # int [n], the likeliest of 0 to 999
    features: np.ndarray  # float32 [n, d], from which it tells the classes


# uint8 [b, SIDE, SIDE, 3] sRGB -> what it sees
Classifier = Callable[[np.ndarray], Predictions]


def open_classifier() -> Classifier:
    """EfficientNet-Lite0 with its published weights, from the user's cache or else fetched.

    Raises:
      UserError: the weights cannot be had, or those in the cache are damaged.
    """
    return classifier_of(classifier_params())


def classifier_of(params: dict[str, Any], width: float = 1.0) -> Classifier:
    """EfficientNet-Lite with some params; see `EfficientNetLite` for both."""
    model = EfficientNetLite(width, classifier=True)

    @jax.jit
    def see(params, rgb_u8):
        with jax.default_matmul_precision("highest"):  # a GPU's would be tf32
            taps = cast(Mapping[str, jax.Array], model.apply({"params": params}, rgb_u8))
        return jnp.argmax(taps["logits"], axis=-1), taps["pooled"]

    return lambda rgb_u8: Predictions(*jax.device_get(see(params, rgb_u8)))


def known_classes(
    name: str, photos: Sequence[Item], table: dict[str, int] | None = None
) -> list[int | None]:
    """What the photographs show, as `imagenet.labels` knows it; None where it does not.

    Args:
      name: what the message calls the photographs.
      photos: from `sources.open_folders`.
      table: from `imagenet.read_table`.

    Raises:
      UserError: it is known of none of them, or a folder's name is that of several classes.
    """
    # A folder that is named itself may be that of a class.
    paths = [one.key if table is not None else _with_folder(one) for one in photos]
    labels = imagenet.labels(paths, table)
    if all(label is None for label in labels):
        fault = (
            "is in the table of labels, want their names as they are in the folder"
            if table is not None
            else "has a folder or file that is named by a class of ImageNet, want such or --labels"
        )
        raise UserError(
            f"{name}: none of its {len(labels)} photographs {fault}; --frechet alone needs none"
        )
    return labels


def _with_folder(one: Item) -> str:
    """A photograph's path in the folder that was searched, whose own name comes first."""
    assert isinstance(one.data, Path)  # as of whatever lies in a folder
    path = Path(os.path.abspath(one.data))
    return "/".join(path.parts[-(one.key.count("/") + 2) :])


def recognise(
    networks: dict[str, Network],
    photos: Sequence[Item],
    labels: Sequence[int | None] | None,
    classifier: Classifier,
) -> dict[str, dict[str, float | None]]:
    """How well photographs are recognised in their own colours, in those of models, and in none.

    They are coloured as users' are, at their own size and by each model's own settings, and then
    made `square`. Baselines as in `assess.assess`, which keep the photograph's lightness too.

    Args:
      networks: the models by name.
      photos: in colour, from `sources.open_folders`.
      labels: their classes, from `known_classes`; None for the distance alone.
      classifier: from `open_classifier`.

    Returns:
      {row: {name: number}} of the truth, the baselines and the models:
        `top_1`: the share of the photographs with a label whose class is the likeliest of 1000.
        `won_back`: how much of what is lost with the truth's colours comes with a row's:
          (top_1 - gray's) / (truth's - gray's); None where nothing is lost.
        `labelled`: how many photographs have a label.
        `frechet_lite0`: `metrics.frechet_distance` of the features of all photographs in a row's
          colours and in the truth's. Of EfficientNet-Lite0's pooled features (1280), it is not FID,
          and biased where photographs are few: with fewer than about 1280, compare it only
          between results for the same ones.

    Raises:
      UserError: a photograph cannot be read, there is only one, or the first model's space is not
        CIELUV.
    """
    if len(photos) < 2:
        raise UserError(f"of {len(photos)} photograph there is no Frechet distance, want 2 or more")
    painters = {name: open_painter(network) for name, network in networks.items()}
    chroma = mean_chroma(next(iter(networks.values())))
    rows = [TRUTH, GRAY, MEAN, *networks]
    found = []
    for one in tqdm(photos, "recognising", unit="photo", delay=1, disable=None):
        rgb_u8 = photo.read_photo(one.data).rgb
        coloured = [square(picture) for picture in in_colours(painters, chroma, rgb_u8)]
        found.append(classifier(np.stack(coloured)))
    seen = {
        row: Predictions(
            *(np.stack([part[i] for part in parts]) for parts in zip(*found, strict=True))
        )
        for i, row in enumerate(rows)
    }
    return summarize(seen, labels)


def in_colours(
    painters: dict[str, Painter], chroma: np.ndarray, rgb_u8: np.ndarray
) -> Iterator[np.ndarray]:
    """A photograph as it is, in gray, in one chroma [2] and in each painter's colours.

    All are uint8 [height, width, 3]; only one is made at a time.
    """
    yield rgb_u8
    first = next(iter(painters.values()))
    for everywhere in (np.zeros(2), chroma):
        fits = resample.plain_chroma(jnp.asarray(everywhere, jnp.float32)[None, None])
        yield tiles.full_size(first.color_tile, fits, rgb_u8)
    for painter in painters.values():
        ((_, (result,)),) = colorize.colorize(painter, [rgb_u8], [Settings()])
        yield result


def square(rgb_u8: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The centre square, its shorter side made `side` pixels: bicubic, antialiased.

    uint8 [height, width, 3] -> [side, side, 3]. Smaller pictures are enlarged.
    """
    height, width, _ = rgb_u8.shape
    least = min(height, width)
    left, top = (width - least) / 2, (height - least) / 2
    image = Image.fromarray(rgb_u8)
    box = (left, top, left + least, top + least)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))


def summarize(
    seen: dict[str, Predictions], labels: Sequence[int | None] | None
) -> dict[str, dict[str, float | None]]:
    """From what was seen in each row, TRUTH and GRAY among them, to `recognise`'s numbers."""
    truth = seen[TRUTH].features
    distance = {row: metrics.frechet_distance(one.features, truth) for row, one in seen.items()}
    if labels is None:
        return {row: {"frechet_lite0": distance[row]} for row in seen}
    known = np.array([label is not None for label in labels])
    wanted = np.array([label for label in labels if label is not None])
    right = {row: float(np.mean(one.classes[known] == wanted)) for row, one in seen.items()}
    back = functools.partial(won_back, gray=right[GRAY], truth=right[TRUTH])
    return {
        row: {
            "top_1": right[row],
            "won_back": back(right[row]),
            "labelled": len(wanted),
            "frechet_lite0": distance[row],
        }
        for row in seen
    }


def won_back(share: float, gray: float, truth: float) -> float | None:
    """Where a share lies between gray's (0) and the truth's (1); None if that says nothing."""
    return (share - gray) / (truth - gray) if truth > gray else None


def joined(
    measured: dict[str, dict[str, Any]], recognised: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Both kinds of metrics of each row, which `assess.assess` and `recognise` found."""
    return {row: {**measured.get(row, {}), **more} for row, more in recognised.items()}


def note(labels: Sequence[int | None] | None, count: int) -> str:
    """What the columns of `SHOWN` are, for `count` photographs with these labels."""
    lines = [
        f"Frechet (Lite0): between the pooled features of {NETWORK} of the {count} results and of "
        "their truths; not FID."
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
