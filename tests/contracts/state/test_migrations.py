"""A database of any revision becomes one of today's, without losing anything, whoever opens it first."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from tests.contracts.state.conftest import NewUrl

from headrace.domain.errors import DependencyFailure
from headrace.domain.ports import StoredKey
from headrace.infra.databases.engines import create_engine
from headrace.infra.databases.migrations import REVISIONS, VERSION_TABLE
from headrace.infra.databases.revisions import bring_forward, current, upgrade
from headrace.infra.databases.schema import metadata
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateKeys, StateRoutes
from headrace.infra.databases.url import StateUrl

OPEN = """
import asyncio, sys
from pathlib import Path
from headrace.infra.databases.state import State
from headrace.infra.databases.url import StateUrl

async def open_state():
    state = State(StateUrl(sys.argv[1]), Path())
    sys.stdin.readline()
    async with state.reading():
        pass
    await state.close()

asyncio.run(open_state())
"""
ROUTE = (
    "INSERT INTO headrace_routes (name, spec, changed_at, changed_by) "
    """VALUES ('old', '{"name":"old","default":"7"}', 1.5, 'ann')"""
)
KEY = StoredKey("shop", "hr_0", "d" * 64, ("infer",), 1.5, "ann")


async def at_revision(url: str, revision: str, *statements: str) -> None:
    """Make a database of *revision*, and what *statements* put in."""
    await execute(url, lambda connection: upgrade(connection, revision), *statements)


async def execute(url: str, *work: object) -> list[object]:
    place = StateUrl(url)
    if (file := place.file(Path())) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(place, Path())
    try:
        async with engine.begin() as connection:
            return [
                await connection.execute(text(one)) if isinstance(one, str) else await connection.run_sync(one)
                for one in work
            ]
    finally:
        await engine.dispose()


def test_the_revisions_are_those_that_there_are_files_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import headrace.infra.databases.migrations as package

    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent))

    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(found)) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_database_of_any_revision_becomes_one_of_today_and_keeps_what_it_held(
    url: str, revision: str, tmp_path: Path
) -> None:
    await at_revision(url, revision, ROUTE)
    state = State(StateUrl(url), tmp_path)

    routes = await StateRoutes(state).all()
    await StateRoutes(state).reset("old", "bob")
    added = await StateKeys(state).add(KEY)
    keys = await StateKeys(state).all()
    await state.close()

    assert (added, keys) == (True, [KEY])
    assert (routes["old"].spec.default, routes["old"].changed_at, routes["old"].changed_by) == ("7", 1.5, "ann")
    assert await execute(url, current) == [REVISIONS[-1]]


async def test_migrations_make_the_tables_that_the_code_reads(url: str) -> None:
    await at_revision(url, REVISIONS[-1])

    def columns(connection: object) -> dict[str, list[str]]:
        look = inspect(connection)
        names = [name for name in look.get_table_names() if name != VERSION_TABLE]
        return {name: [column["name"] for column in look.get_columns(name)] for name in names}

    [found] = await execute(url, columns)

    assert found == {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}


async def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPEN, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [await asyncio.to_thread(process.communicate) for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, ends
    assert await execute(url, current) == [REVISIONS[-1]]


async def test_a_migration_that_was_interrupted_is_run_again(url: str, tmp_path: Path) -> None:
    # As MySQL leaves it, which cannot take back a table: made, and not written down.
    await at_revision(url, REVISIONS[-1], ROUTE)
    await execute(url, f"DELETE FROM {VERSION_TABLE}")
    state = State(StateUrl(url), tmp_path)

    routes = await StateRoutes(state).all()
    await state.close()

    assert list(routes) == ["old"]
    assert await execute(url, current) == [REVISIONS[-1]]


async def test_a_database_of_a_newer_revision_is_left_alone(url: str, tmp_path: Path) -> None:
    await at_revision(url, REVISIONS[-1], f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    state = State(StateUrl(url), tmp_path)

    with pytest.raises(DependencyFailure, match=r"revision '9999', which a newer Headrace wrote; this one knows up to"):
        await StateRoutes(state).all()
    await state.close()

    assert await execute(url, current) == ["9999"]


async def test_several_loops_of_one_process_may_open_the_same_database(new_url: NewUrl, tmp_path: Path) -> None:
    url = new_url()
    StateUrl(url).file(tmp_path) and StateUrl(url).file(tmp_path).parent.mkdir(parents=True)
    engines = [create_engine(StateUrl(url), tmp_path) for _ in range(3)]

    await asyncio.gather(*(bring_forward(engine, StateUrl(url).kind) for engine in engines))
    for engine in engines:
        await engine.dispose()

    assert await execute(url, current) == [REVISIONS[-1]]
