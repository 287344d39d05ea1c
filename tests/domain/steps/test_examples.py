"""Does every built-in step do what the example in its docstring says?"""

import inspect
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from headrace.domain.batch import Batch
from headrace.domain.step import step_type
from headrace.domain.steps import STEPS


def example(function: Callable[..., Any]) -> dict[str, Any]:
    """The YAML under ``Example:`` at the end of a docstring."""
    found = re.search(r"^Example:\n(.*)\Z", inspect.getdoc(function) or "", re.MULTILINE | re.DOTALL)
    assert found is not None, "the docstring has no Example:"
    return yaml.safe_load(found[1])


def picture(value: dict[str, Any]) -> Any:
    image = Image.fromarray(np.array(value.get("picture", value.get("png")), np.uint8))
    if "orientation" in value:
        exif = Image.Exif()
        exif[0x0112] = value["orientation"]
        image.info["exif"] = exif.tobytes()
    if "picture" in value:
        return image
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def column(values: list[Any]) -> Any:
    """A column as a pipeline would hold it: numbers in one array, everything else in a list."""
    if isinstance(values[0], dict) and {"picture", "png"} & values[0].keys():
        return [picture(value) for value in values]
    try:
        array = np.array(values)
    except ValueError:
        return values
    narrow = {"f": np.float32, "i": np.int64}.get(array.dtype.kind)
    return values if narrow is None else array.astype(narrow)


def assert_equal(found: Any, wanted: list[Any]) -> None:
    if isinstance(wanted[0], dict) and "picture" in wanted[0]:
        assert [np.asarray(image).tolist() for image in found] == [value["picture"] for value in wanted]
    elif isinstance(found, np.ndarray):
        np.testing.assert_allclose(found, np.array(wanted), rtol=1e-6)
        assert found.shape == np.array(wanted).shape
    else:
        assert found == wanted


@pytest.mark.parametrize("name", STEPS)
def test_the_example_of_a_step_is_true(name: str, apply: Callable[..., Batch]) -> None:
    told = example(STEPS[name])
    columns = {key: column(values) for key, values in told["in"].items()}

    after = apply(name, columns, told.get("params", {}), values=told.get("values"))

    assert told["out"], "the example shows no result"
    for key, wanted in told["out"].items():
        assert_equal(after.columns[key], wanted)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_says_that_it_is_pure_and_names_its_columns(name: str) -> None:
    kind = step_type(STEPS[name])

    assert kind.pure
    assert callable(kind.reads) or kind.reads
