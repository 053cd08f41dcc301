"""Pictures that compare photos: before and after, or the results of several settings."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from colorjax.coloring.settings import ColorSettings

GAP = 0.01  # between two pictures in a row, as a share of the longer side
MAX_CELL_SIDE = 480  # longer side of a picture in a grid, in pixels
COLUMNS = 4
_CAPTION, _MARGIN, _FONT_SIZE = 26, 8, 15

Arrange = Callable[[np.ndarray, Sequence[np.ndarray]], list[np.ndarray]]


def side_by_side(photo: np.ndarray, results: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Puts the photo and each result side by side: uint8 [h, 2 w + gap, 3] each."""
    gap = max(1, round(GAP * max(photo.shape)))
    return [in_a_row([photo, result], gap) for result in results]


def in_a_row(pictures: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Puts pictures of one height side by side with white gaps: uint8 [h, w, 3]."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    first, *others = pictures
    return np.concatenate([first, *(x for other in others for x in (white, other))], axis=1)


def grid(
    decodes: bool, rebalanced: bool, base: ColorSettings
) -> tuple[list[ColorSettings], Arrange]:
    """Returns settings that are worth comparing, and a function that draws a sheet of results.

    The caption of each result is the command-line option that gives it.

    Args:
      decodes: whether the network scores bins; False if it predicts chroma itself.
      rebalanced: whether its training used class rebalancing.
      base: the settings from which the others differ by one option.
    """
    chosen = {"as set": base}
    if decodes:
        chosen |= {
            "--decode argmax": base._replace(decode="argmax"),
            "--decode mean": base._replace(decode="mean"),
            **{
                f"--decode annealed --temperature {t:g}": base._replace(
                    decode="annealed", temperature=t
                )
                for t in (0.2, 0.5)
            },
            **{
                f"--decode sample --seed {seed}": base._replace(decode="sample", seed=seed)
                for seed in range(base.seed, base.seed + 3)
            },
        }
    if rebalanced:
        chosen |= {f"--rebalance {share}": base._replace(rebalance=share) for share in (0, 1)}
    for factor in (0.7, 1.3):
        saturation = factor * base.saturation
        chosen[f"--saturation {saturation:g}"] = base._replace(saturation=saturation)
    chosen["--edges bilinear"] = base._replace(edges="bilinear")
    return list(chosen.values()), lambda photo, results: [
        sheet([photo, *results], ["the photo", *chosen])
    ]


def sheet(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Draws pictures of one size in a grid, with captions above them: uint8 [h, w, 3]."""
    height, width, _ = pictures[0].shape
    columns, rows = min(COLUMNS, len(pictures)), -(-len(pictures) // COLUMNS)
    font = ImageFont.load_default(_FONT_SIZE)
    widest = max(int(font.getlength(caption)) + 1 for caption in captions)
    step = max(width, widest) + _MARGIN, height + _CAPTION + _MARGIN
    drawn = Image.new("RGB", (columns * step[0] + _MARGIN, rows * step[1]), "white")
    draw = ImageDraw.Draw(drawn)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = _MARGIN + i % COLUMNS * step[0], i // COLUMNS * step[1]
        draw.text((left, top + _CAPTION / 2), caption, "black", font, anchor="lm")
        drawn.paste(Image.fromarray(picture), (left, top + _CAPTION))
    return np.asarray(drawn)
