"""Rows of several requests are joined where their batch runs, not on the loop that picked them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tests.services.pipelines import request

from headrace.services.context import Inputs
from headrace.services.entries import Entry, merged


class Watched(dict[str, Any]):
    """Columns that count how often somebody looks at them."""

    looks = 0

    def __getitem__(self, name: str) -> Any:
        self.looks += 1
        return super().__getitem__(name)


def entry(columns: Mapping[str, Any], rows: int) -> Entry:
    return Entry(Inputs(columns, rows), request(), None, None, 0.0, 1.0)  # type: ignore[arg-type]


def test_columns_are_joined_once_and_only_when_somebody_looks() -> None:
    first, second = Watched(x=np.array([1, 2])), Watched(x=np.array([3]))

    batch = merged([entry(first, 2), entry(second, 1)])
    before = first.looks + second.looks
    joined = [batch.columns["x"], batch.columns["x"]]

    assert (batch.size, batch.positions, batch.failures) == (3, None, {})
    assert (before, first.looks, second.looks) == (0, 1, 1)
    assert joined[0] is joined[1]
    assert joined[0].tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_the_columns_of_a_single_request_are_its_own() -> None:
    columns = {"x": [1, 2]}

    assert merged([entry(columns, 2)]).columns is columns
