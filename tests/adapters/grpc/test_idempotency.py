"""`idempotency-key` in the metadata: an inference that comes twice is computed once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.adapters.grpc.calls import Running, request, running, tensor
from tests.adapters.http.conftest import ADD, RECIPES
from tests.adapters.http.test_idempotency import Counter

from headrace.adapters.grpc import idempotency as door
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers
from headrace.infra.databases.url import StateUrl
from headrace.services.idempotency import Idempotency

KEY = (("idempotency-key", "order-7"),)
ONE = request("count", tensor("x", np.ones(1, np.float32)))
TWO = request("count", tensor("x", np.full(1, 2, np.float32)))
BAD = request("count", tensor("x", np.full(1, -1, np.float32)))


@pytest.fixture
def counter() -> Counter:
    return Counter(ADD)


@pytest.fixture
async def idempotency(tmp_path: Path) -> AsyncIterator[Idempotency]:
    state = State(StateUrl("sqlite:///data/state.db"), tmp_path)
    yield Idempotency(StateAnswers(state), 3600.0)
    await state.close()


@pytest.fixture
async def server(counter: Counter, blocker: Any, idempotency: Idempotency) -> AsyncIterator[Running]:
    async with running((*RECIPES, counter.recipe, blocker.recipe), idempotency=idempotency) as found:
        yield found


def number(answer: Any) -> int:
    """What the counter said."""
    return int(np.frombuffer(answer.raw_output_contents[0], np.int64)[0])


async def trailers(server: Running, message: Any, metadata: Any) -> dict[str, str]:
    """What is said beside the answer."""
    call = server.client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
        message.SerializeToString(), metadata=metadata, timeout=10
    )
    await call
    return {key: str(value) for key, value in await call.trailing_metadata()}


async def test_a_request_that_comes_again_gets_the_first_answer(server: Running, counter: Counter) -> None:
    first, second = [await server.client.infer(ONE, metadata=KEY) for _ in range(2)]
    told = await trailers(server, ONE, KEY)

    assert second == first
    assert counter.calls == 1
    assert told["idempotent-replayed"] == "true"


async def test_without_a_key_every_request_is_computed(server: Running, counter: Counter, tmp_path: Path) -> None:
    answers = [number(await server.client.infer(ONE)) for _ in range(3)]

    assert answers == [1, 2, 3]
    assert not (tmp_path / "data").exists()


async def test_a_key_with_another_message_is_a_conflict(server: Running, counter: Counter) -> None:
    await server.client.infer(ONE, metadata=KEY)

    refused = await server.client.infer(TWO, metadata=KEY)

    assert (refused.status, refused.code) == (grpc.StatusCode.FAILED_PRECONDITION, "conflict")
    assert counter.calls == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(server: Running, key: str) -> None:
    refused = await server.client.infer(ONE, metadata=(("idempotency-key", key),))

    assert refused.code == "invalid_request"
    assert "1 to 255 printable ASCII characters" in refused.told


async def test_keys_of_other_callers_are_other_keys(server: Running) -> None:
    answers = [
        number(await server.client.infer(ONE, metadata=(*KEY, ("x-api-key", who)))) for who in ("ann", "bob", "ann")
    ]

    assert answers == [1, 2, 1]


async def test_a_failure_is_not_kept(server: Running, counter: Counter) -> None:
    failed = await server.client.infer(BAD, metadata=KEY)
    counter.fails = False
    answered = await server.client.infer(BAD, metadata=KEY)

    assert (failed.status, failed.code) == (grpc.StatusCode.INTERNAL, "model_failure")
    assert number(answered) == 1


async def test_who_comes_second_waits_for_the_first_answer(server: Running, blocker: Any, eventually: Any) -> None:
    slow = request("slow", tensor("x", np.ones((1, 2), np.float32)))
    first = asyncio.create_task(server.client.infer(slow, metadata=KEY))
    await eventually(blocker.entered.is_set)
    second = asyncio.create_task(server.client.infer(slow, metadata=KEY))
    late = await server.client.infer(slow, metadata=KEY, timeout=0.2)
    blocker.let_go.set()

    assert await first == await second
    assert late.status == grpc.StatusCode.DEADLINE_EXCEEDED
    assert blocker.calls == 1


async def test_a_caller_who_leaves_frees_the_key(server: Running, blocker: Any, eventually: Any) -> None:
    slow = request("slow", tensor("x", np.ones((1, 2), np.float32)))
    left = await server.client.infer(slow, metadata=KEY, timeout=0.2)
    blocker.let_go.set()

    answered = await server.client.infer(slow, metadata=KEY)

    assert left.status == grpc.StatusCode.DEADLINE_EXCEEDED
    assert answered.model_name == "slow"


async def test_an_answer_that_is_too_large_is_given_once(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "LARGEST_KEPT", 10)

    answered = await server.client.infer(ONE, metadata=KEY)
    again = await server.client.infer(ONE, metadata=KEY)

    assert number(answered) == 1
    assert (again.code, "take a new key" in again.told) == ("conflict", True)


async def test_nobody_gets_a_kept_answer_without_being_let_in(counter: Counter, idempotency: Idempotency) -> None:
    async with running((counter.recipe,), idempotency=idempotency, token="secret") as server:
        await server.client.infer(ONE, metadata=(*KEY, ("x-api-key", "secret")))
        refused = await server.client.infer(ONE, metadata=(*KEY, ("x-api-key", "other")))

    assert refused.status == grpc.StatusCode.UNAUTHENTICATED


async def test_a_keyed_call_is_still_answered_when_the_server_stops(
    server: Running, blocker: Any, eventually: Any
) -> None:
    slow = request("slow", tensor("x", np.ones((1, 2), np.float32)))
    under_way = asyncio.create_task(server.client.infer(slow, metadata=KEY))
    await eventually(blocker.entered.is_set)
    server.stop.set()
    blocker.let_go.set()

    assert (await under_way).model_name == "slow"
    assert await server.done == 0
