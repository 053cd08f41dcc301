"""Luma of a film as gray, and colours as its luma and chroma: ranges, matrices, bits.

Only the luma of a film is looked at. It is sRGB's gray for the photo path, which the transfer
curve of films is near enough to.
"""

from typing import NamedTuple

import cv2
import numpy as np

# Of red and blue in luma, by the number that streams give the matrix: BT.709, FCC, BT.470 BG and
# SMPTE 170M (BT.601), SMPTE 240M, BT.2020.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
BT709, BT601, UNSPECIFIED = 1, 6, 2
LIMITED, FULL = 1, 2  # as streams number them
HD = 720  # rows from which on a film that does not say it is taken for BT.709


class Coding(NamedTuple):
    """How numbers of a film are colours.

    Attributes:
      bits: of a number, 8 to 16.
      range: LIMITED or FULL.
      matrix: a key of WEIGHTS.
    """

    bits: int
    range: int
    matrix: int

    @property
    def black_and_white(self) -> tuple[float, float]:
        """Numbers of luma."""
        unit = 1 << (self.bits - 8)
        return (0, (1 << self.bits) - 1) if self.range == FULL else (16 * unit, 235 * unit)

    @property
    def chroma_scale(self) -> float:
        """From the least chroma to the greatest, in numbers."""
        return (1 << self.bits) - 1 if self.range == FULL else 224 << (self.bits - 8)


def gray_table(coding: Coding) -> np.ndarray:
    """Gray for each number of luma: uint8 of 8 bits, else uint16, [2 ** bits]."""
    black, white = coding.black_and_white
    share = np.clip((np.arange(1 << coding.bits) - black) / (white - black), 0, 1)
    kind = np.uint8 if coding.bits == 8 else np.uint16
    return np.round(share * np.iinfo(kind).max).astype(kind)


def from_rgb(rgb: np.ndarray, coding: Coding) -> np.ndarray:
    """Luma and chroma, float32 [height, width, 3] in numbers of the coding, not rounded.

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


def subsampled(chroma: np.ndarray, down: tuple[int, int]) -> np.ndarray:
    """Chroma at the places where films have it: [height / d, width / d, 2], rounded up.

    Sideways they lie on every other pixel, up and down between two, as MPEG-2 and all after it
    have them.

    Args:
      chroma: float32 [height, width, 2].
      down: (2, 2), (1, 2) or (1, 1), factors of the height and the width.
    """
    across = np.array([0.25, 0.5, 0.25], np.float32) if down[1] == 2 else np.array([1], np.float32)
    along = np.array([0.5, 0.5, 0], np.float32) if down[0] == 2 else np.array([1], np.float32)
    # The kernel's middle is at the second of each two rows.
    offset = down[0] - 1
    padded = cv2.copyMakeBorder(
        chroma, 0, chroma.shape[0] % down[0], 0, 0, borderType=cv2.BORDER_REPLICATE
    )
    smooth = cv2.sepFilter2D(padded, -1, across, along, borderType=cv2.BORDER_REPLICATE)
    return smooth[offset :: down[0], :: down[1]]


def rounded(numbers: np.ndarray, coding: Coding) -> np.ndarray:
    """uint8 or uint16, within what the bits hold."""
    kind = np.uint8 if coding.bits == 8 else np.uint16
    return np.clip(np.rint(numbers), 0, (1 << coding.bits) - 1).astype(kind)
