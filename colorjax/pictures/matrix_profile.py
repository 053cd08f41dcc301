"""Colour profiles of 16-bit pixels: those that are curves and a matrix, computed here.

LittleCMS, as Pillow gives it, converts 8 bits. Of scans with 16 the profiles are nearly always of
the simple kind: a curve for each channel to linear light, and a matrix to XYZ (ICC.1:2022, F.3).
"""

import struct
from typing import NamedTuple

import numpy as np

# sRGB's own columns, adapted to D50 as in every profile, in 1/65536 as profiles hold them.
_SRGB = np.array([[28578, 25241, 9376], [14578, 46985, 3972], [912, 6361, 46799]]) / 65536.0
_ROWS = 256  # that are converted at once


class MatrixProfile(NamedTuple):
    """Curves from a 16-bit value to linear light, and a matrix from there to linear sRGB."""

    curves: tuple[np.ndarray, ...]  # float32 [65536] each: one for gray, three for RGB
    matrix: np.ndarray | None  # float32 [3, 3]; None for gray


def parse(profile: bytes) -> MatrixProfile | None:
    """The curves and matrix of a profile; None if it has none, has tables too, or is damaged."""
    try:
        space, pcs, tags = profile[16:20], profile[20:24], _tags(profile)
        if b"A2B0" in tags or pcs != b"XYZ ":
            return None
        if space == b"GRAY":
            return MatrixProfile((_curve(tags[b"kTRC"]),), None)
        if space != b"RGB ":
            return None
        curves = tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        columns = [struct.unpack_from(">3i", tags[c + b"XYZ"], 8) for c in (b"r", b"g", b"b")]
        matrix = np.linalg.solve(_SRGB, np.array(columns).T / 65536.0)
        return MatrixProfile(curves, matrix.astype(np.float32))
    except (struct.error, ArithmeticError, LookupError, ValueError, np.linalg.LinAlgError):
        return None


def to_srgb(values: np.ndarray, shaper: MatrixProfile) -> np.ndarray:
    """Converts to sRGB: uint16 [height, width, channels of the shaper] -> the same, [h, w, 3].

    What sRGB cannot show is clipped. Pixels of a profile that says sRGB but for rounding come back
    as they are.
    """
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    axes = np.meshgrid(*[steps] * len(shaper.curves), indexing="ij")
    cube = np.stack(axes, -1).reshape(1, -1, len(shaper.curves))
    if np.abs(_converted(cube, shaper).astype(int) - cube).max() <= 257:
        return np.broadcast_to(values, (*values.shape[:2], 3))
    result = np.empty((*values.shape[:2], 3), np.uint16)
    for top in range(0, len(values), _ROWS):
        result[top : top + _ROWS] = _converted(values[top : top + _ROWS], shaper)
    return result


def _converted(values: np.ndarray, shaper: MatrixProfile) -> np.ndarray:
    linear = np.stack([curve[values[..., i]] for i, curve in enumerate(shaper.curves)], -1)
    if shaper.matrix is not None:
        linear = linear @ shaper.matrix.T
    linear = np.clip(linear, 0.0, 1.0)
    power = 1.055 * linear ** np.float32(1 / 2.4) - 0.055
    encoded = np.where(linear > 0.0031308, power, 12.92 * linear)
    return np.rint(encoded * 65535.0).astype(np.uint16)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    found = {}
    for i in range(min(count, 200)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        found[name] = profile[offset : offset + size]
    return found


def _curve(tag: bytes) -> np.ndarray:
    """Linear light by 16-bit value: float32 [65536]."""
    x = np.arange(65536) / 65535.0
    if tag[:4] == b"para":
        return _parametric(tag, x).astype(np.float32)
    if tag[:4] != b"curv":
        raise ValueError(f"{tag[:4]!r} is no curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return x.astype(np.float32)
    points = np.array(struct.unpack_from(f">{count}H", tag, 12), float)
    if count == 1:
        return (x ** (points[0] / 256.0)).astype(np.float32)
    return np.interp(x, np.linspace(0, 1, count), points / 65535.0).astype(np.float32)


def _parametric(tag: bytes, x: np.ndarray) -> np.ndarray:
    """The five kinds of function that a curve may be (ICC.1:2022, table 68)."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    given = [value / 65536.0 for value in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = given + [0.0] * (7 - count)
    if kind == 0:
        return x**g
    if kind in (1, 2):
        # Below -b / a it is constant; the third number is then added to all of it.
        return np.where(x >= -b / a, np.maximum(a * x + b, 0.0) ** g, 0.0) + (c if kind == 2 else 0)
    return np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
