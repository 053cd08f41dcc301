"""Applies matrix-based colour profiles to 16-bit pixels.

Pillow's interface to LittleCMS converts only 8-bit pixels. The profiles of 16-bit scans are nearly
always matrix-based: a curve from each channel to linear light, and a matrix to XYZ (ICC.1:2022,
F.3).
"""

import struct
from typing import NamedTuple

import numpy as np

# The matrix columns of sRGB, adapted to D50 as in every profile, in units of 1/65536.
_SRGB = np.array([[28578, 25241, 9376], [14578, 46985, 3972], [912, 6361, 46799]]) / 65536.0
_ROWS_PER_BLOCK = 256


class MatrixProfile(NamedTuple):
    """Curves from a 16-bit value to linear light, and a matrix from there to linear sRGB."""

    curves: tuple[np.ndarray, ...]  # float32 [65536] each: one for gray, three for RGB
    matrix: np.ndarray | None  # float32 [3, 3]; None for gray


def parse(profile: bytes) -> MatrixProfile | None:
    """Parses a profile; returns None if it is not matrix-based, has lookup tables or is damaged."""
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


def to_srgb(values: np.ndarray, profile: MatrixProfile) -> np.ndarray:
    """Converts pixels to sRGB: uint16 [height, width, curves] -> uint16 [height, width, 3].

    Colours outside the sRGB gamut are clipped. If the profile equals sRGB up to rounding, the
    pixels are returned unchanged.
    """
    steps = np.linspace(0, 65535, 9).astype(np.uint16)
    axes = np.meshgrid(*[steps] * len(profile.curves), indexing="ij")
    cube = np.stack(axes, -1).reshape(1, -1, len(profile.curves))
    if np.abs(_convert(cube, profile).astype(int) - cube).max() <= 257:
        return np.broadcast_to(values, (*values.shape[:2], 3))
    result = np.empty((*values.shape[:2], 3), np.uint16)
    for top in range(0, len(values), _ROWS_PER_BLOCK):
        result[top : top + _ROWS_PER_BLOCK] = _convert(values[top : top + _ROWS_PER_BLOCK], profile)
    return result


def _convert(values: np.ndarray, profile: MatrixProfile) -> np.ndarray:
    linear = np.stack([curve[values[..., i]] for i, curve in enumerate(profile.curves)], -1)
    if profile.matrix is not None:
        linear = linear @ profile.matrix.T
    linear = np.clip(linear, 0.0, 1.0)
    power = 1.055 * linear ** np.float32(1 / 2.4) - 0.055
    encoded = np.where(linear > 0.0031308, power, 12.92 * linear)
    return np.rint(encoded * 65535.0).astype(np.uint16)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for i in range(min(count, 200)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        tags[name] = profile[offset : offset + size]
    return tags


def _curve(tag: bytes) -> np.ndarray:
    """Returns the table of a curve from 16-bit values to linear light: float32 [65536]."""
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
    """Evaluates one of the five types of parametric curve (ICC.1:2022, table 68)."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    parameters = [value / 65536.0 for value in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = parameters + [0.0] * (7 - count)
    if kind == 0:
        return x**g
    if kind in (1, 2):
        # Below -b / a the curve is constant. Type 2 adds c everywhere.
        return np.where(x >= -b / a, np.maximum(a * x + b, 0.0) ** g, 0.0) + (c if kind == 2 else 0)
    return np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
