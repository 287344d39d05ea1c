"""One loaded workspace for all tests of a file: nothing that they do changes what it holds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.contracts.open_inference.echoes import Served
from tests.contracts.open_inference.echoes import served as opened
from tests.contracts.open_inference.lines import Line
from tests.contracts.open_inference.lines import opened as connected


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("echoes")
    async with opened(folder) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(served: Served) -> AsyncIterator[Line]:
    async with connected(served) as found:
        yield found
