"""Image grids of predictions, and plots of metrics."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]

PANELS = {"loss": "loss", "acc_u": "Acc.U", "acc_v": "Acc.V", "sat_diff": "Sat. diff"}
_GAP, _HEADER, _SIDE, _FONT_SIZE = 6, 24, 84, 14
_TRUTH = "0.55"  # the gray in which the truth is drawn
_PATHS = ("black", "firebrick", "teal")


def image_grid(
    columns: dict[str, np.ndarray], row_names: Sequence[str], min_side: int = 160
) -> np.ndarray:
    """Draws rows of images under named columns, as in the paper's figures.

    Args:
      columns: name -> images [rows, h, w, 3], sRGB in [0, 1]; all have the same shape.
      row_names: the label left of each row; a repeated label is written once. If empty, no space
        is reserved for labels.
      min_side: smaller images are enlarged by an integer factor to at least this many pixels.

    Returns:
      uint8 [height, width, 3].
    """
    rows, h, w, _ = next(iter(columns.values())).shape
    scale = -(-min_side // min(h, w))
    h, w = h * scale, w * scale
    side = _SIDE if row_names else _GAP
    sheet = Image.new(
        "RGB", (side + len(columns) * (w + _GAP), _HEADER + rows * (h + _GAP)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for j, (name, pictures) in enumerate(columns.items()):
        left = side + j * (w + _GAP)
        draw.text((left + w / 2, _HEADER / 2), name, "black", font, anchor="mm")
        for i, picture in enumerate(pictures):
            tile = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))
            sheet.paste(
                tile.resize((w, h), Image.Resampling.BICUBIC), (left, _HEADER + i * (h + _GAP))
            )
    for i, name in enumerate(row_names):
        if i == 0 or name != row_names[i - 1]:
            draw.text((_GAP, _HEADER + i * (h + _GAP) + h / 2), name, "black", font, anchor="lm")
    return np.asarray(sheet)


def plot_curves(rows: Sequence[dict[str, Any]], baseline: dict[str, float]) -> np.ndarray:
    """Plots a run's metrics by step, uint8 [height, width, 3].

    `baseline` is drawn as a dotted line.
    """
    figure = _figure()
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for split in ("train", "holdout"):
            split_points = [(r["step"], r.get(name)) for r in rows if r["split"] == split]
            points = [point for point in split_points if point[1] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, marker="." * (len(points) < 30))
        if name in baseline and name != "loss":  # a constant has no probabilities, so no loss
            axes.axhline(baseline[name], color="gray", linestyle=":", label="constant bin")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    return _pixels(figure)


def plot_sweep(rows: Sequence[dict[str, Any]], x: str, others: Sequence[str]) -> np.ndarray:
    """Plots the metrics of a sweep's runs by the setting `x`, one line per choice of `others`.

    The x axis is logarithmic if the values are positive and span a factor of ten or more.
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


def plot_losses(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[Point]]]]) -> np.ndarray:
    """Plots the loss by photographs seen: {panel: {run: {"train" | "holdout": points}}}.

    There is one row per panel, with training on the left and hold-out on the right. The first run
    of a panel is the reference for the others and is drawn in black. Returns uint8 [h, w, 3].
    """
    figure = _figure(12, 3.0 * max(len(panels), 1))
    rows = figure.subplots(max(len(panels), 1), 2, squeeze=False)
    for (name, runs), pair in zip(panels.items(), rows, strict=False):
        for axes, split in zip(pair, ("train", "holdout"), strict=True):
            lines = {run: curves[split] for run, curves in runs.items() if curves.get(split)}
            for run, points in lines.items():
                first = run == next(iter(runs))
                axes.plot(
                    *zip(*points, strict=True),
                    label=run,
                    marker="." * (len(points) < 30),
                    **{"color": "black", "linewidth": 2.2, "zorder": 3} if first else {},
                )
            _frame_losses(axes, [y for points in lines.values() for _, y in points])
            title = "training" if split == "train" else "hold-out"
            axes.set(title=f"{name}: {title}", xlabel="photographs seen", ylabel="loss")
        handles, labels = max((axes.get_legend_handles_labels() for axes in pair), key=_length)
        if handles:
            pair[1].legend(
                handles, labels, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5)
            )
    return _pixels(figure)


