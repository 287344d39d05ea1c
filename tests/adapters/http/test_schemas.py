"""Is a column's schema good enough to build a form from?"""

from typing import Any

import pytest

from headrace.adapters.http.schemas import column_schema, shown_examples
from headrace.domain.tensors import TensorSpec


@pytest.mark.parametrize(
    ("spec", "schema"),
    [
        (TensorSpec("float32"), {"type": "number"}),
        (TensorSpec("uint8"), {"type": "integer", "minimum": 0, "maximum": 255}),
        (TensorSpec("bool"), {"type": "boolean"}),
        (TensorSpec("string"), {"type": "string"}),
        (TensorSpec("integer"), {"type": "integer"}),
        (TensorSpec("number", None), {"description": "number[...]"}),
        (TensorSpec("any"), {}),
        (TensorSpec("string", (-1, -1)), {"type": "array", "items": {"type": "string"}}),
        (TensorSpec("float32", (-1,), "t", 0.5, True), {"type": "number", "default": 0.5}),
        (
            TensorSpec("bool", (-1, 2, -1)),
            {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "array", "items": {"type": "boolean"}}},
        ),
    ],
)
def test_a_column_has_the_schema_of_its_rows(spec: TensorSpec, schema: dict[str, Any]) -> None:
    assert column_schema(spec) == schema


def test_bytes_are_an_object_with_base64() -> None:
    assert column_schema(TensorSpec("bytes"))["required"] == ["base64"]


def test_floats_of_an_answer_may_be_no_number() -> None:
    assert column_schema(TensorSpec("float32"), nullable=True) == {"type": ["number", "null"]}


def test_examples_that_cannot_be_sent_are_not_shown() -> None:
    rows = [{"x": 1}, {"image": bytes(100_000)}, {"image": {"file": "a.png"}}, {"image": b"tiny"}]

    assert shown_examples(rows) == [{"x": 1}, {"image": b"tiny"}]
