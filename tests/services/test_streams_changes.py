"""Streams that are stopped, changed, paused and drained: what was taken in is answered, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from headrace.domain.ports import Message
from headrace.domain.spec import StreamSpec, Window
from headrace.domain.tensors import Column, TensorSpec

from .test_streams import Doubling, House

FAST = Window(max_events=4, max_ms=1)
NEVER_FULL = Window(max_events=1000, max_ms=3_600_000)


class Odd(Doubling):
    """Answers 7 with something that has no JSON form."""

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        return {"y": [object() if x == 7 else {"is": float(x)} for x in inputs["x"]]}

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return {"y": TensorSpec("any", (-1,), "y")}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(Doubling())
    yield house
    await house.streams.stop()
    await house.engine.close()


async def settled(house: House, name: str = "s") -> None:
    async with asyncio.timeout(10):
        while house.streams.get(name).lag:
            await asyncio.sleep(0)


async def test_draining_does_not_wait_for_a_window_to_fill(house: House) -> None:
    await house.start(max_events=1000, max_ms=3_600_000)
    await house.streams.get("s").publish([{"x": n} for n in range(10)])

    left = await asyncio.wait_for(house.streams.drain(60), 5)

    assert left == 0
    assert house.streams.get("s").progress.answered == 10


async def test_draining_leaves_what_cannot_be_done_in_time(house: House) -> None:
    house.model.away = True
    await house.start(max_events=4, max_ms=1)
    await house.streams.get("s").publish([{"x": 1}])

    assert await house.streams.drain(0.02) == 1


async def test_draining_does_not_wait_for_a_paused_stream(house: House) -> None:
    await house.start(max_events=4, max_ms=1)
    house.streams.get("s").pause()
    await house.streams.get("s").publish([{"x": 1}])

    assert await asyncio.wait_for(house.streams.drain(60), 5) == 1


async def test_a_paused_stream_answers_nothing_that_comes_meanwhile(house: House) -> None:
    await house.start(max_events=4, max_ms=1)
    stream = house.streams.get("s")
    await asyncio.sleep(0)  # it waits for its first event already
    stream.pause()

    await stream.publish([{"x": 1}])
    for _ in range(20):
        await asyncio.sleep(0)

    assert (stream.state, stream.progress.read, stream.lag) == ("paused", 0, 1)


async def test_a_changed_stream_goes_on_with_what_it_had_not_committed(house: House) -> None:
    await house.start(max_events=1000, max_ms=3_600_000)
    old = house.streams.get("s")
    await old.publish([{"x": 1}, {"x": 2}])

    await house.streams.follow([StreamSpec("s", "double", window=FAST), StreamSpec("t", "double", window=FAST)])
    await settled(house)

    new = house.streams.get("s")
    assert new is not old
    assert (old.progress.answered, new.progress.answered) == (0, 2)
    assert [stream.spec.name for stream in house.streams] == ["s", "t"]


async def test_a_window_under_way_is_begun_again_by_the_changed_stream(house: House) -> None:
    house.model.away = True
    await house.start(max_events=4, max_ms=1)
    await house.streams.get("s").publish([{"x": 1}])
    async with asyncio.timeout(10):
        while house.streams.get("s").state != "failed":
            await asyncio.sleep(0)

    house.model.away = False
    await house.streams.follow([StreamSpec("s", "double", window=NEVER_FULL)])
    await house.streams.drain(5)

    assert house.streams.get("s").progress.answered == 1


async def test_streams_that_did_not_change_are_left_alone(house: House) -> None:
    await house.start(max_events=4, max_ms=1)
    before = house.streams.get("s")

    await house.streams.follow([before.spec])

    assert house.streams.get("s") is before


async def test_an_answer_without_a_json_form_is_a_dead_letter_and_the_stream_goes_on() -> None:
    house = House(Odd())
    await house.start(max_events=3, max_ms=1)

    await house.streams.get("s").publish([{"x": 1}, {"x": 7}, {"x": 2}])
    await settled(house)

    [dead] = await house.read("s.dead", 1)
    assert dead["error"]["code"] == "model_failure"
    assert [result["outputs"]["y"] for result in await house.read("s.results", 2)] == [{"is": 1.0}, {"is": 2.0}]
    await house.streams.stop()
    await house.engine.close()


@pytest.mark.parametrize("poison", [b"\xff", b'{"x": "\xff"}', b"[" * 100_000, b'{"x": 1e999}', b'"\\ud800"', b""])
async def test_no_bytes_stop_a_stream(house: House, poison: bytes) -> None:
    await house.start(max_events=8, max_ms=1)

    await house.broker.write("s", [Message(poison), Message(b'{"x": 1}')])
    await settled(house)

    progress = house.streams.get("s").progress
    assert (progress.dead, progress.answered) == (1, 1)


async def test_events_are_counted_as_requests_of_their_own_mode(house: House) -> None:
    await house.start(max_events=8, max_ms=1)

    await house.streams.get("s").publish([{"x": 1}, {"x": 13}, {"x": 2}])
    await settled(house)

    counted: dict[Any, int] = {(one.mode, one.code): sum(seen.counts) for one, seen in house.engine.measures.labelled()}
    assert counted == {("stream", "ok"): 2, ("stream", "model_failure"): 1}


async def test_followers_end_when_the_broker_closes(house: House) -> None:
    await house.start(max_events=8, max_ms=1)
    following = house.streams.get("s").results()
    coming = asyncio.create_task(anext(following, None))
    await asyncio.sleep(0)

    await house.streams.stop()

    assert await asyncio.wait_for(coming, 5) is None