def plot_saturation(shares: dict[str, np.ndarray]) -> np.ndarray:
    """Plots histograms of HSV saturation, {name: [n] shares of the pixels}; "truth" is filled.

    Returns uint8 [h, w, 3].
    """
    figure = _figure(9, 4)
    axes = figure.subplots()
    for name, share in shares.items():
        edges = np.linspace(0, 1, len(share) + 1)
        mean = float(np.sum(share * (edges[:-1] + edges[1:]) / 2))
        truth = name == "truth"
        axes.stairs(
            100 * np.asarray(share),
            edges,
            label=f"{name}, mean {mean:.2f}",
            fill=truth,
            **{"color": _TRUTH, "alpha": 0.5} if truth else {"linewidth": 2},
        )
    axes.set(xlabel="HSV saturation", ylabel="share of the hold-out's pixels, %", xlim=(0, 1))
    axes.grid(alpha=0.3)
    if shares:
        axes.legend(frameon=False)
    return _pixels(figure)


def plot_colorfulness(
    groups: dict[str, dict[str, Point]], paths: dict[str, dict[str, Point]], truth: float | None
) -> np.ndarray:
    """Plots points (colorfulness, PSNR), labelled where there is room.

    Args:
      groups: {group: {run: point}}; each group has its own marker.
      paths: {run: {decoding: point}}; the points are decodings of one checkpoint, joined in order.
      truth: colorfulness of the photographs themselves, drawn as a line; None for no line.

    Returns:
      uint8 [h, w, 3].
    """
    figure = _figure(12, 7)
    axes = figure.subplots()
    labels = []
    if truth is not None:
        axes.axvline(truth, color=_TRUTH, linestyle="--", label="the photographs themselves")
    for (run, points), color in zip(paths.items(), itertools.cycle(_PATHS), strict=False):
        axes.plot(
            *zip(*points.values(), strict=True),
            color=color,
            marker=".",
            linewidth=1,
            label=f"{run}, decoded in several ways",
        )
        labels += [(name, point, color) for name, point in points.items()]
    for (group, points), marker in zip(groups.items(), itertools.cycle("osD^vPX*"), strict=False):
        axes.scatter(*zip(*points.values(), strict=True), marker=marker, s=45, label=group)
        labels = [(name, point, "0.25") for name, point in points.items()] + labels
    axes.set(xlabel="colorfulness (Hasler and Suesstrunk's M3)", ylabel="PSNR, dB")
    axes.margins(0.08)
    axes.grid(alpha=0.3)
    if groups or paths:
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.draw_without_rendering()  # computes the layout, and so the positions of the points
    _label_points(axes, labels)
    return _pixels(figure)


def _label_points(axes, labels: Sequence[tuple[str, Point, str]]) -> None:
    """Writes the labels (text, point, color) beside their points without overlaps.

    A label is left out if no position beside its point is free.
    """
    taken = []  # boxes in pixels: left, bottom, right, top
    for _, point, _ in labels:
        x, y = axes.transData.transform(point)
        taken.append((x - 4, y - 4, x + 4, y + 4))
    for text, point, color in labels:
        x, y = axes.transData.transform(point)
        half = 3.5 * len(text)  # about half the width of the text in pixels
        for dx, dy in (
            (half + 8, 0),
            (-half - 8, 0),
            (0, 12),
            (0, -12),
            (half + 6, 10),
            (-half - 6, 10),
            (half + 6, -10),
            (-half - 6, -10),
            (0, 24),
            (0, -24),
        ):
            box = (x + dx - half, y + dy - 6, x + dx + half, y + dy + 6)
            if _inside(box, axes.bbox) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                axes.annotate(
                    text,
                    point,
                    (dx * 0.72, dy * 0.72),
                    textcoords="offset points",
                    fontsize=8,
                    color=color,
                    ha="center",
                    va="center",
                )
                break


