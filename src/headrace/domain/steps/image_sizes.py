"""Steps that change how large a picture is: scaling, cropping, padding."""

from __future__ import annotations

from typing import Final, Literal

from headrace.domain.errors import TooLarge
from headrace.domain.step import Specs, step
from headrace.domain.steps.picture_files import PIXELS_AT_MOST, Picture
from headrace.domain.tensors import IMAGE, TensorSpec

Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Size = tuple[int, int]
Fill = int | tuple[int, ...]
FREE: Final = -1


def _like(spec: TensorSpec, height: int, width: int) -> Specs:
    channels = (spec.shape or (-1,))[-1]
    return {"image": TensorSpec("image", (-1, height, width, channels))}


def _known(spec: TensorSpec) -> Size:
    """Height and width as far as they are known before a picture is there."""
    return spec.shape[1:3] if spec.shape and len(spec.shape) == 4 else (FREE, FREE)


def _positive(size: int | Size) -> None:
    low = min(size) if isinstance(size, tuple) else size
    area = size[0] * size[1] if isinstance(size, tuple) else size * size
    if low < 1 or area > PIXELS_AT_MOST:
        shown = list(size) if isinstance(size, tuple) else size
        raise ValueError(f"wants a size of at least 1 and at most {PIXELS_AT_MOST} pixels, not {shown}")


def _filled(spec: TensorSpec, fill: Fill) -> None:
    given = len(fill) if isinstance(fill, tuple) else 1
    channels = (spec.shape or (-1,))[-1]
    if given not in (1, channels) and channels >= 0:
        raise ValueError(f"has {given} values in fill; the picture has {channels} channels")


def _colour(fill: Fill, image: Picture) -> int | tuple[int, ...]:
    """One number fills every channel; Pillow would take it for the first alone."""
    bands = len(image.getbands())
    values = fill if isinstance(fill, tuple) else (fill,)
    values = values * bands if len(values) == 1 else values
    return values[0] if bands == 1 else values


def shorter_side(height: int, width: int, size: int) -> Size:
    """(height, width) when the shorter side is scaled to *size* and the ratio is kept, rounded down."""
    if width <= height:
        return int(size * height / width), size
    return size, int(size * width / height)


def _resized(reads: Specs, *, size: int | Size, resample: Resample = "bilinear") -> Specs:
    _positive(size)
    height, width = _known(reads["image"])
    if isinstance(size, tuple):
        height, width = size
    elif FREE not in (height, width):
        height, width = shorter_side(height, width, size)
    else:
        height = width = FREE
    return _like(reads["image"], height, width)


@step(reads={"image": IMAGE}, flow=_resized, per="row", parallel=True, flexible=True, pure=True)
def resize(image: Picture, *, size: int | Size, resample: Resample = "bilinear") -> Picture:
    """Scale a picture to `[height, width]`, or its shorter side to a number of pixels with the ratio kept.

    Reads and writes `image` (picture). *resample* is `nearest`, `box`, `bilinear`, `hamming`, `bicubic` or
    `lanczos`; all but `nearest` smooth when they shrink. The result is that of Pillow's `Image.resize`; the longer
    side is rounded down, as in torchvision's `Resize`.

    Errors: `too_large` when a very narrow picture would grow beyond 89 million pixels.

    Example:
        in: {image: [{picture: [[0, 0, 100, 100], [0, 0, 100, 100]]}]}
        params: {size: [1, 2], resample: box}
        out: {image: [{picture: [[0, 100]]}]}
    """
    from PIL import Image

    height, width = size if isinstance(size, tuple) else shorter_side(image.height, image.width, size)
    if height * width > PIXELS_AT_MOST:
        raise TooLarge(f"a picture of {image.width} x {image.height} pixels would become {width} x {height} pixels")
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling[resample.upper()])


def _cropped(reads: Specs, *, size: int | Size) -> Specs:
    _positive(size)
    height, width = size if isinstance(size, tuple) else (size, size)
    return _like(reads["image"], height, width)


