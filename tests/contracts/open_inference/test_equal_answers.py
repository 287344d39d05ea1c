"""Does one array get one answer, whichever door of the protocol it takes, and in whichever form?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from tests.contracts.open_inference.doors import DOORS, carries, elements
from tests.contracts.open_inference.echoes import ROW_SHAPES, Served, kinds, model_of, rows_of

from headrace.domain.equality import ATOL, RTOL
from headrace.domain.routing import Asked
from headrace.domain.tensors import NUMBERS
from headrace.services.context import Inputs, RequestContext

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def expected(served: Served, model: str, array: np.ndarray, *, batched: bool = True) -> Mapping[str, Any]:
    """What the library answers in this process, without any door."""
    column: Any = array if array.dtype != object else array.tolist()
    inputs = Inputs({"x": column if batched else [array]}, len(array) if batched else 1)
    inference = served.workspace.inference
    result = await inference.infer(inference.choose(Asked(model)), inputs, RequestContext())
    return {name: result.column(name) if batched else result.column(name)[0] for name in result.columns}


def require_same(found: np.ndarray, wanted: Any) -> None:
    """Integers and texts are equal, floats as near as "equal answers" says; shapes and dtypes always are."""
    if found.dtype == object:
        given = np.array(wanted, dtype=object) if not isinstance(wanted, np.ndarray) else wanted
        rows: Sequence[Any] = given if found.ndim > 1 else _kept(wanted)
        assert [_loose(one) for one in found.ravel()] == [_loose(one) for one in elements(np.asarray(rows))]
        return
    array = np.asarray(wanted)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if array.dtype.kind == "f":
        np.testing.assert_allclose(found, array, RTOL, ATOL)
    else:
        np.testing.assert_array_equal(found, array)


def _kept(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def _loose(element: bytes) -> Any:
    """JSON by its meaning, all else by its bytes."""
    try:
        return orjson.loads(element)
    except orjson.JSONDecodeError:
        return element


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("rows", [1, 3])
async def test_rows_of_every_kind(served: Served, door: str, rows: int) -> None:
    for dtype, shape in kinds():
        if not carries(door, dtype):
            continue
        array, model = rows_of(dtype, shape, rows), model_of(dtype, shape)

        found = await DOORS[door](served, model, array)

        wanted = await expected(served, model, array)
        assert found.keys() == wanted.keys()
        for name, column in wanted.items():
            require_same(found[name], column)
        require_same(found["x"], array if dtype in NUMBERS else array.tolist())


@pytest.mark.parametrize("door", DOORS)
async def test_tensors_without_a_batch_axis(served: Served, door: str) -> None:
    for dtype, shape in kinds():
        if shape == "scalar" or dtype not in NUMBERS or not carries(door, dtype):
            continue
        array, model = rows_of(dtype, shape, 1)[0], model_of(dtype, shape, batched=False)

        found = await DOORS[door](served, model, array)

        for name, value in (await expected(served, model, array, batched=False)).items():
            require_same(found[name], value)


@pytest.mark.parametrize("door", DOORS)
async def test_no_rows_at_all(served: Served, door: str) -> None:
    for dtype, shape in kinds():
        if not carries(door, dtype):
            continue
        array = rows_of(dtype, shape, 0)

        found = await DOORS[door](served, model_of(dtype, shape), array)

        assert found["digest"].shape == (0, 4)
        assert len(found["x"]) == 0
        if dtype in NUMBERS and -1 not in ROW_SHAPES[shape]:
            assert (found["x"].dtype, found["x"].shape) == (array.dtype, array.shape)


async def test_what_no_decimal_can_say_travels_in_binary(served: Served) -> None:
    array = np.array([[np.nan, np.inf, -np.inf], [-0.0, 5e-324, 1.7e308]])

    found = (await DOORS["rest-binary"](served, "float64-vector", array))["x"]

    assert found.tobytes() == array.tobytes()
