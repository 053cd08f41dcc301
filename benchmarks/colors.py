"""Times the conversion of one large picture from RGB to CIELUV and back."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from benchmarks import harness
from benchmarks.report import Table
from benchmarks.settings import Settings
from colorjax.ops import color

# Largest accepted differences, in units of LUV (a just visible difference is about 1) and of RGB in
# [0, 1]. The libraries use tabulated white points, and some interpolate (OpenCV 5 is off by 0.033
# of RGB). The formula of another colour space would be off by tens of units.
LUV_TOLERANCE = 0.5
RGB_TOLERANCE = 0.05


def measure(settings: Settings) -> list[Table]:
    """Returns tables of uint8 to LUV, float to LUV and LUV to float RGB.

    Raises ValueError if a library gives other results.
    """
    height = round((settings.megapixels * 1e6 * 3 / 4) ** 0.5)
    shape = (height, round(height * 4 / 3), 3)
    rgb_u8 = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = rgb_u8.astype(np.float32) / 255
    luv = np.asarray(jax.jit(color.rgb_to_luv)(rgb))
    sources = {"rgb_u8": rgb_u8, "rgb": rgb, "luv": luv}
    makers = {"ours": ours, "scikit-image": scikit_image, "OpenCV": opencv, "kornia": kornia}
    libraries = {name: maker(sources, settings) for name, maker in makers.items()}
    notes = [harness.absent(name) for name, works in libraries.items() if works is None]
    libraries = {name: works for name, works in libraries.items() if works is not None}
    titles = {
        "uint8 RGB to LUV": (luv, LUV_TOLERANCE),
        "float RGB to LUV": (luv, LUV_TOLERANCE),
        "LUV to float RGB": (rgb, RGB_TOLERANCE),
    }
    return [
        compare(settings, title, {name: x[i] for name, x in libraries.items()}, *truth, notes)
        for i, (title, truth) in enumerate(titles.items())
    ]


def compare(
    settings: Settings, title: str, works: dict, truth: np.ndarray, limit: float, notes: list
) -> Table:
    first, results = harness.warm_up(works, 1)
    tolerance = limit / float(np.abs(truth).max())
    errors = {}
    for name, (result,) in results.items():
        errors[name] = harness.difference(f"{title} of {name}", as_image(result), truth, tolerance)
    results.clear()
    times = harness.interleave(works, settings.repeats)
    rows = harness.compare(
        times, settings.megapixels, "megapixels", first_call_s=first, max_difference=errors
    )
    return Table(f"{title}, {settings.megapixels:g} megapixels", rows, notes)


def as_image(result) -> np.ndarray:
    """Converts a result to float32 [h, w, 3]; PyTorch's are [1, 3, h, w]."""
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
    # OpenCV's conversion of uint8 to uint8 rounds chroma to steps of more than one unit.
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
