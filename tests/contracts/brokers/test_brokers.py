"""What every broker promises: order, at least once, and back-pressure. One suite for all of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.domain.errors import Overloaded
from headrace.domain.ports import Message
from headrace.infra.brokers.memory import MemoryBroker


@pytest.fixture(params=["memory"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(capacity=100)
    yield broker
    await broker.close()


def messages(*values: str) -> list[Message]:
    return [Message(value.encode()) for value in values]


async def test_a_group_reads_messages_in_the_order_written(broker: MemoryBroker) -> None:
    await broker.write("t", messages("a", "b", "c"))

    events = await broker.read("t", "g", 10, 0)

    assert [event.message.value for event in events] == [b"a", b"b", b"c"]
    assert [event.position for event in events] == [0, 1, 2]


async def test_a_window_ends_when_it_is_full(broker: MemoryBroker) -> None:
    await broker.write("t", messages("a", "b", "c"))

    first = await broker.read("t", "g", 2, 60)
    second = await broker.read("t", "g", 2, 0)

    assert [len(first), len(second)] == [2, 1]


async def test_a_reader_waits_for_the_first_message(broker: MemoryBroker) -> None:
    reading = asyncio.create_task(broker.read("t", "g", 1, 0))

    await broker.write("t", messages("late"))

    assert [event.message.value for event in await reading] == [b"late"]


async def test_groups_read_the_same_topic_each_for_itself(broker: MemoryBroker) -> None:
    await broker.write("t", messages("a"))

    assert len(await broker.read("t", "one", 1, 0)) == len(await broker.read("t", "other", 1, 0)) == 1


async def test_what_was_not_committed_is_read_again(broker: MemoryBroker) -> None:
    await broker.write("t", messages("a", "b", "c"))
    first = await broker.read("t", "g", 3, 0)
    await broker.commit("t", "g", first[0].position)

    broker.rewind("t", "g")

    assert [event.message.value for event in await broker.read("t", "g", 3, 0)] == [b"b", b"c"]
    assert broker.lag("t", "g") == 2


async def test_a_topic_full_of_uncommitted_messages_refuses_all_of_the_next_ones(broker: MemoryBroker) -> None:
    await broker.write("t", messages(*"x" * 100))
    await broker.read("t", "g", 100, 0)

    with pytest.raises(Overloaded):
        await broker.write("t", messages("one", "two"))

    await broker.commit("t", "g", 99)
    await broker.write("t", messages("one", "two"))
    assert len(await broker.read("t", "g", 10, 0)) == 2


async def test_a_follower_sees_what_is_written_from_now_on(broker: MemoryBroker) -> None:
    await broker.write("t", messages("before"))
    following = broker.follow("t")

    await broker.write("t", messages("after"))

    assert (await anext(following)).message.value == b"after"
    await following.aclose()


async def test_closing_ends_readers_and_followers(broker: MemoryBroker) -> None:
    reading = asyncio.create_task(broker.read("t", "g", 1, 60))
    following = asyncio.create_task(anext(broker.follow("t"), None))

    await broker.close()

    assert list(await reading) == []
    assert await following is None
