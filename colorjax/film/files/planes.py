"""Converts luma to gray and colours to luma and chroma, for any range, matrix and bit depth.

Only the luma of a film is read. It is treated as sRGB gray, because the transfer curve of films is
close enough to that of sRGB.
"""

from typing import NamedTuple

import cv2
import numpy as np

# Weights of red and blue in luma, by the stream's code for the matrix (ITU-T H.273): BT.709, FCC,
# BT.470 BG and SMPTE 170M (both BT.601), SMPTE 240M, BT.2020.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
# The codes of the primaries and the transfer curve that the same standards define.
PRIMARIES_AND_CURVE = {1: (1, 1), 4: (4, 4), 5: (5, 6), 6: (6, 6), 7: (7, 7), 9: (9, 14)}
BT709, BT601, UNSPECIFIED = 1, 6, 2
LIMITED, FULL = 1, 2  # libav's codes of colour ranges
HD = 720  # a film of unspecified matrix is taken for BT.709 from this height on, else for BT.601


class Coding(NamedTuple):
    """How colours are encoded as luma and chroma.

    Attributes:
      bits: bit depth, 8 to 16.
      range: LIMITED or FULL.
      matrix: a key of WEIGHTS.
    """

    bits: int
    range: int
    matrix: int

    @property
    def black_and_white(self) -> tuple[float, float]:
        """Luma values of black and white."""
        unit = 1 << (self.bits - 8)
        return (0, (1 << self.bits) - 1) if self.range == FULL else (16 * unit, 235 * unit)

    @property
    def chroma_scale(self) -> float:
        """Difference between the greatest and the least chroma value."""
        return (1 << self.bits) - 1 if self.range == FULL else 224 << (self.bits - 8)


def gray_table(coding: Coding) -> np.ndarray:
    """Returns the gray of each luma value: [2 ** bits], uint8 for 8 bits, else uint16."""
    black, white = coding.black_and_white
    share = np.clip((np.arange(1 << coding.bits) - black) / (white - black), 0, 1)
    dtype = np.uint8 if coding.bits == 8 else np.uint16
    return np.round(share * np.iinfo(dtype).max).astype(dtype)


def from_rgb(rgb: np.ndarray, coding: Coding) -> np.ndarray:
    """Returns luma and chroma values, float32 [height, width, 3], not rounded.

    Args:
      rgb: uint8 or uint16 [height, width, 3].
    """
    red, blue = WEIGHTS[coding.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    black, white = coding.black_and_white
    rows = [
        luma * (white - black),
        (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)) * coding.chroma_scale,
        (np.array([1, 0, 0]) - luma) / (2 * (1 - red)) * coding.chroma_scale,
    ]
    middle = float(1 << (coding.bits - 1))
    matrix = np.concatenate(
        [np.array(rows) / np.iinfo(rgb.dtype).max, [[black], [middle], [middle]]], axis=1
    )
    return cv2.transform(rgb.astype(np.float32), matrix.astype(np.float32))


def subsampled(chroma: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
    """Subsamples chroma to [height / d, width / d, 2], rounded up.

    Samples lie on every other pixel horizontally and midway between two rows vertically, as in
    MPEG-2 and all later standards.

    Args:
      chroma: float32 [height, width, 2].
      factors: (2, 2), (1, 2) or (1, 1), of the height and the width.
    """
    across = (
        np.array([0.25, 0.5, 0.25], np.float32) if factors[1] == 2 else np.array([1], np.float32)
    )
    along = np.array([0.5, 0.5, 0], np.float32) if factors[0] == 2 else np.array([1], np.float32)
    # The kernel averages a row with the one above it, so each pair's mean is at its second row.
    offset = factors[0] - 1
    padded = cv2.copyMakeBorder(
        chroma, 0, chroma.shape[0] % factors[0], 0, 0, borderType=cv2.BORDER_REPLICATE
    )
    smooth = cv2.sepFilter2D(padded, -1, across, along, borderType=cv2.BORDER_REPLICATE)
    return smooth[offset :: factors[0], :: factors[1]]


def rounded(values: np.ndarray, coding: Coding) -> np.ndarray:
    """Rounds and clips values to the bit depth: uint8 for 8 bits, else uint16."""
    dtype = np.uint8 if coding.bits == 8 else np.uint16
    return np.clip(np.rint(values), 0, (1 << coding.bits) - 1).astype(dtype)