def _inside(box: tuple, frame) -> bool:
    return (frame.x0 < box[0] and box[2] < frame.x1) and (frame.y0 < box[1] and box[3] < frame.y1)


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def plot_prior(
    centers: np.ndarray,
    counts: np.ndarray,
    prior: np.ndarray,
    weights: np.ndarray,
    colors: np.ndarray,
) -> np.ndarray:
    """Plots the frequency of each bin, before and after blurring, and its weight in the loss.

    Args:
      centers: [G, Q, D]. Two groups of one channel each (D = 1) are drawn as bars; one group of two
        channels (D = 2) is drawn as maps.
      counts, prior, weights: [G, Q].
      colors: sRGB [G, Q, 3] in [0, 1], the colours of the bins.

    Returns:
      uint8 [h, w, 3].
    """
    if centers.shape[-1] == 2:
        return _plot_joint_prior(centers[0], counts[0], prior[0], weights[0], colors[0])
    figure = _figure(13, 4)
    names = ("first channel of chroma", "second channel of chroma")
    for group, axes in enumerate(figure.subplots(1, len(centers))):
        x, share = centers[group, :, 0], counts[group] / counts[group].sum()
        width = x[1] - x[0] if len(x) > 1 else 1.0
        axes.bar(x, share, width, color=colors[group], label="frequency")
        axes.step(x, prior[group], where="mid", color="black", label="blurred")
        axes.set(xlabel=names[group], ylabel="share of pixels", yscale="log")
        axes.set_ylim(bottom=max(min(share[share > 0]) / 2, 1e-7))
        other = axes.twinx()
        other.step(x, weights[group], where="mid", color="tab:red", linestyle="--")
        other.set_ylabel("weight of the loss", color="tab:red")
        axes.legend(frameon=False, loc="lower center")
    return _pixels(figure)


def _plot_joint_prior(centers, counts, prior, weights, colors) -> np.ndarray:
    """Draws three maps of the chroma plane: the bins' colours, frequencies and weights."""
    from matplotlib.colors import LogNorm

    figure = _figure(13, 4.2)
    first, second = (np.unique(centers[:, d]) for d in (0, 1))
    step = min(np.diff(first).min(initial=1e9), np.diff(second).min(initial=1e9))
    low = centers.min(axis=0)
    column, row = np.round((centers - low) / step).astype(int).T
    extent = [low[0] - step / 2, first[-1] + step / 2, low[1] - step / 2, second[-1] + step / 2]

    def image(values):
        grid = np.full((row.max() + 1, column.max() + 1, *values.shape[1:]), np.nan)
        grid[row, column] = values
        return grid

    shown = np.nan_to_num(image(colors), nan=1.0)
    share = np.where(counts > 0, counts / counts.sum(), np.nan)
    maps = {f"{len(centers)} bins": shown, "frequency": image(share), "weight": image(weights)}
    for axes, (title, grid) in zip(figure.subplots(1, 3), maps.items(), strict=True):
        norm = LogNorm() if title == "frequency" and np.isfinite(grid).any() else None
        drawn = axes.imshow(grid, extent=extent, origin="lower", norm=norm, interpolation="none")
        axes.set(title=title, xlabel="first channel of chroma", ylabel="second channel")
        if grid.ndim == 2:
            figure.colorbar(drawn, ax=axes, shrink=0.8)
    return _pixels(figure)


def _frame_losses(axes, losses: Sequence[float]) -> None:
    """Limits the y axis, since the first steps may have a hundred times the loss of later ones."""
    axes.grid(alpha=0.3)
    if losses and min(losses) > 0:
        low, high = min(losses), float(np.percentile(losses, 95))
        axes.set_ylim(low - 0.05 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)


def _length(handles_and_labels: tuple) -> int:
    return len(handles_and_labels[0])


def _figure(width: float = 13, height: float = 3.2):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
