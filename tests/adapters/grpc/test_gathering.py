"""Do requests go on together where that pays, and does nobody wait for company that never comes?"""

import asyncio
import time

from headrace.adapters.grpc.gathering import LARGEST, LATE, SOON, Gathering


async def joined(gathering: Gathering) -> bool:
    """Go through; whether that meant waiting."""
    turn = gathering.join()
    if turn is not None:
        await turn
    return turn is not None


async def crowd(gathering: Gathering, callers: int) -> None:
    await asyncio.gather(*(joined(gathering) for _ in range(callers)))


async def test_somebody_alone_hardly_ever_waits() -> None:
    gathering = Gathering()

    waited = [await joined(gathering) for _ in range(4 * LATE)]

    assert sum(waited) <= 10
    assert gathering.wanted == 1


async def test_a_crowd_goes_on_in_halves() -> None:
    gathering = Gathering()

    for _ in range(2 * SOON):
        await crowd(gathering, 20)

    assert gathering.wanted == 10


async def test_groups_have_a_largest_size() -> None:
    gathering = Gathering()

    for _ in range(2 * SOON):
        await crowd(gathering, 1000)

    assert gathering.wanted == LARGEST


async def test_when_the_crowd_has_gone_the_one_who_is_left_does_not_wait_for_it() -> None:
    gathering = Gathering()
    for _ in range(2 * SOON):
        await crowd(gathering, 20)

    for _ in range(40):
        await joined(gathering)

    assert gathering.wanted == 1


async def test_whoever_leaves_while_waiting_keeps_nobody() -> None:
    gathering = Gathering()
    for _ in range(2 * SOON):
        await crowd(gathering, 8)
    leaving, staying = (asyncio.create_task(joined(gathering)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.wait_for(staying, 5)

    assert leaving.cancelled() or leaving.cancelling()


async def test_a_group_that_is_full_goes_on_at_once() -> None:
    gathering = Gathering()
    for _ in range(2 * SOON):
        await crowd(gathering, 8)
    while gathering._until_count <= 1:
        await crowd(gathering, 8)

    started = time.monotonic()
    await crowd(gathering, gathering.wanted)

    assert time.monotonic() - started < 0.1
