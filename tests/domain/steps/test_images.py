"""Do pictures come out as Pillow would make them, and do bad ones get a clear answer before they cost anything?"""

import copy
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidInput, TooLarge
from headrace.domain.steps.images import decode, normalize, rotate_by_exif, to_tensor
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]
RNG = np.random.default_rng(0)
COLOURS = Image.fromarray(RNG.integers(0, 256, (24, 17, 3), np.uint8))


def saved(image: Image.Image, format: str, **how: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


def noted(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def plain(data: bytes, mode: str) -> Any:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


PICTURES = {
    "jpeg": saved(COLOURS, "JPEG"),
    "progressive jpeg": saved(COLOURS, "JPEG", progressive=True),
    "cmyk jpeg": saved(COLOURS.convert("CMYK"), "JPEG"),
    "grey jpeg": saved(COLOURS.convert("L"), "JPEG"),
    "png": saved(COLOURS, "PNG"),
    "palette png": saved(COLOURS.quantize(16), "PNG"),
    "png with alpha": saved(COLOURS.convert("RGBA"), "PNG"),
    "one bit png": saved(COLOURS.convert("1"), "PNG"),
    "grey png with alpha": saved(COLOURS.convert("LA"), "PNG"),
    "webp": saved(COLOURS, "WEBP"),
    "lossless webp": saved(COLOURS, "WEBP", lossless=True),
    "webp with alpha": saved(COLOURS.convert("RGBA"), "WEBP"),
    "gif": saved(COLOURS.quantize(16), "GIF"),
    "moving gif": saved(COLOURS.quantize(16), "GIF", save_all=True, append_images=[COLOURS.quantize(4)]),
    "bmp": saved(COLOURS, "BMP"),
    "tiff": saved(COLOURS, "TIFF"),
    "packed tiff": saved(COLOURS, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("kind", PICTURES)
def test_every_format_decodes_as_pillow_does(kind: str, mode: Any) -> None:
    image = decode(PICTURES[kind], mode=mode)

    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image), plain(PICTURES[kind], mode))


def test_a_palette_with_transparency_gives_its_colours_without_a_warning() -> None:
    see_through = saved(COLOURS.quantize(16), "PNG", transparency=bytes(range(0, 256, 16)))

    colours = np.asarray(decode(see_through, mode="RGB"))

    np.testing.assert_array_equal(colours, np.asarray(COLOURS.quantize(16).convert("RGB")))
    np.testing.assert_array_equal(np.asarray(decode(see_through, mode="RGBA")), plain(see_through, "RGBA"))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_of_sixteen_bits_the_upper_eight_are_kept(format: str) -> None:
    deep = np.array([[0, 255, 256, 40_000, 65_535]], np.uint16)

    image = decode(saved(Image.fromarray(deep), format), mode="L")

    assert np.asarray(image).tolist() == [[0, 0, 1, 156, 255]]


def test_a_picture_of_32_bits_is_refused_because_its_range_is_unknown() -> None:
    with pytest.raises(InvalidInput, match="32 bits"):
        decode(saved(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_truncated_picture_is_an_invalid_input(kind: str, share: float) -> None:
    data = PICTURES[kind]

    with pytest.raises(InvalidInput, match="truncated or damaged"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7 ...", b"GIF8", b"RIFF\x00\x00\x00\x00WAVE", b"\x00" * 64])
def test_what_is_no_picture_is_an_invalid_input_that_names_the_formats(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"JPEG, PNG, WebP, GIF, BMP, TIFF|no bytes"):
        decode(data)


def test_a_value_that_is_no_bytes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bytes of a picture, not a str"):
        decode("picture.png")  # type: ignore[arg-type]


def png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gif_frame(screen: int, frame: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + b"\0" * 6
    comment = b"\x21\xfe\x03abc\x00"
    return head + comment + b"\x2c" + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\x02\x02\x44\x01\x00\x3b"


def webp_canvas(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + size


def tiff_with_tile(side: int) -> bytes:
    tags = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0" * 4


BOMBS = {
    "png": png_header(100_000, 100_000),
    "png just over pillow's warning": png_header(10_000, 9_500),
    "gif": gif_frame(60_000, 10),
    "gif whose frame leaves the screen": gif_frame(10, 10_000),
    "webp": webp_canvas(16_000, 16_000),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "tiff": tiff_with_tile(64_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_too_large_before_it_is_decoded(kind: str) -> None:
    with pytest.raises(TooLarge, match="at most 50000000 are decoded"):
        decode(BOMBS[kind])


def test_the_limit_on_pixels_is_inclusive() -> None:
    decode(PICTURES["png"], max_pixels=24 * 17)

    with pytest.raises(TooLarge, match="17 x 24 = 408 pixels"):
        decode(PICTURES["png"], max_pixels=24 * 17 - 1)


def test_a_bad_picture_leaves_alone(apply: Apply) -> None:
    after = apply("image.decode", {"image": [PICTURES["png"], PICTURES["jpeg"][:300], PICTURES["bmp"]]})

    assert after.size == 2
    assert isinstance(after.failures[1], InvalidInput)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(PICTURES)), data=st.data())
def test_damaged_bytes_give_a_picture_or_an_engine_error(kind: str, data: st.DataObject) -> None:
    broken = bytearray(PICTURES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, min(len(broken), 400) - 1))] = data.draw(st.integers(0, 255))

    try:
        decode(bytes(broken), max_pixels=100_000)
    except EngineError as error:
        assert error.code in ("invalid_input", "too_large")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright_as_pillow_does(format: str, orientation: int) -> None:
    data = saved(COLOURS, format, exif=noted(orientation))
    with Image.open(BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))

    decoded = decode(data)
    upright = rotate_by_exif(decoded)

    np.testing.assert_array_equal(np.asarray(upright), wanted)
    np.testing.assert_array_equal(np.asarray(rotate_by_exif(upright)), wanted)


def test_orientation_survives_resizing() -> None:
    from headrace.domain.steps.image_sizes import resize

    small = resize(decode(saved(COLOURS, "JPEG", exif=noted(6))), size=(6, 4))

    assert rotate_by_exif(small).size == (6, 4)


def test_a_broken_orientation_note_is_no_reason_to_refuse_a_picture() -> None:
    data = saved(COLOURS, "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")

    assert rotate_by_exif(decode(data)).size == COLOURS.size


def test_a_decoded_picture_can_be_copied() -> None:
    image = decode(PICTURES["jpeg"])

    np.testing.assert_array_equal(np.asarray(copy.deepcopy(image)), np.asarray(image))


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 4), ("LA", 2)])
def test_tensors_hold_the_bytes_over_255_channels_first(mode: Any, channels: int) -> None:
    image = COLOURS.convert(mode)

    tensor = to_tensor(image)

    assert tensor.dtype == np.float32
    assert tensor.shape == (channels, 24, 17)
    pixels = np.asarray(image).reshape(24, 17, channels).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(tensor, pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(to_tensor(image, layout="HWC"), pixels)


def test_tensors_can_stay_bytes() -> None:
    tensor = to_tensor(COLOURS, layout="HWC", dtype="uint8")

    np.testing.assert_array_equal(tensor, np.asarray(COLOURS))


def test_pictures_of_different_sizes_stay_a_list(apply: Apply) -> None:
    pictures = [COLOURS, COLOURS.resize((5, 6))]

    tensors = apply("image.to_tensor", {"image": pictures}).columns["image"]
    normal = apply("image.normalize", {"image": tensors}, {"mean": [0.5, 0.4, 0.3], "std": 0.5}).columns["image"]

    assert [tensor.shape for tensor in normal] == [(3, 24, 17), (3, 6, 5)]
    np.testing.assert_array_equal(normal[1], normalize(tensors[1][np.newaxis], mean=(0.5, 0.4, 0.3), std=0.5)[0])


def test_normalisation_follows_the_reference_formula() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    batch = RNG.random((3, 3, 5, 4)).astype(np.float32)
    before = batch.copy()

    normal = normalize(batch, mean=mean, std=std)

    wanted = np.stack([(batch[:, c] - np.float32(mean[c])) / np.float32(std[c]) for c in range(3)], axis=1)
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(normal, wanted)
    np.testing.assert_array_equal(batch, before)
    last = normalize(np.moveaxis(batch, 1, -1), mean=mean, std=std, layout="HWC")
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), wanted)


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    three = {"image": TensorSpec("float32", (-1, 3, 8, 8))}

    assert "max_pixels between 1 and" in problems("image.decode", {"max_pixels": 10**9})[0]
    assert "one of RGB, RGBA, L, LA" in problems("image.decode", {"mode": "BGR"})[0]
    assert "2 values in mean; the picture has 3" in problems("image.normalize", {"mean": [0, 0], "std": 1}, three)[0]
    assert "std above zero" in problems("image.normalize", {"mean": 0, "std": [1, 0, 1]}, three)[0]
    assert "float32, but image is wanted" in problems("image.to_tensor", {}, three)[0]
