"""Every implementation of the cache port, over one Redis server for all tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.redis import RedisServer

from headrace.domain.ports import Cache
from headrace.infra.cache import open_cache
from headrace.infra.cache.url import CacheUrl

OpenCache = Callable[[], Cache]


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")).up() as server:
        yield server


@pytest.fixture(params=["memory", "redis", "two levels"])
def open_one(request: pytest.FixtureRequest) -> OpenCache:
    """Opens the implementation in question."""
    if request.param == "memory":
        return lambda: open_cache(CacheUrl("memory:"), 64, 5.0)
    server: RedisServer = request.getfixturevalue("shared_redis")
    return lambda: open_cache(CacheUrl(server.url), 0 if request.param == "redis" else 64, 5.0)


@pytest.fixture
async def cache(open_one: OpenCache) -> AsyncIterator[Cache]:
    cache = open_one()
    yield cache
    await cache.close()


@pytest.fixture
def redis(tmp_path: Path) -> RedisServer:
    """A server of the test's own, which is not up yet."""
    return RedisServer(tmp_path)
