"""Places and the two lines before them."""

import asyncio

import pytest
from tests.services.pipelines import turns

from headrace.services.gate import Gate


def test_a_free_place_is_given_at_once() -> None:
    gate, granted = Gate(1), []

    gate.ask("real_time", lambda: granted.append(1))

    assert (granted, gate.taken) == ([1], 1)


def test_real_time_goes_before_bulk_and_each_line_keeps_its_order() -> None:
    gate, order = Gate(1), []
    gate.ask("bulk", lambda: None)
    for name, lane in (("b1", "bulk"), ("r1", "real_time"), ("b2", "bulk"), ("r2", "real_time")):
        gate.ask(lane, lambda name=name: order.append(name))  # type: ignore[arg-type, misc]

    for _ in range(5):
        gate.leave()

    assert order == ["r1", "r2", "b1", "b2"]
    assert gate.taken == 0


async def test_who_leaves_the_line_takes_nobodys_place() -> None:
    gate = Gate(1)
    await gate.enter("bulk")
    leaving = asyncio.ensure_future(gate.enter("bulk"))
    staying = asyncio.ensure_future(gate.enter("bulk"))
    await turns()

    leaving.cancel()
    await turns()
    waiting = gate.waiting("bulk")
    gate.leave()
    await staying

    assert waiting == 1
    assert gate.taken == 1


async def test_who_leaves_just_as_the_place_comes_passes_it_on() -> None:
    gate = Gate(1)
    await gate.enter("bulk")
    leaving = asyncio.ensure_future(gate.enter("bulk"))
    await turns()

    gate.leave()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert gate.taken == 0


async def test_thousands_who_left_the_line_do_not_exhaust_the_stack() -> None:
    gate = Gate(1)
    await gate.enter("bulk")
    waiting = [asyncio.ensure_future(gate.enter("bulk")) for _ in range(5000)]
    await turns()

    for task in waiting:
        task.cancel()
    await turns()
    gate.leave()

    assert gate.taken == 0
