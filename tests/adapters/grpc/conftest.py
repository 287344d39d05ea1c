"""The door on a real port, and a client of our own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.adapters.grpc.calls import WAIT_S, Client, Running, running
from tests.adapters.http.conftest import Blocker


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


@pytest.fixture
def client(server: Running) -> Client:
    return server.client


@pytest.fixture
def blocker() -> Any:
    found = Blocker()
    yield found
    found.let_go.set()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Any]:
    """Waits until something holds, and fails after seconds: for what happens on other threads."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await asyncio.sleep(0.002)

    return wait
