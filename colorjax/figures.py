"""Pictures of what a network made, and the curves of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP, _HEADER, _SIDE, _FONT_SIZE = 6, 24, 84, 14


def image_grid(
    columns: dict[str, np.ndarray], row_names: Sequence[str], min_side: int = 160
) -> np.ndarray:
    """Rows of pictures under named columns, as in the paper's figures.

    Args:
      columns: name -> pictures [rows, h, w, 3], sRGB in [0, 1]; all of one shape.
      row_names: what stands left of each row; a name that repeats is written once.
      min_side: smaller pictures are enlarged by a whole factor to at least this many pixels.

    Returns uint8 [height, width, 3].
    """
    rows, h, w, _ = next(iter(columns.values())).shape
    scale = -(-min_side // min(h, w))
    h, w = h * scale, w * scale
    sheet = Image.new(
        "RGB", (_SIDE + len(columns) * (w + _GAP), _HEADER + rows * (h + _GAP)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for j, (name, pictures) in enumerate(columns.items()):
        left = _SIDE + j * (w + _GAP)
        draw.text((left + w / 2, _HEADER / 2), name, "black", font, anchor="mm")
        for i, picture in enumerate(pictures):
            tile = Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255 + 0.5))
            sheet.paste(tile.resize((w, h), Image.BICUBIC), (left, _HEADER + i * (h + _GAP)))
    for i, name in enumerate(row_names):
        if i == 0 or name != row_names[i - 1]:
            draw.text((_GAP, _HEADER + i * (h + _GAP) + h / 2), name, "black", font, anchor="lm")
    return np.asarray(sheet)


def plot_curves(path: Path, rows: Sequence[dict[str, Any]], baseline: dict[str, float]) -> None:
    """Writes the curves of a run's metrics by step; `baseline` is drawn as a dotted line."""
    from matplotlib.figure import Figure  # a second to import, and not every process draws

    panels = {"loss": "loss", "acc_u": "Acc.U", "acc_v": "Acc.V", "sat_diff": "Sat. diff"}
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for split in ("train", "holdout"):
            of_split = [(r["step"], r.get(name)) for r in rows if r["split"] == split]
            points = [point for point in of_split if point[1] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, marker="." * (len(points) < 30))
        if name in baseline and name != "loss":  # a constant has no probabilities to be scored
            axes.axhline(baseline[name], color="gray", linestyle=":", label="constant bin")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=100)
