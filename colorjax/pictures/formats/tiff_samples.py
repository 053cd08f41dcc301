"""Every sample of a TIFF as it is in the file, where Pillow would drop some or refuse it.

Pillow takes 8 of 16 bits of colour, takes any fourth sample for transparency, and knows no gray
with a second sample of 16 bits. Yet to the decoder a row of pixels of n samples is a row of n times
as many gray ones. So strips and tiles are handed to it as small gray TIFFs.
"""

import io
import math
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from colorjax.pictures.formats.tiff_file import Page, with_numbers

# None, LZW, Deflate twice, PackBits, LZMA, Zstandard: those that look at bytes, not at pixels.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
# Samples that are decoded at once, and the most that Pillow decodes without calling it a bomb.
_TOGETHER, _MOST_AT_ONCE = 2**24, 170_000_000
_PREMULTIPLIED, _ALPHA = 1, 2


class Layout(NamedTuple):
    """How the pixels of a page are stored.

    Attributes:
      page: the page's table.
      width, height, samples: pixels, and samples of each.
      bits: of a sample, 8 or 16.
      photometric: 0 for gray that counts from white, 1 for gray, 2 for RGB.
      extra: what the samples after the colour are; those that are not named are left out of it.
      across, down: pixels of a tile; of a strip the width of the picture.
      offsets, sizes: where the tiles are in the file.
    """

    page: Page
    width: int
    height: int
    samples: int
    bits: int
    photometric: int
    extra: tuple[int, ...]
    across: int
    down: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def colours(self) -> int:
        return 3 if self.photometric == 2 else 1


def layout_of(page: Page) -> Layout | None:
    """The layout of a page that is to be read here; None if Pillow reads it, or nobody does."""
    width, height = page.one(Tag.ImageWidth), page.one(Tag.ImageLength)
    bits = set(page.numbers.get(Tag.BitsPerSample, (1,)))
    is_plain = (
        page.one(Tag.Compression, 1) in _COMPRESSIONS
        and page.one(Tag.PhotometricInterpretation) in (0, 1, 2)
        and page.one(Tag.FillOrder, 1) == 1
        and page.one(Tag.PlanarConfiguration, 1) == 1
        and set(page.numbers.get(Tag.SampleFormat, (1,))) == {1}
        and bits in ({8}, {16})
    )
    if not is_plain or not width or not height:
        return None
    is_tiled = Tag.TileOffsets in page.numbers
    layout = Layout(
        page,
        width,
        height,
        page.one(Tag.SamplesPerPixel, 1),
        max(bits),
        page.one(Tag.PhotometricInterpretation),
        page.numbers.get(Tag.ExtraSamples, ()),
        page.one(Tag.TileWidth) if is_tiled else width,
        page.one(Tag.TileLength) if is_tiled else min(page.one(Tag.RowsPerStrip, height), height),
        page.numbers.get(Tag.TileOffsets if is_tiled else Tag.StripOffsets, ()),
        page.numbers.get(Tag.TileByteCounts if is_tiled else Tag.StripByteCounts, ()),
    )
    return layout if _is_ours(layout) and _is_sound(layout) else None


def _is_ours(layout: Layout) -> bool:
    """Whether Pillow would refuse the page, or give something else than what is in it."""
    more = layout.samples - layout.colours
    if layout.bits == 16:
        return layout.samples > 1 or layout.photometric == 0
    if layout.photometric == 2:
        return more > 0 and not layout.extra
    return more > 0 and (layout.photometric, layout.samples, layout.extra) != (1, 2, (_ALPHA,))


def _is_sound(layout: Layout) -> bool:
    """Whether the numbers of the table agree with each other."""
    if layout.across < 1 or layout.down < 1 or not layout.colours <= layout.samples <= 16:
        return False
    tiles = math.ceil(layout.width / layout.across) * math.ceil(layout.height / layout.down)
    samples = layout.down * math.ceil(layout.width / layout.across) * layout.across * layout.samples
    is_whole = len(layout.offsets) == len(layout.sizes) == tiles
    return is_whole and samples <= _MOST_AT_ONCE


def described_as_gray(data: bytes, layout: Layout) -> bytes:
    """The file as one of gray pixels, which Pillow opens for all that is not pixels."""
    numbers: dict[int, int | None] = {
        Tag.BitsPerSample: layout.bits,
        Tag.PhotometricInterpretation: 1,
        Tag.SamplesPerPixel: 1,
        Tag.Predictor: None,
        Tag.ExtraSamples: None,
        Tag.SampleFormat: 1,
    }
    return with_numbers(data, layout.page, numbers)


