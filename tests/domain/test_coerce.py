"""Rows that do not fit leave alone, whichever of their columns it was and whoever stands beside them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.coerce import coerce
from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.tensors import TensorSpec

SPECS = {
    "x": TensorSpec("int64", (-1,), "x"),
    "y": TensorSpec("float32", (-1, -1), "y"),
    "z": TensorSpec("string", (-1,), "z"),
}
Row = st.fixed_dictionaries(
    {
        "x": st.sampled_from([1, 2.0, 2.5, "1", None, 2**63]),
        "y": st.sampled_from([[1], [1, 2.5], [], ["1"], 3, [[1]]]),
        "z": st.sampled_from(["a", "", 1, None]),
        "free": st.sampled_from([1, "a", None]),
    }
)


def batch_of(rows: list[dict[str, Any]]) -> Batch:
    return Batch({name: [row[name] for row in rows] for name in ("x", "y", "z", "free")})


def told(batch: Batch) -> list[Any]:
    return [
        one.message if isinstance(one, EngineError) else {**one, "y": one["y"].tolist(), "x": int(one["x"])}
        for one in coerce(batch, SPECS).outcomes()
    ]


@settings(deadline=None, max_examples=300)
@given(st.lists(Row, min_size=1, max_size=12))
def test_every_row_gets_what_it_gets_alone(rows: list[dict[str, Any]]) -> None:
    alone = [told(batch_of([row]))[0] for row in rows]

    assert told(batch_of(rows)) == alone


def test_rows_that_left_before_stay_where_they_were() -> None:
    batch = Batch.from_rows([{"x": n} for n in (1, "no", 3, 4)]).without({0: InvalidInput("early")})

    done = coerce(batch, SPECS)

    assert [one.message[:5] if isinstance(one, EngineError) else int(one["x"]) for one in done.outcomes()] == [
        "early",
        "colum",
        3,
        4,
    ]


def test_a_batch_of_which_nothing_fits_is_empty_and_says_why_for_each() -> None:
    done = coerce(Batch({"x": ["a", "b", "c"]}), SPECS)

    assert done.size == 0
    assert ["'a'" in done.failures[0].message, "'c'" in done.failures[2].message] == [True, True]
