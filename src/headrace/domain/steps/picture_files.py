"""What is in the bytes of a picture: which format, how many pixels, and are they few enough to decode?"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from headrace.domain.errors import InvalidInput, TooLarge

Picture = Any
"""A `PIL.Image.Image`; Pillow is imported when a picture is decoded, not before."""

PIXELS_AT_MOST: Final = 1024 * 1024 * 1024 // 4 // 3
"""No picture may be larger, whatever is configured: beyond it Pillow itself warns and then refuses."""

DAMAGE: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError, AssertionError, Warning, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's readers raise on broken files."""

PREFIXES: Final[Mapping[bytes, str]] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
READERS: Final[Mapping[str, tuple[str, str]]] = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
}
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF 6.0, section 15


def load(data: bytes, max_pixels: int) -> Picture:
    """The decoded first picture in *data*, in the mode of its file.

    The size is read from the header and checked before a single pixel is decoded. Raises InvalidInput for what is
    no picture or a broken one, TooLarge for more than *max_pixels* pixels.
    """
    from PIL.Image import DecompressionBombError

    name = format_of(data)
    try:
        if name in ("WebP", "GIF"):  # their readers reserve memory, or warn, as soon as they are opened
            _within(_webp_size(data) if name == "WebP" else _gif_size(data), max_pixels)
        module, reader = READERS[name]
        # Image.open would warn about large pictures in its own words and with its own limit.
        picture = getattr(importlib.import_module(module), reader)(BytesIO(data))
        _within(picture.size, max_pixels)
        if name == "TIFF":
            _within((int(picture.tag_v2.get(TILE_WIDTH, 0)), int(picture.tag_v2.get(TILE_LENGTH, 0))), max_pixels)
        picture.load()
    except DecompressionBombError as error:  # a damaged file of which Pillow reads another size than we do
        raise TooLarge(f"the {name} picture declares a size that is not decoded: {error}") from error
    except DAMAGE as error:
        reason = str(error)[:200] or type(error).__name__
        raise InvalidInput(f"the {name} picture is truncated or damaged and cannot be decoded: {reason}") from error
    return picture


def format_of(data: bytes) -> str:
    """The format that the first bytes of *data* announce. Raises InvalidInput when it is none of `READERS`."""
    for prefix, name in PREFIXES.items():
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if not data:
        raise InvalidInput("the picture is empty: there are no bytes")
    starts = f"it starts with {bytes(data[:8])!r}"
    raise InvalidInput(f"this is no picture in a format that is read here ({', '.join(READERS)}); {starts}")


def _within(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"the picture is {width} x {height} = {width * height} pixels; at most {max_pixels} are decoded",
            details={"width": width, "height": height, "max_pixels": max_pixels},
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """RFC 9649, sections 2.5 to 2.7: the three kinds of a first chunk."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _gif_size(data: bytes) -> tuple[int, int]:
    """The logical screen, or the first frame where that reaches beyond it (GIF89a, sections 18 and 20)."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] == 0x21:  # extensions: a label and blocks, each led by its length, until an empty one
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != 0x2C:
        return width, height
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    return max(width, left + frame_width), max(height, top + frame_height)