def read(
    file: BinaryIO, layout: Layout, *, lenient: bool = False
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The samples of a page, not turned.

    Args:
      file: the TIFF.
      layout: from `layout_of`.
      lenient: leave black what cannot be decoded.

    Returns:
      uint8 or uint16 [height, width, 1 or 3], 0 for black; alpha, of the same kind, [height,
      width], or None; a notice of samples that are left out.

    Raises:
      OSError: the file ends before its picture, or is damaged.
    """
    kind = np.uint8 if layout.bits == 8 else np.uint16
    samples = np.zeros((layout.height, layout.width, layout.samples), kind)
    # One by one where some may be missing, so that no other is missed with it.
    for top, first, last in _rows_of_tiles(layout, 0 if lenient else _TOGETHER):
        try:
            part = _decoded(file, layout, top, first, last)
        except Exception:
            if not lenient:
                raise
            continue
        samples[top : top + len(part)] = part
    colour, white = samples[..., : layout.colours], np.iinfo(kind).max
    if layout.photometric == 0:
        colour = white - colour
    alpha, left = None, layout.samples - layout.colours
    if left and layout.extra and layout.extra[0] in (_PREMULTIPLIED, _ALPHA):
        alpha, left = samples[..., layout.colours], left - 1
        if layout.extra[0] == _PREMULTIPLIED:
            whole = np.float32(white) / np.maximum(alpha, 1)[..., None]
            colour = np.minimum(np.rint(colour * whole), white).astype(kind)
    named = {1: "a further channel", 3: "a fourth channel"}[layout.colours]
    notices = (f"has {named} that is not transparency, which is left out",) if left else ()
    return np.ascontiguousarray(colour), alpha, notices


def _rows_of_tiles(layout: Layout, most: int) -> Iterator[tuple[int, int, int]]:
    """Rows of tiles to be decoded together: the pixel row, the first tile, and past the last.

    They are of at most so many samples, or one row of tiles.
    """
    abreast = math.ceil(layout.width / layout.across)
    rows = math.ceil(layout.height / layout.down)
    step = max(1, most // (layout.down * abreast * layout.across * layout.samples))
    for row in range(0, rows, step):
        yield row * layout.down, row * abreast, min(row + step, rows) * abreast


def _decoded(file: BinaryIO, layout: Layout, top: int, first: int, last: int) -> np.ndarray:
    """Some whole rows of tiles: [rows, width, count]."""
    abreast = math.ceil(layout.width / layout.across)
    rows = min((last - first) // abreast * layout.down, layout.height - top)
    with Image.open(
        io.BytesIO(_small_tiff(file, layout, rows, first, last)), "r", ("TIFF",)
    ) as gray:
        values = np.asarray(gray)
    values = values.astype(np.uint8 if layout.bits == 8 else np.uint16, copy=False)
    values = values.reshape(rows, abreast, layout.across, layout.samples)
    if layout.page.one(Tag.Predictor, 1) == 2:
        # What is stored are differences to the pixel on the left, of each sample by itself.
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    return values.reshape(rows, -1, layout.samples)[:, : layout.width]


def _small_tiff(file: BinaryIO, layout: Layout, rows: int, first: int, last: int) -> bytes:
    """A gray TIFF of some of the tiles, each pixel as many gray ones as it has samples."""
    parts = []
    for offset, size in zip(layout.offsets[first:last], layout.sizes[first:last], strict=True):
        file.seek(offset)
        parts.append(file.read(size))
        if len(parts[-1]) < size:
            raise OSError("image file is truncated")
    across = layout.across * layout.samples
    abreast = math.ceil(layout.width / layout.across)
    starts = np.cumsum([8, *(len(part) for part in parts)]).tolist()
    tags: dict[int, tuple[int, ...]] = {
        Tag.ImageWidth: (across * abreast,),
        Tag.ImageLength: (rows,),
        Tag.BitsPerSample: (layout.bits,),
        Tag.PhotometricInterpretation: (1,),
        Tag.SamplesPerPixel: (1,),
    }
    tags[Tag.Compression] = (layout.page.one(Tag.Compression, 1),)
    sizes, offsets = tuple(len(part) for part in parts), tuple(starts[:-1])
    if Tag.TileOffsets in layout.page.numbers:
        tags |= {
            Tag.TileWidth: (across,),
            Tag.TileLength: (layout.down,),
            Tag.TileOffsets: offsets,
            Tag.TileByteCounts: sizes,
        }
    else:
        tags |= {
            Tag.RowsPerStrip: (layout.down,),
            Tag.StripOffsets: offsets,
            Tag.StripByteCounts: sizes,
        }
    # Tables begin at even places.
    body = b"".join(parts)
    body += bytes(len(body) % 2)
    order = layout.page.order
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(body))
    return head + body + _table(order, 8 + len(body), tags)


def _table(order: str, start: int, tags: dict[int, tuple[int, ...]]) -> bytes:
    """The table of a TIFF that stands at `start`, all its numbers of 32 bits."""
    entries, beyond = b"", b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(order + "HHI", tag, 4, len(numbers))
        entries += data if len(data) == 4 else struct.pack(order + "I", after + len(beyond))
        beyond += data if len(data) > 4 else b""
    return struct.pack(order + "H", len(tags)) + entries + bytes(4) + beyond
