"""Callers' keys for the doors that ask for them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateKeys
from headrace.infra.databases.url import StateUrl
from headrace.services.access import Access


@pytest.fixture
async def access(tmp_path: Path) -> AsyncIterator[Access]:
    """Keys in a state file of their own; none is made yet."""
    state = State(StateUrl("sqlite:///state.db"), tmp_path)
    yield Access(StateKeys(state))
    await state.close()
