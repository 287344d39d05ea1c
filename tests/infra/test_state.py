"""A state database that cannot be used: which words say so, and what goes on without it?"""

import asyncio
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.servers.ports import free_port
from tests.servers.postgresql import new_database, postgresql

from headrace.domain.errors import BreakerOpen, DependencyFailure
from headrace.domain.ports import KeptAnswer
from headrace.domain.spec import RouteSpec
from headrace.infra.databases import engines
from headrace.infra.databases import state as module
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers, StateRoutes
from headrace.infra.databases.url import StateUrl

NOBODY = 65534
ROUTE = RouteSpec("digits", default="1")

WRITER = """
import asyncio, sys
from pathlib import Path
from headrace.domain.ports import KeptAnswer
from headrace.domain.spec import RouteSpec
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers, StateRoutes
from headrace.infra.databases.url import StateUrl

async def write():
    state = State(StateUrl("sqlite:///state.db"), Path(sys.argv[1]))
    routes, answers = StateRoutes(state), StateAnswers(state)
    start = int(sys.argv[2])
    for number in range(start, start + 100_000):
        await answers.claim(f"key {number}", "print", "me", 60.0)
        await answers.keep(f"key {number}", "me", KeptAnswer(200, [], b"x" * 5000), 3600.0)
        await routes.set(RouteSpec("digits", default=str(number)), "me")
        print(number, flush=True)

asyncio.run(write())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def state(file: Path) -> AsyncIterator[State]:
    found = State(StateUrl(f"sqlite:///{file.name}"), file.parent)
    yield found
    await found.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(engines, "LOCKED_S", 0.05)


async def test_nothing_is_made_before_something_is_to_be_remembered(state: State, file: Path) -> None:
    await state.start()

    assert await StateRoutes(state).all() == {}
    assert not await StateRoutes(state).reset("digits", "me")
    assert not file.exists()


async def test_a_file_and_its_folder_are_made_by_the_first_change(tmp_path: Path) -> None:
    state = State(StateUrl("sqlite:///deep/in/there.db"), tmp_path)

    await StateRoutes(state).set(ROUTE, "me")
    await state.close()

    with sqlite3.connect(tmp_path / "deep" / "in" / "there.db") as found:
        assert found.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert found.execute("SELECT name FROM headrace_routes").fetchall() == [("digits",)]
    found.close()


async def test_a_database_that_is_locked_is_said_to_be_and_works_again_afterwards(state: State, file: Path) -> None:
    routes = StateRoutes(state)
    await routes.set(ROUTE, "me")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DependencyFailure, match="the state database is locked by another program"):
        await routes.set(RouteSpec("digits", default="2"), "me")
    known = await routes.all()  # reading does not wait for a writer
    other.execute("ROLLBACK")
    other.close()
    await routes.set(RouteSpec("digits", default="3"), "me")

    assert known["digits"].spec.default == "1"
    assert (await routes.all())["digits"].spec.default == "3"


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder, and the rights of somebody who is not its owner for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())


async def test_a_database_that_is_read_only_is_read(tmp_path: Path) -> None:
    with unprivileged() as folder:
        state = State(StateUrl("sqlite:///state.db"), folder)
        await StateRoutes(state).set(ROUTE, "me")
        await state.close()
        (folder / "state.db").chmod(0o444)
        folder.chmod(0o555)
        if os.getuid() == 0:
            os.seteuid(NOBODY)
        state = State(StateUrl("sqlite:///state.db"), folder)

        with pytest.raises(DependencyFailure, match=r"the state database (is read-only|cannot be opened)"):
            await StateRoutes(state).set(RouteSpec("digits", default="2"), "me")
        await state.close()


@pytest.mark.parametrize("when", ["before it is made", "later"])
async def test_a_database_on_a_full_disk_is_said_to_be_full(state: State, file: Path, when: str) -> None:
    answers = StateAnswers(state)
    if when == "later":
        await answers.claim("key", "print", "me", 60.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if when == "later" else 100, hard))
    try:
        with pytest.raises(
            DependencyFailure, match=r"the state database (is full|cannot be written: its disk is full)"
        ):
            await answers.claim("other", "print", "me", 60.0)
            await answers.keep("key", "me", KeptAnswer(200, [], b"x" * 1_000_000), 60.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    await answers.claim("key after", "print", "me", 60.0)  # there is room again
    with sqlite3.connect(file) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found.close()


async def test_a_file_that_is_no_database_is_left_as_it_is(state: State, file: Path) -> None:
    file.write_bytes(b"my thesis, the only copy" * 100)

    with pytest.raises(DependencyFailure, match="the state database is no SQLite database, or a damaged one"):
        await StateRoutes(state).all()

    assert file.read_bytes() == b"my thesis, the only copy" * 100


async def test_a_start_goes_on_without_what_cannot_be_read(
    state: State, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(b"my thesis, the only copy" * 100)

    await state.start()

    assert "no SQLite database" in caplog.text
    assert "going on without what was remembered" in caplog.text


async def test_a_database_that_failed_is_left_alone_for_a_while(
    state: State, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 60.0)
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(DependencyFailure) as first:
        await StateRoutes(state).all()
    file.unlink()

    with pytest.raises(BreakerOpen) as second:
        await StateRoutes(state).set(ROUTE, "me")

    assert second.value.message == first.value.message
    assert 0 < second.value.retry_after_s <= 60


async def test_a_server_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    for scheme in ("postgresql", "mysql"):
        state = State(StateUrl(f"{scheme}://ann:s3cret@127.0.0.1:{free_port()}/shop"), tmp_path)
        with pytest.raises(DependencyFailure) as found:
            await StateRoutes(state).all()
        await state.close()

        assert "state database" in found.value.message
        assert "s3cret" not in found.value.message


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_a_server_that_says_nothing_is_not_waited_for(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CONNECT_S", 1)
    monkeypatch.setattr(module, "LIMIT_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        state = State(StateUrl(f"{scheme}://ann@127.0.0.1:{silent.getsockname()[1]}/shop"), tmp_path)

        async with asyncio.timeout(20):
            with pytest.raises(DependencyFailure, match=r"the state database (does not answer|cannot be)"):
                await StateRoutes(state).all()
        await state.close()


async def test_a_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with postgresql() as server:
        state = State(StateUrl(new_database(server, "shop")), tmp_path)
        routes = StateRoutes(state)
        await routes.set(ROUTE, "me")
        await end_connections(server)

        assert list(await routes.all()) == ["digits"]
    with pytest.raises(DependencyFailure):
        await routes.all()
    await state.close()


async def end_connections(server: str) -> None:
    """What a restart of the server does to connections."""
    import asyncpg

    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'")
    await connection.close()


@pytest.mark.slow
async def test_a_server_that_is_leaving_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    import asyncpg

    with postgresql() as server:
        url = StateUrl(new_database(server, "shop"))
        guest = await asyncpg.connect(f"{server}/postgres")
        folder = await guest.fetchval("SHOW data_directory")
        postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGTERM)  # it ends when its guest leaves, and takes nobody else
        state = State(url, tmp_path)

        with pytest.raises(DependencyFailure, match=r"the state database cannot be reached: .*shutting down"):
            await StateRoutes(state).all()
        await state.close()
        await guest.close()


async def test_a_caller_who_leaves_does_not_break_the_connection_for_others(state: State) -> None:
    routes = StateRoutes(state)
    await routes.set(ROUTE, "me")

    for _ in range(20):
        task = asyncio.create_task(routes.set(RouteSpec("digits", default="2"), "me"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    await routes.set(RouteSpec("digits", default="3"), "me")
    assert (await routes.all())["digits"].spec.default == "3"


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_killed_process(file: Path) -> None:
    last = 0
    for lines in (1, 5, 17, 40, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file.parent), str(last + 1)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(lines):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        last = int((process.stdout.read().split() or [last])[-1])
        process.stdout.close()
        process.wait()

        state = State(StateUrl(f"sqlite:///{file.name}"), file.parent)
        kept = (await StateRoutes(state).all())["digits"].spec.default
        answer = await StateAnswers(state).claim(f"key {last}", "print", "you", 60.0)
        async with state.reading() as connection:
            sound = (await connection.exec_driver_sql("PRAGMA integrity_check")).scalar()
        await state.close()

        assert sound == "ok"
        assert kept is not None and int(kept) >= last
        assert type(answer).__name__ == "Answered"
