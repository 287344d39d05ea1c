"""Which revision is a database of, and how does it come to today's? Forwards only, by one process at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headrace.domain.errors import DependencyFailure
from headrace.infra.databases.migrations import REVISIONS, VERSION_TABLE
from headrace.infra.databases.transactions import READING
from headrace.infra.databases.url import Kind

_LOCK_KEY: Final = 0x68656164  # "head", among the advisory locks of a PostgreSQL database
_LOCK_S: Final = 60
_MIGRATING: Final = threading.Lock()


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is of the newest revision. Raises DependencyFailure for one that is newer still."""
    async with engine.connect() as connection:
        await connection.execution_options(**READING)
        return await _revision(connection) == REVISIONS[-1]


async def bring_forward(engine: AsyncEngine, kind: Kind) -> None:
    """Bring the database to the newest revision. Raises DependencyFailure for one that is newer still."""
    async with _alone():
        if kind == "mysql":
            await _upgrade_mysql(engine)
            return
        async with engine.begin() as connection:  # of SQLite this is the lock
            if kind == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            await _upgrade(connection)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Alembic knows one database at a time in a process, whichever threads and loops there are."""
    while not _MIGRATING.acquire(blocking=False):  # noqa: ASYNC110  no event reaches from one loop to another
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _MIGRATING.release()


async def _upgrade_mysql(engine: AsyncEngine) -> None:
    """MySQL ends the transaction with every table that is made, so the lock belongs to the connection."""
    async with engine.connect() as connection:
        name = f"headrace:{engine.url.database}"[:64]
        taken = await connection.scalar(text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": _LOCK_S})
        await connection.commit()
        if not taken:
            raise DependencyFailure("the state database is being migrated by another server, which does not end")
        try:
            await _upgrade(connection)
            await connection.commit()
        finally:
            await connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


async def _upgrade(connection: AsyncConnection) -> None:
    if await _revision(connection) != REVISIONS[-1]:  # another may have been faster
        await connection.run_sync(upgrade)


async def _revision(connection: AsyncConnection) -> str | None:
    """What the database says it is; None for an empty one. Raises DependencyFailure for what is not known here."""
    revision = await connection.run_sync(current)
    if revision is not None and revision not in REVISIONS:
        raise DependencyFailure(
            f"the state database is of revision {revision!r:.40}, which a newer Headrace wrote; this one knows up to "
            f"{REVISIONS[-1]}: update it, or name another database under state.url"
        )
    return revision


def current(connection: Connection) -> str | None:
    """The revision that stands in the database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def upgrade(connection: Connection, target: str = REVISIONS[-1]) -> None:
    """Run the migrations up to *target* within the transaction of *connection*; blocks."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    command.upgrade(config, target)
