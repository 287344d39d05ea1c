"""How does Headrace reach what it remembers? One database, opened when it is first needed, and whole or not at all.

SQLAlchemy takes some 40 MB and a quarter of a second, so nothing here imports it before somebody asks for a
connection. A SQLite file is made by the first change; one that is there, and a server's database, is opened at start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.core.logging import logger
from headrace.domain.errors import BreakerOpen, EngineError
from headrace.infra.databases.transactions import LASTING, READING, WRITING, Kind
from headrace.infra.databases.url import StateUrl

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logger(__name__)

LIMIT_S: Final = 10.0
"""The longest that one use of the database takes, waiting for it included."""
MIGRATING_S: Final = 120.0
"""The longest that it takes to bring it to the newest revision."""
PAUSE_S: Final = 1.0
"""How long a database that failed is not asked again."""


class State:
    """The state database. Its uses raise DependencyFailure when it cannot be used, which is logged once for each spell.

    After a failure it is left alone for `PAUSE_S`, so that a database that hangs does not make every caller hang.
    """

    def __init__(self, url: StateUrl, root: Path) -> None:
        """A SQLite file without a full path lies in *root*."""
        self._url, self._root = url, root
        self._file = url.file(root)
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._failure = ""
        self._paused_until = 0.0

    @property
    def present(self) -> bool:
        """Whether something may be remembered: False while there is no file yet."""
        return self._file is None or self._file.exists()

    async def start(self) -> None:
        """Open what is there. What is wrong with it is logged, and everything that needs no memory goes on."""
        if self.present:
            try:
                async with self.reading():
                    pass
            except EngineError:
                log.warning("going on without what was remembered", url=self._url.shown)

    async def close(self) -> None:
        """Let go of connections."""
        if (engine := self._engine) is not None:
            self._engine = None
            await engine.dispose()

    async def health(self) -> Mapping[str, Any]:
        """How it is doing, for people who look after it: never its URL, which may hold a password.

        *status* is ``ready``, ``empty`` while there is no file yet, or ``unavailable``; *message* says why.
        """
        found: dict[str, Any] = {"name": "state", "dialect": self._url.kind, "revision": None, "message": None}
        if not self.present:
            return {**found, "status": "empty"}
        try:
            async with self.reading() as connection:
                from headrace.infra.databases.revisions import current

                return {**found, "status": "ready", "revision": await connection.run_sync(current)}
        except EngineError as error:
            return {**found, "status": "unavailable", "message": error.message}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that changes nothing."""
        async with self._connected(READING) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that is done when the block has ended, or was never begun.

        It survives the end of this process; after a power cut, SQLite may have lost the last ones. An IntegrityError
        (the row is there already) is raised as it is.
        """
        async with self._connected(WRITING) as connection:
            yield connection

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[AsyncConnection]:
        """The same in a transaction that is on the disk when the block has ended: it survives a power cut too."""
        async with self._connected(LASTING) as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self, kind: Kind) -> AsyncIterator[AsyncConnection]:
        self._require_patience()
        try:
            engine = self._engine or await self._opened()
            async with asyncio.timeout(LIMIT_S), engine.connect() as connection:
                await connection.execution_options(**kind)
                async with connection.begin():
                    yield connection
        except Exception as error:
            raise self._failed(error) from error
        if self._failure:
            self._failure = ""
            log.info("the state database answers again", url=self._url.shown)

    def _require_patience(self) -> None:
        if (left := self._paused_until - time.monotonic()) > 0:
            raise BreakerOpen(self._failure, retry_after_s=left)

    def _failed(self, error: Exception) -> Exception:
        from headrace.infra.databases.failures import meaning

        meant = meaning(error)
        if isinstance(meant, EngineError) and not isinstance(meant, BreakerOpen):
            self._paused_until = time.monotonic() + PAUSE_S
            if meant.message != self._failure:
                self._failure = meant.message
                log.error(meant.message, url=self._url.shown)
        return meant

    async def _opened(self) -> AsyncEngine:
        async with self._opening:
            if self._engine is None:
                self._require_patience()  # somebody may have failed meanwhile
                self._engine = await self._open()
            return self._engine

    async def _open(self) -> AsyncEngine:
        create_engine, revisions = await asyncio.to_thread(_load)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self._url, self._root)
        try:
            async with asyncio.timeout(LIMIT_S):
                current = await revisions.is_current(engine)
            if not current:
                async with asyncio.timeout(MIGRATING_S):
                    await revisions.bring_forward(engine, self._url.kind)
        except BaseException:
            await engine.dispose()
            raise
        return engine


def _load() -> tuple[Callable[[StateUrl, Path], AsyncEngine], Any]:
    """Import what takes long, off the loop."""
    from headrace.infra.databases import revisions
    from headrace.infra.databases.engines import create_engine

    return create_engine, revisions