@step(reads={"image": IMAGE}, flow=_cropped, per="row", flexible=True, pure=True)
def center_crop(image: Picture, *, size: int | Size) -> Picture:
    """Cut `[height, width]` (one number: a square) out of the middle of a picture.

    Reads and writes `image` (picture). Where the picture is smaller, black (and transparent) is added around it. Odd
    margins are split as in torchvision's `CenterCrop`.

    Example:
        in: {image: [{picture: [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}]}
        params: {size: 1}
        out: {image: [{picture: [[5]]}]}
    """
    height, width = size if isinstance(size, tuple) else (size, size)
    missing_x, missing_y = max(0, width - image.width), max(0, height - image.height)
    if missing_x or missing_y:
        margins = (missing_x // 2, missing_y // 2, (missing_x + 1) // 2, (missing_y + 1) // 2)
        image = _expanded(image, margins, 0)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _expanded(image: Picture, margins: tuple[int, int, int, int], fill: Fill) -> Picture:
    """*margins* are left, top, right, bottom."""
    from PIL import Image

    left, top, right, bottom = margins
    size = (image.width + left + right, image.height + top + bottom)
    result = Image.new(image.mode, size, _colour(fill, image))
    result.paste(image, (left, top))
    result.info = dict(image.info)
    return result


Padding = int | tuple[int, int] | tuple[int, int, int, int]


def _margins(padding: Padding) -> tuple[int, int, int, int]:
    if isinstance(padding, int):
        return (padding, padding, padding, padding)
    if len(padding) == 2:
        return (*padding, *padding)
    return padding


def _padded(reads: Specs, *, padding: Padding, fill: Fill = 0) -> Specs:
    margins = _margins(padding)
    if min(margins) < 0:
        raise ValueError(f"wants padding of at least 0, not {padding}")
    left, top, right, bottom = margins
    _filled(reads["image"], fill)
    height, width = _known(reads["image"])
    return _like(
        reads["image"],
        height + top + bottom if height >= 0 else FREE,
        width + left + right if width >= 0 else FREE,
    )


@step(reads={"image": IMAGE}, flow=_padded, per="row", flexible=True, pure=True)
def pad(image: Picture, *, padding: Padding, fill: Fill = 0) -> Picture:
    """Add a border of one colour around a picture.

    Reads and writes `image` (picture). *padding* counts pixels: one number for all sides, `[left and right, top and
    bottom]`, or `[left, top, right, bottom]`. *fill* (0 to 255) is one number for every channel or one for each.

    Errors: `too_large` when the result would have more than 89 million pixels.

    Example:
        in: {image: [{picture: [[9]]}]}
        params: {padding: [1, 0], fill: 5}
        out: {image: [{picture: [[5, 9, 5]]}]}
    """
    left, top, right, bottom = _margins(padding)
    width, height = image.width + left + right, image.height + top + bottom
    if width * height > PIXELS_AT_MOST:
        raise TooLarge(f"a picture of {image.width} x {image.height} pixels would become {width} x {height} pixels")
    return _expanded(image, (left, top, right, bottom), fill)


def _boxed(reads: Specs, *, size: Size, fill: Fill = 114, resample: Resample = "bilinear") -> Specs:
    _positive(size)
    _filled(reads["image"], fill)
    return _like(reads["image"], *size)


def _contained(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest (width, height) of the same ratio; even the narrowest picture keeps one pixel."""
    ratio = width / height
    if ratio > most_width / most_height:
        return most_width, max(1, round(height / width * most_width))
    return max(1, round(ratio * most_height)), most_height


@step(reads={"image": IMAGE}, flow=_boxed, per="row", parallel=True, flexible=True, pure=True)
def letterbox(image: Picture, *, size: Size, fill: Fill = 114, resample: Resample = "bilinear") -> Picture:
    """Scale a picture to fit into `[height, width]`, keep its ratio, and fill the rest evenly on both sides.

    Reads and writes `image` (picture). *fill* (0 to 255) is one number for every channel or one for each; *resample*
    is as for `image.resize`. The result is that of Pillow's `ImageOps.pad`, but that
    a very narrow picture stays visible.

    Example:
        in: {image: [{picture: [[10, 20], [30, 40]]}]}
        params: {size: [2, 4], fill: 0}
        out: {image: [{picture: [[0, 10, 20, 0], [0, 30, 40, 0]]}]}
    """
    from PIL import Image

    height, width = size
    inner = image.resize(_contained(image.width, image.height, width, height), Image.Resampling[resample.upper()])
    left, top = round((width - inner.width) * 0.5), round((height - inner.height) * 0.5)
    margins = (left, top, width - inner.width - left, height - inner.height - top)
    return _expanded(inner, margins, fill)
