"""Reads all samples of TIFF pages that Pillow would decode incompletely or refuse.

Pillow reduces 16-bit colour to 8 bits, treats any fourth sample as alpha, and does not support
16-bit gray with a second sample. But for the decompressor, a row of pixels with n samples each is
the same as a row of n times as many gray pixels. So this module passes strips and tiles to Pillow
as small gray TIFFs.
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

# None, LZW, Deflate (two codes), PackBits, LZMA, Zstandard: these compress bytes, not pixels.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
# The number of samples to decode at once, and the most that Pillow decodes without raising its
# decompression bomb error.
_BATCH_SAMPLES, _MAX_SAMPLES = 2**24, 170_000_000
_TRANSPARENCIES = _PREMULTIPLIED, _ALPHA = 1, 2  # meanings of extra samples


class Layout(NamedTuple):
    """How the pixels of a page are stored.

    Attributes:
      page: the page's directory.
      width, height: size of the page in pixels.
      samples: samples per pixel.
      bits: bits per sample, 8 or 16.
      photometric: 0 for gray with white as zero, 1 for gray with black as zero, 2 for RGB.
      extra: the declared meanings of the samples after the colour; there may be fewer meanings than
        samples.
      tile_width, tile_height: size of a tile in pixels. A strip is a tile as wide as the page.
      offsets, sizes: positions and lengths of the tiles in the file, in bytes.
    """

    page: Page
    width: int
    height: int
    samples: int
    bits: int
    photometric: int
    extra: tuple[int, ...]
    tile_width: int
    tile_height: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def colours(self) -> int:
        return 3 if self.photometric == 2 else 1


def layout_of(page: Page) -> Layout | None:
    """Returns the layout of a page that this module must read; None for all other pages.

    Pillow either reads those correctly, or reports that it cannot.
    """
    width, height = page.first(Tag.ImageWidth), page.first(Tag.ImageLength)
    bits = set(page.numbers.get(Tag.BitsPerSample, (1,)))
    is_plain = (
        page.first(Tag.Compression, 1) in _COMPRESSIONS
        and page.first(Tag.PhotometricInterpretation) in (0, 1, 2)
        and page.first(Tag.FillOrder, 1) == 1
        and page.first(Tag.PlanarConfiguration, 1) == 1
        and set(page.numbers.get(Tag.SampleFormat, (1,))) == {1}
        and bits in ({8}, {16})
    )
    if not is_plain or not width or not height:
        return None
    is_tiled = Tag.TileOffsets in page.numbers
    strip_height = min(page.first(Tag.RowsPerStrip, height), height)
    layout = Layout(
        page,
        width,
        height,
        page.first(Tag.SamplesPerPixel, 1),
        max(bits),
        page.first(Tag.PhotometricInterpretation),
        page.numbers.get(Tag.ExtraSamples, ()),
        page.first(Tag.TileWidth) if is_tiled else width,
        page.first(Tag.TileLength) if is_tiled else strip_height,
        page.numbers.get(Tag.TileOffsets if is_tiled else Tag.StripOffsets, ()),
        page.numbers.get(Tag.TileByteCounts if is_tiled else Tag.StripByteCounts, ()),
    )
    return layout if _pillow_misreads(layout) and _is_consistent(layout) else None


def _pillow_misreads(layout: Layout) -> bool:
    """Whether Pillow would refuse the page, or decode it incorrectly."""
    extra_count = layout.samples - layout.colours
    if layout.bits == 16:
        return layout.samples > 1 or layout.photometric == 0
    if layout.photometric == 2:
        # Pillow leaves out other samples without telling.
        return extra_count > 0 and layout.extra not in ((_PREMULTIPLIED,), (_ALPHA,))
    is_gray_alpha = (layout.photometric, layout.samples, layout.extra) == (1, 2, (_ALPHA,))
    return extra_count > 0 and not is_gray_alpha


def _is_consistent(layout: Layout) -> bool:
    """Whether the values of the directory agree with each other."""
    if min(layout.tile_width, layout.tile_height) < 1:
        return False
    if not layout.colours <= layout.samples <= 16:
        return False
    tiles_per_row = math.ceil(layout.width / layout.tile_width)
    tiles = tiles_per_row * math.ceil(layout.height / layout.tile_height)
    samples = layout.tile_height * tiles_per_row * layout.tile_width * layout.samples
    is_complete = len(layout.offsets) == len(layout.sizes) == tiles
    return is_complete and samples <= _MAX_SAMPLES


def described_as_gray(data: bytes, layout: Layout) -> bytes:
    """Returns the file with the page declared as gray, so that Pillow opens it for its metadata."""
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
    """Reads the samples of a page, without applying the orientation.

    Args:
      file: the TIFF.
      layout: from `layout_of`.
      lenient: whether parts that cannot be decoded are left at 0 instead of raising an error.

    Returns:
      The colour, uint8 or uint16 [height, width, 1 or 3], 0 is black; alpha, of the same dtype,
      [height, width], or None; a notice about samples that are left out.

    Raises:
      OSError: the file is truncated or damaged, and `lenient` is False.
    """
    kind = np.uint8 if layout.bits == 8 else np.uint16
    samples = np.zeros((layout.height, layout.width, layout.samples), kind)
    # In lenient mode each row of tiles is decoded alone, so that a failure loses no other row.
    for top, first, end in _tile_batches(layout, 0 if lenient else _BATCH_SAMPLES):
        try:
            part = _decode(file, layout, top, first, end)
        except Exception:
            if not lenient:
                raise
            continue
        samples[top : top + len(part)] = part
    colour, white = samples[..., : layout.colours], np.iinfo(kind).max
    if layout.photometric == 0:
        colour = white - colour
    alpha, unused = None, layout.samples - layout.colours
    transparent = [i for i, kind in enumerate(layout.extra[:unused]) if kind in _TRANSPARENCIES]
    if transparent:
        alpha, unused = samples[..., layout.colours + transparent[0]], unused - 1
        if layout.extra[transparent[0]] == _PREMULTIPLIED:
            scale = np.float32(white) / np.maximum(alpha, 1)[..., None]
            colour = np.minimum(np.rint(colour * scale), white).astype(kind)
    channel = {1: "a further channel", 3: "a fourth channel"}[layout.colours]
    notices = (f"has {channel} that is not transparency, which is left out",) if unused else ()
    return np.ascontiguousarray(colour), alpha, notices


def _tile_batches(layout: Layout, max_samples: int) -> Iterator[tuple[int, int, int]]:
    """Yields batches of rows of tiles: the top pixel row, the first tile, and one past the last.

    A batch has at most `max_samples` samples, but at least one row of tiles.
    """
    tiles_per_row = math.ceil(layout.width / layout.tile_width)
    rows = math.ceil(layout.height / layout.tile_height)
    row_samples = layout.tile_height * tiles_per_row * layout.tile_width * layout.samples
    step = max(1, max_samples // row_samples)
    for row in range(0, rows, step):
        yield row * layout.tile_height, row * tiles_per_row, min(row + step, rows) * tiles_per_row


def _decode(file: BinaryIO, layout: Layout, top: int, first: int, end: int) -> np.ndarray:
    """Decodes complete rows of tiles, `first` to `end` (exclusive): [rows, width, samples]."""
    tiles_per_row = math.ceil(layout.width / layout.tile_width)
    rows = min((end - first) // tiles_per_row * layout.tile_height, layout.height - top)
    gray_tiff = io.BytesIO(_small_tiff(file, layout, rows, first, end))
    with Image.open(gray_tiff, "r", ("TIFF",)) as gray:
        values = np.asarray(gray)
    values = values.astype(np.uint8 if layout.bits == 8 else np.uint16, copy=False)
    values = values.reshape(rows, tiles_per_row, layout.tile_width, layout.samples)
    if layout.page.first(Tag.Predictor, 1) == 2:
        # Predictor 2 stores differences from the pixel on the left, separately for each sample.
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    return values.reshape(rows, -1, layout.samples)[:, : layout.width]


def _small_tiff(file: BinaryIO, layout: Layout, rows: int, first: int, end: int) -> bytes:
    """Makes a gray TIFF from some of the tiles; each sample of a pixel becomes one gray pixel."""
    parts = []
    for offset, size in zip(layout.offsets[first:end], layout.sizes[first:end], strict=True):
        file.seek(offset)
        parts.append(file.read(size))
        if len(parts[-1]) < size:
            raise OSError("image file is truncated")
    tile_width = layout.tile_width * layout.samples
    tiles_per_row = math.ceil(layout.width / layout.tile_width)
    starts = np.cumsum([8, *(len(part) for part in parts)]).tolist()
    tags: dict[int, tuple[int, ...]] = {
        Tag.ImageWidth: (tile_width * tiles_per_row,),
        Tag.ImageLength: (rows,),
        Tag.BitsPerSample: (layout.bits,),
        Tag.PhotometricInterpretation: (1,),
        Tag.SamplesPerPixel: (1,),
    }
    tags[Tag.Compression] = (layout.page.first(Tag.Compression, 1),)
    sizes, offsets = tuple(len(part) for part in parts), tuple(starts[:-1])
    if Tag.TileOffsets in layout.page.numbers:
        tags |= {
            Tag.TileWidth: (tile_width,),
            Tag.TileLength: (layout.tile_height,),
            Tag.TileOffsets: offsets,
            Tag.TileByteCounts: sizes,
        }
    else:
        tags |= {
            Tag.RowsPerStrip: (layout.tile_height,),
            Tag.StripOffsets: offsets,
            Tag.StripByteCounts: sizes,
        }
    # Directories must begin at an even offset.
    body = b"".join(parts)
    body += bytes(len(body) % 2)
    order = layout.page.order
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(body))
    return head + body + _directory(order, 8 + len(body), tags)


def _directory(order: str, start: int, tags: dict[int, tuple[int, ...]]) -> bytes:
    """Serializes a TIFF directory for offset `start`, with 32-bit values only."""
    entries, values = b"", b""
    values_start = start + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(order + "HHI", tag, 4, len(numbers))
        entries += data if len(data) == 4 else struct.pack(order + "I", values_start + len(values))
        values += data if len(data) > 4 else b""
    return struct.pack(order + "H", len(tags)) + entries + bytes(4) + values
