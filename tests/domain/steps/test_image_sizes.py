"""Do scaling, cropping and padding agree with Pillow, and with the rules that torchvision documents?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from headrace.domain.batch import Batch
from headrace.domain.errors import TooLarge
from headrace.domain.steps.image_sizes import center_crop, letterbox, pad, resize
from headrace.domain.tensors import TensorSpec

RNG = np.random.default_rng(1)


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_scaling_is_pillows(resample: Any, mode: str) -> None:
    image = picture(31, 50, mode)

    small = resize(image, size=(8, 9), resample=resample)

    wanted = image.resize((9, 8), Image.Resampling[resample.upper()])
    np.testing.assert_array_equal(np.asarray(small), np.asarray(wanted))


@pytest.mark.parametrize(
    ("height", "width", "size", "wanted"),
    [(480, 640, 224, (224, 298)), (640, 480, 224, (298, 224)), (100, 100, 7, (7, 7)), (3, 1000, 2, (2, 666))],
)
def test_the_shorter_side_leads_and_the_longer_is_rounded_down(
    height: int, width: int, size: int, wanted: tuple[int, int]
) -> None:
    image = resize(Image.new("L", (width, height)), size=size)

    assert (image.height, image.width) == wanted


def test_a_very_narrow_picture_cannot_grow_without_limit() -> None:
    with pytest.raises(TooLarge, match="would become"):
        resize(Image.new("L", (1, 60_000)), size=2000)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.integers(1, 14))
def test_cropping_follows_the_centre_rule(height: int, width: int, high: int, wide: int) -> None:
    pixels = RNG.integers(1, 256, (height, width), np.uint8)

    cropped = np.asarray(center_crop(Image.fromarray(pixels), size=(high, wide)))

    left, top = max(0, wide - width), max(0, high - height)
    canvas = np.pad(pixels, ((top // 2, (top + 1) // 2), (left // 2, (left + 1) // 2)))
    row, column = round((canvas.shape[0] - high) / 2), round((canvas.shape[1] - wide) / 2)
    np.testing.assert_array_equal(cropped, canvas[row : row + high, column : column + wide])


@pytest.mark.parametrize(
    ("padding", "border"), [(2, (2, 2, 2, 2)), ((1, 3), (1, 3, 1, 3)), ((1, 2, 3, 4), (1, 2, 3, 4))]
)
def test_padding_is_pillows_border(padding: Any, border: tuple[int, ...]) -> None:
    image = picture(4, 5)

    padded = pad(image, padding=padding, fill=(9, 8, 7))

    np.testing.assert_array_equal(np.asarray(padded), np.asarray(ImageOps.expand(image, border, (9, 8, 7))))


def test_one_number_fills_every_channel() -> None:
    padded = pad(Image.new("RGB", (1, 1)), padding=1, fill=50)

    assert np.asarray(padded)[0, 0].tolist() == [50, 50, 50]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 30), st.integers(8, 30))
def test_a_letterbox_is_pillows_pad(height: int, width: int, high: int, wide: int) -> None:
    if max(height / width, width / height) > 8:
        return
    image = picture(height, width)

    boxed = letterbox(image, size=(high, wide), fill=(1, 2, 3), resample="bicubic")

    wanted = ImageOps.pad(image, (wide, high), Image.Resampling.BICUBIC, (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(boxed), np.asarray(wanted))


def test_the_narrowest_picture_stays_visible_in_a_letterbox() -> None:
    boxed = letterbox(Image.new("L", (1, 1000), 255), size=(10, 10), fill=0)

    assert (np.asarray(boxed) == 255).any(axis=1).all()


def test_pictures_of_any_size_leave_with_the_size_that_was_promised(apply: Callable[..., Batch]) -> None:
    pictures = [picture(9, 30), picture(30, 9), picture(5, 5)]

    for name, params in {
        "image.resize": {"size": [6, 7]},
        "image.center_crop": {"size": [6, 7]},
        "image.letterbox": {"size": [6, 7]},
    }.items():
        after = apply(name, {"image": pictures}, params)

        assert [image.size for image in after.columns["image"]] == [(7, 6)] * 3


def test_the_input_stays_as_it_was() -> None:
    image = picture(9, 9)
    before = np.asarray(image).copy()

    for step in (resize, center_crop, letterbox):
        step(image, size=(4, 20))
    pad(image, padding=3)

    np.testing.assert_array_equal(np.asarray(image), before)


def test_impossible_sizes_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    colours = {"image": TensorSpec("image", (-1, 10, 20, 3))}

    assert "wants a size of at least 1" in problems("image.resize", {"size": [0, 5]})[0]
    assert "at most" in problems("image.letterbox", {"size": [100_000, 100_000]})[0]
    assert "padding of at least 0" in problems("image.pad", {"padding": -1})[0]
    assert "2 values in fill; the picture has 3" in problems("image.pad", {"padding": 1, "fill": [1, 2]}, colours)[0]
    assert "did you mean 'bilinear'" in problems("image.resize", {"size": 5, "resample": "bilinar"})[0]
