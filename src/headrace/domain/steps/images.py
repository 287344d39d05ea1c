"""Steps between the bytes of a picture and numbers: decoding, orientation, tensors, normalisation."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from headrace.domain.errors import InvalidInput
from headrace.domain.step import Specs, step
from headrace.domain.steps.number_columns import each, floating_spec, floats
from headrace.domain.steps.picture_files import DAMAGE, PIXELS_AT_MOST, Picture, load
from headrace.domain.tensors import BYTES, IMAGE, Array, Column, TensorSpec

Mode = Literal["RGB", "RGBA", "L", "LA"]
Layout = Literal["CHW", "HWC"]
CHANNELS: Final = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
ORIENTATION: Final = 0x0112  # the EXIF tag


def _decoded(reads: Specs, *, mode: Mode = "RGB", max_pixels: int = 50_000_000) -> Specs:
    if not 1 <= max_pixels <= PIXELS_AT_MOST:
        raise ValueError(f"wants max_pixels between 1 and {PIXELS_AT_MOST}, not {max_pixels}")
    return {"image": TensorSpec("image", (-1, -1, -1, CHANNELS[mode]))}


@step(reads={"image": BYTES}, flow=_decoded, per="row", parallel=True, flexible=True, pure=True)
def decode(image: bytes, *, mode: Mode = "RGB", max_pixels: int = 50_000_000) -> Picture:
    """Turn the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file into a picture of one colour *mode*.

    Reads `image` (bytes) and writes `image` (picture, `[height, width, channels]`, 8 bits a channel). *mode* is
    `RGB`, `RGBA`, `L` (grey) or `LA`. Palettes are resolved, of 16 bits the upper 8 are kept, transparency is left
    out where *mode* has none; of an animation or several pages the first one is taken. The EXIF orientation stays
    for `image.rotate_by_exif`; TIFF files come out rotated already, as with Pillow.

    Errors: `invalid_input` for bytes that are no such picture, or a truncated or damaged one, or one of 32 bits a
    channel; `too_large` for more than *max_pixels* pixels, which is seen in the header before anything is decoded.

    Example:
        in: {image: [{png: [[0, 128], [255, 64]]}]}
        params: {mode: L}
        out: {image: [{picture: [[0, 128], [255, 64]]}]}
    """
    if not isinstance(image, (bytes, bytearray, memoryview)):
        raise InvalidInput(f"column 'image' wants the bytes of a picture, not a {type(image).__name__}")
    picture = load(bytes(image), max_pixels)
    orientation = _orientation(picture)
    try:
        converted = _converted(picture, mode)
    except DAMAGE as error:
        raise InvalidInput(f"the picture of mode {picture.mode} cannot be turned into {mode}: {error}") from error
    converted.info = _orientation_alone(orientation)
    return converted


def _converted(picture: Picture, mode: Mode) -> Picture:
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise InvalidInput("the picture has 32 bits a channel, of a range that only its maker knows; 8 or 16 are read")
    if not mode.endswith("A"):
        picture.info.pop("transparency", None)  # Pillow warns that it gets lost, which was asked for
    return picture if picture.mode == mode else picture.convert(mode)


def _orientation(picture: Picture) -> int:
    try:
        found = picture.getexif().get(ORIENTATION, 1)
    except DAMAGE:  # a picture with a broken description is still a picture
        return 1
    return found if found in range(1, 9) else 1


def _orientation_alone(orientation: int) -> dict[str, Any]:
    if orientation == 1:
        return {}
    from PIL import Image

    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return {"exif": exif.tobytes()}


def _unknown_size(reads: Specs) -> Specs:
    channels = (reads["image"].shape or (-1,))[-1]
    return {"image": TensorSpec("image", (-1, -1, -1, channels))}


@step(reads={"image": IMAGE}, flow=_unknown_size, per="row", parallel=True, flexible=True, pure=True)
def rotate_by_exif(image: Picture) -> Picture:
    """Turn a picture upright by the orientation that the camera noted in its EXIF data.

    Reads and writes `image` (picture). Stands right after `image.decode`; a picture without the note, and one that
    was turned already, stays as it is. The result is that of Pillow's `ImageOps.exif_transpose`.

    Example:
        in: {image: [{picture: [[0, 50, 100]], orientation: 6}]}
        out: {image: [{picture: [[0], [50], [100]]}]}
    """
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if "exif" in image.info else image


def _as_tensor(reads: Specs, *, layout: Layout = "CHW", dtype: str = "float32") -> Specs:
    shape = reads["image"].shape
    if shape is None:
        return {"image": TensorSpec(dtype, (-1, -1, -1, -1))}
    rows, height, width, channels = shape
    inner = (channels, height, width) if layout == "CHW" else (height, width, channels)
    return {"image": TensorSpec(dtype, (rows, *inner))}


@step(reads={"image": IMAGE}, flow=_as_tensor, per="row", parallel=True, flexible=True, pure=True)
def to_tensor(image: Picture, *, layout: Layout = "CHW", dtype: Literal["float32", "uint8"] = "float32") -> Array:
    """Turn a picture into numbers: float32 from 0 to 1, or the bytes from 0 to 255 as uint8.

    Reads `image` (picture) and writes `image` as `[channels, height, width]` (*layout* `CHW`) or
    `[height, width, channels]` (`HWC`); a grey picture has one channel. In float32 every value is the byte divided
    by 255, as torchvision's `to_tensor` has it.

    Example:
        in: {image: [{picture: [[0, 51], [255, 102]]}]}
        params: {layout: CHW}
        out: {image: [[[[0.0, 0.2], [1.0, 0.4]]]]}
    """
    pixels = np.atleast_3d(np.asarray(image, dtype=np.uint8))
    ordered = pixels.transpose(2, 0, 1) if layout == "CHW" else pixels
    if dtype == "uint8":
        return np.ascontiguousarray(ordered)
    return np.divide(ordered, np.float32(255), dtype=np.float32, order="C")


Numbers = float | tuple[float, ...]


def _normalized(reads: Specs, *, mean: Numbers, std: Numbers, layout: Layout = "CHW") -> Specs:
    if not np.all(np.asarray(std) > 0):
        raise ValueError(f"wants std above zero, not {std}")
    shape = reads["image"].shape
    channels = shape[1 if layout == "CHW" else -1] if shape and len(shape) == 4 else -1
    for name, values in (("mean", mean), ("std", std)):
        given = len(values) if isinstance(values, tuple) else 1
        if channels >= 0 and given not in (1, channels):
            raise ValueError(f"has {given} values in {name}; the picture has {channels} channels ({layout})")
    return {"image": floating_spec(reads["image"])}


@step(reads={"image": TensorSpec("number", (-1, -1, -1, -1))}, flow=_normalized, flexible=True, pure=True)
def normalize(image: Column, *, mean: Numbers, std: Numbers, layout: Layout = "CHW") -> Column:
    """Subtract *mean* and divide by *std*, channel by channel.

    Reads and writes `image`, float32 `[channels, height, width]` (or `[height, width, channels]` with *layout*
    `HWC`), as `image.to_tensor` leaves it. *mean* and *std* are one number, or one for each channel, in the unit of
    the tensor (0 to 1). The formula is that of torchvision's `normalize`.

    Errors: `invalid_input` when the picture has another number of channels.

    Example:
        in: {image: [[[[0.0, 1.0]]]]}
        params: {mean: [0.5], std: [0.25]}
        out: {image: [[[[-2.0, 2.0]]]]}
    """
    axes = (-1, 1, 1) if layout == "CHW" else (-1,)

    def one(array: Array) -> Array:
        centre, spread = (np.asarray(values, array.dtype).reshape(axes) for values in (mean, std))
        channels = array.shape[1 if layout == "CHW" else -1]
        if not {centre.size, spread.size} <= {1, channels}:
            raise InvalidInput(f"the picture has {channels} channels; mean and std have {centre.size}, {spread.size}")
        result: Array = (array - centre) / spread
        return result

    return each(floats(image, "image"), one)
