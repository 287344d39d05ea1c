"""How is a database of each kind connected to?

SQLite writes ahead (WAL), so that readers and a writer do not wait for each other, and a killed process loses nothing
that was committed. Whether a power cut may lose the last commits is chosen for each: with synchronous=FULL it may not,
which costs a flush of the disk; with NORMAL it may, and the database is whole in either case. A write takes the lock
when it begins, so that it never fails halfway because another was faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from headrace.infra.databases.transactions import LASTING
from headrace.infra.databases.url import StateUrl

CONNECT_S: Final = 5
LOCKED_S: Final = 3
"""How long a write waits while another program holds a SQLite database."""
_POOL: Final[Mapping[str, Any]] = {"pool_size": 4, "max_overflow": 0, "pool_pre_ping": True, "pool_recycle": 1800}


def create_engine(url: StateUrl, root: Path) -> AsyncEngine:
    """An engine for *url*; it connects when it is used."""
    address = url.for_sqlalchemy(root)
    if url.kind == "sqlite":
        return _sqlite(address)
    arguments: dict[str, Any] = {"timeout": CONNECT_S}
    if url.kind == "mysql":
        arguments = {"connect_timeout": CONNECT_S, "charset": "utf8mb4"}
    return create_async_engine(address, isolation_level="READ COMMITTED", connect_args=arguments, **_POOL)


def _sqlite(address: str) -> AsyncEngine:
    # One connection: SQLite has one writer anyway, and each connection has a thread of its own.
    engine = create_async_engine(address, connect_args={"timeout": LOCKED_S}, pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin when `_begin` says so, not when the driver thinks so
    cursor = connection.cursor()
    # Of a database that is read-only, locked or none at all: its first use says so. What is raised here would leave
    # a connection behind that nobody closes.
    with suppress(DatabaseError):
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = {**LASTING, **connection.get_execution_options()}
    if not options["headrace_writes"]:
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous={options['headrace_synchronous']}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
