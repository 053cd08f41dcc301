"""RGB to CIELUV and back, of one large picture."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from benchmarks import harness
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax.ops import color

# In units of LUV, of which a just visible difference is about one, and in RGB of [0, 1]. The
# libraries take white from a table, and some interpolate (OpenCV 5 is off by 0.033 of RGB); a
# formula for another space would be off by tens.
MOST_LUV = 0.5
MOST_RGB = 0.05


def measure(settings: Settings) -> list[Table]:
    """uint8 to LUV, float to LUV, LUV to float; ValueError if a library gives something else."""
    height = round((settings.megapixels * 1e6 * 3 / 4) ** 0.5)
    shape = (height, round(height * 4 / 3), 3)
    rgb_u8 = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = rgb_u8.astype(np.float32) / 255
    luv = np.asarray(jax.jit(color.rgb_to_luv)(rgb))
    sources = {"rgb_u8": rgb_u8, "rgb": rgb, "luv": luv}
    makers = {"ours": ours, "scikit-image": scikit_image, "OpenCV": opencv, "kornia": kornia}
    found = {name: maker(sources, settings) for name, maker in makers.items()}
    notes = [harness.absent(name) for name, works in found.items() if works is None]
    found = {name: works for name, works in found.items() if works is not None}
    titles = {
        "uint8 RGB to LUV": (luv, MOST_LUV),
        "float RGB to LUV": (luv, MOST_LUV),
        "LUV to float RGB": (rgb, MOST_RGB),
    }
    return [
        compare(settings, title, {name: works[i] for name, works in found.items()}, *truth, notes)
        for i, (title, truth) in enumerate(titles.items())
    ]


def compare(
    settings: Settings, title: str, works: dict, truth: np.ndarray, most: float, notes: list
) -> Table:
    first, results = harness.warm_up(works, 1)
    off = {}
    for name, some in results.items():
        tolerance = most / float(np.abs(truth).max())
        off[name] = harness.difference(f"{title} of {name}", as_image(some[0]), truth, tolerance)
    results.clear()
    times = harness.interleave(works, settings.repeats)
    rows = harness.compare(
        times, settings.megapixels, "megapixels", first_call_s=first, max_difference=off
    )
    return Table(f"{title}, {settings.megapixels:g} megapixels", rows, notes)


def as_image(result) -> np.ndarray:
    """[h, w, 3] float32; PyTorch has [1, 3, h, w]."""
    if hasattr(result, "cpu"):
        result = result[0].permute(1, 2, 0).cpu().numpy()
    return np.asarray(result, np.float32)


Works = tuple[Callable, Callable, Callable]  # from rgb_u8, from rgb, from luv


def ours(sources: dict, settings: Settings) -> Works:
    def work(function, name):
        compiled, x = jax.jit(function), jax.device_put(sources[name])
        return lambda: jax.block_until_ready(compiled(x))

    return (
        work(color.rgb_u8_to_luv, "rgb_u8"),
        work(color.rgb_to_luv, "rgb"),
        work(color.luv_to_rgb, "luv"),
    )


def scikit_image(sources: dict, settings: Settings) -> Works | None:
    skimage = harness.optional("skimage.color")
    if skimage is None:
        return None
    return (
        partial(skimage.rgb2luv, sources["rgb_u8"]),
        partial(skimage.rgb2luv, sources["rgb"]),
        partial(skimage.luv2rgb, sources["luv"]),
    )


def opencv(sources: dict, settings: Settings) -> Works | None:
    cv2 = harness.optional("cv2")
    if cv2 is None:
        return None
    # Its own uint8 to uint8 rounds chroma to whole steps of more than one unit.
    scaled = lambda: sources["rgb_u8"].astype(np.float32) * np.float32(1 / 255)  # noqa: E731
    return (
        lambda: cv2.cvtColor(scaled(), cv2.COLOR_RGB2Luv),
        lambda: cv2.cvtColor(sources["rgb"], cv2.COLOR_RGB2Luv),
        lambda: cv2.cvtColor(sources["luv"], cv2.COLOR_Luv2RGB),
    )


def kornia(sources: dict, settings: Settings) -> Works | None:
    torch, library = harness.optional("torch"), harness.optional("kornia.color")
    if torch is None or library is None:
        return None
    device = "cuda" if settings.platform == "gpu" and torch.cuda.is_available() else "cpu"
    x = {
        name: torch.tensor(image, device=device).permute(2, 0, 1)[None].contiguous()
        for name, image in sources.items()
    }

    def finished(result):
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return (
        lambda: finished(library.rgb_to_luv(x["rgb_u8"].float() / 255)),
        lambda: finished(library.rgb_to_luv(x["rgb"])),
        lambda: finished(library.luv_to_rgb(x["luv"])),
    )
