"""A row whose answer is no number is its caller's mistake where it was given none."""

import numpy as np
import pytest

from headrace.domain.batch import Batch
from headrace.domain.blame import blamed
from headrace.domain.errors import InvalidInput, ModelFailure, NoNumber
from headrace.domain.tensors import TensorSpec

INPUTS = {"name": TensorSpec("string"), "x": TensorSpec("float32", (-1, 2), "x")}
ROWS = [[1.0, 2.0], [1e39, 0.0], [float("nan"), 1.0], [3.0, 4.0]]


@pytest.mark.parametrize("given", [ROWS, np.array(ROWS)])
def test_each_row_is_blamed_on_whose_mistake_it_is(given: list[list[float]]) -> None:
    batch = Batch({"name": ["a"] * 4, "x": given}, 4)
    nan, broken = NoNumber("scores are NaN"), ModelFailure("it raised")
    done = Batch({"y": [1]}, 1, failures={0: nan, 1: nan, 2: broken}, positions=(3,))

    found = blamed(batch, done, INPUTS)

    assert (found.failures[0], found.failures[2], found.positions) == (nan, broken, (3,))
    assert isinstance(found.failures[1], InvalidInput)
    assert found.failures[1].message == "input 'x' holds NaN, or a number beyond its range; scores are NaN"


def test_where_nobody_is_to_blame_nothing_changes() -> None:
    done = Batch({"y": [1, 2]}, 2)

    assert blamed(Batch({"x": [[1, 2], [np.inf, 2]]}, 2), done, INPUTS) is done
