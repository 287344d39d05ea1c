"""An engine that closes at the end of its test."""

from collections.abc import AsyncIterator

import pytest

from headrace.services.engine import Engine
from headrace.services.executor import Executor


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(Executor(4), places=2)
    yield engine
    await engine.close(5)


@pytest.fixture
async def narrow() -> AsyncIterator[Engine]:
    """An engine that runs one batch at a time."""
    engine = Engine(Executor(4), places=1)
    yield engine
    await engine.close(5)
