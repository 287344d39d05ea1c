"""A state database of each kind: a file, and real servers that are started once."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers import mariadb, postgresql

from headrace.infra.databases.state import State
from headrace.infra.databases.url import StateUrl

KINDS = ("sqlite", "postgresql", "mariadb")
_numbers = itertools.count(1)

NewUrl = Callable[[], str]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    with postgresql.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    with mariadb.mariadb() as url:
        yield url


@pytest.fixture(params=KINDS)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Makes an empty database and gives its URL."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/data/{next(_numbers)}.db"
    module = postgresql if request.param == "postgresql" else mariadb
    server = request.getfixturevalue(f"{request.param}_server")
    return lambda: module.new_database(server, f"test_{next(_numbers)}")


@pytest.fixture
def url(new_url: NewUrl) -> str:
    return new_url()


@pytest.fixture
async def state(url: str, tmp_path: Path) -> Iterator[State]:
    found = State(StateUrl(url), tmp_path)
    yield found
    await found.close()
