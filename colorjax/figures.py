"""Pictures of what a network made, and the curves of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PANELS = {"loss": "loss", "acc_u": "Acc.U", "acc_v": "Acc.V", "sat_diff": "Sat. diff"}
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


def plot_curves(rows: Sequence[dict[str, Any]], baseline: dict[str, float]) -> np.ndarray:
    """The curves of a run's metrics by step, uint8 [height, width, 3].

    `baseline` is drawn as a dotted line.
    """
    figure = _figure()
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
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
    return _pixels(figure)


def plot_sweep(rows: Sequence[dict[str, Any]], x: str, others: Sequence[str]) -> np.ndarray:
    """The metrics of a sweep's runs by the setting `x`, a line for each choice of `others`.

    The axis is logarithmic where the values are positive and span a factor of ten or more.
    Returns uint8 [height, width, 3].
    """
    lines: dict[str, list] = {}
    for row in rows:
        lines.setdefault(", ".join(f"{name}={row[name]}" for name in others), []).append(row)
    values = [row[x] for row in rows]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    figure = _figure()
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for label, line in lines.items():
            xs = [row[x] if numeric else str(row[x]) for row in line]
            axes.plot(xs, [row[name] for row in line], marker="o", label=label or None)
        if numeric and min(values) > 0 and max(values) >= 10 * min(values):
            axes.set_xscale("log")
        axes.set(title=title, xlabel=x)
        axes.grid(alpha=0.3)
    if others:
        axes.legend(frameon=False)
    return _pixels(figure)


def _figure():
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
