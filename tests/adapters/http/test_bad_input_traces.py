"""A refused request must leave nothing behind: no fault after the end of its connection, no circle in memory."""

import asyncio
import gc
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.domain.errors import EngineError


@pytest.fixture
def circles() -> Iterator[list[Any]]:
    """What only the collector could free, once it has come by."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": "text"},
        {"x": [13, 0]},
        {"z": 1},
        [{"x": "text"}, {"x": [1, 2]}, {"z": 1}],
        [{"x": [13, 0]}, {"x": [1, 2]}],
    ],
    ids=["value", "model", "column", "some rows", "model and some rows"],
)
async def test_a_refused_request_is_freed_at_once(client: Any, circles: list[Any], inputs: Any) -> None:
    await client.post("/api/v1/models/double/predict", json={"inputs": inputs})

    gc.collect()

    assert [found for found in circles if isinstance(found, EngineError)] == []


async def test_where_a_model_failed_is_in_the_log(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    await client.post("/api/v1/models/double/predict", json={"inputs": {"x": [13, 0]}})

    [line] = [record for record in caplog.records if record.message == "a model failed"]
    assert line.exc_info is not None
    shown = "".join(traceback.format_exception(line.exc_info[1]))
    assert "ValueError: unlucky" in shown
    assert "in doubled" in shown


async def test_an_answer_after_the_end_of_its_connection_is_no_fault(
    run_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_server() as server:
        await server.exchange(b"GET /api/v1/models HTTP/1.1\r\nhost: t\r\n\r\nnonsense\r\n\r\n")
        await asyncio.sleep(0)

    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
