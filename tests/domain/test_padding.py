"""Rows of differing lengths in one call of a model: an answer never depends on the company."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.padding import Padding
from headrace.domain.spec import Batching
from headrace.domain.tensors import TensorSpec

IDS = {"ids": TensorSpec("int64", (-1, -1), "ids"), "mask": TensorSpec("int64", (-1, -1), "mask")}
LOGITS = {"logits": TensorSpec("float32", (-1, -1, 3), "logits"), "mean": TensorSpec("float32", (-1, 2), "mean")}
PICTURE = {"picture": TensorSpec("float32", (-1, 3, -1, -1), "picture")}
BRIGHT = {"bright": TensorSpec("float32", (-1, -1, -1), "bright")}


def padding(inputs: Any = IDS, outputs: Any = LOGITS, **settings: Any) -> Padding:
    return Padding(Batching(**{"pad": dict.fromkeys(inputs, 0), **settings}), inputs, outputs)


def tokens(lengths: list[int]) -> dict[str, Any]:
    rows = [np.arange(1, length + 1) for length in lengths]
    return {"ids": rows, "mask": [np.ones_like(row) for row in rows]}


def run(one: Padding, given: dict[str, Any], model: Any, names: Any = LOGITS) -> dict[str, Any]:
    return one.joined([(part, model(part.columns)) for part in one.parts(given)], names)


def masked(columns: Any) -> dict[str, Any]:
    """What a model does that heeds its mask: a value for each token, and one for the row."""
    ids, mask = columns["ids"].astype("float32"), columns["mask"]
    logits = np.stack([ids, ids * 2, ids * 3], axis=-1)
    mean = (ids * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    return {"logits": logits, "mean": np.stack([mean, mask.sum(axis=1)], axis=-1).astype("float32")}


settings = st.fixed_dictionaries(
    {
        "buckets": st.lists(st.integers(1, 40), unique=True, max_size=4).map(lambda sizes: tuple(sorted(sizes))),
        "max_waste": st.floats(0, 0.95),
    }
)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), settings)
def test_every_row_comes_back_as_if_it_had_been_alone(lengths: list[int], how: dict[str, Any]) -> None:
    together = run(padding(**how), tokens(lengths), masked)

    for row, length in enumerate(lengths):
        alone = masked({name: np.stack(rows) for name, rows in tokens([length]).items()})
        assert np.array_equal(together["logits"][row], alone["logits"][0])
        assert np.array_equal(together["mean"][row], alone["mean"][0])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), settings)
def test_company_costs_no_more_than_the_declared_share(lengths: list[int], how: dict[str, Any]) -> None:
    one = padding(**how)

    for part in one.parts(tokens(lengths)):
        own = sum(one.cells_of(one.bucketed(extent)) for extent in part.extents)
        joint = len(part.rows) * one.cells_of(part.target)
        assert own >= (1 - how["max_waste"]) * joint or len(part.rows) == 1


@pytest.mark.parametrize(("buckets", "widths"), [((), [13]), ((16, 32), [16]), ((8,), [13])])
def test_rows_are_filled_up_to_the_longest_or_the_next_bucket(buckets: tuple[int, ...], widths: list[int]) -> None:
    parts = padding(buckets=buckets).parts(tokens([13, 13, 12]))

    assert [part.columns["ids"].shape[1] for part in parts] == widths  # type: ignore[union-attr]


def test_short_rows_do_not_suffer_a_long_one() -> None:
    parts = padding().parts(tokens([3, 100, 3, 4]))

    assert [list(part.rows) for part in parts] == [[1], [0, 2, 3]]


def test_rows_of_one_bucket_always_share_a_call() -> None:
    assert len(padding(buckets=(64,), max_waste=0).parts(tokens([1, 64, 30]))) == 1


def test_an_array_is_filled_up_to_its_bucket_too() -> None:
    ids = np.ones((2, 5), "int64")

    (part,) = padding(buckets=(8,), pad={"ids": 9, "mask": 0}).parts({"ids": ids, "mask": ids})

    assert part.columns["ids"].tolist() == [[1] * 5 + [9] * 3] * 2  # type: ignore[union-attr]


def test_what_is_filled_in_is_of_the_columns_own_type() -> None:
    (part,) = padding().parts(tokens([1, 1]))

    assert {str(part.columns[name].dtype) for name in IDS} == {"int64"}  # type: ignore[union-attr]


def test_pictures_are_filled_up_along_both_sides_and_cut_back() -> None:
    shapes = [(30, 40), (32, 32), (20, 50)]
    pictures = {"picture": [np.full((3, *shape), 1.0, "float32") for shape in shapes]}
    one = padding(PICTURE, BRIGHT, buckets=(32, 64), max_waste=0.6)

    answer = run(one, pictures, lambda columns: {"bright": columns["picture"].sum(axis=1)}, BRIGHT)

    assert [row.shape for row in answer["bright"]] == shapes
    assert all((row == 3).all() for row in answer["bright"])


def test_an_output_that_is_not_named_is_left_as_it_came_back() -> None:
    answer = run(padding(unpad={}), tokens([2, 3]), masked)

    assert answer["logits"].shape == (2, 3, 3)


def test_an_output_without_a_free_axis_stays_one_array() -> None:
    assert run(padding(), tokens([2, 3, 30]), masked)["mean"].shape == (3, 2)


def test_an_output_may_follow_another_input_than_the_first() -> None:
    inputs = {"source": TensorSpec("int64", (-1, -1)), "target": TensorSpec("int64", (-1, -1))}
    outputs = {"scores": TensorSpec("int64", (-1, -1))}
    one = padding(inputs, outputs, unpad={"scores": "target"}, max_waste=0.9)
    given = {"source": [np.ones(4, int), np.ones(2, int)], "target": [np.ones(3, int), np.ones(9, int)]}

    answer = run(one, given, lambda columns: {"scores": columns["target"]}, outputs)

    assert [row.tolist() for row in answer["scores"]] == [[1] * 3, [1] * 9]


def test_what_was_filled_in_is_counted() -> None:
    one = padding(buckets=(4, 8), max_waste=0)

    one.parts(tokens([3, 8]))

    assert one.cells.kinds() == (("real", 22), ("padding", 2))
    assert one.cells.waste == pytest.approx(2 / 24)


def test_nothing_filled_in_is_no_waste() -> None:
    assert padding().cells.waste == 0
