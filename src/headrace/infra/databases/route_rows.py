"""How are routes that were set at run time written into the tables, and read back?"""

from __future__ import annotations

import time

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.core.logging import logger
from headrace.domain.ports import SetRoute
from headrace.domain.spec import RouteSpec
from headrace.infra.databases.audit_rows import note
from headrace.infra.databases.schema import routes

log = logger(__name__)


async def every(connection: AsyncConnection) -> dict[str, SetRoute]:
    """Every route; one that cannot be read is logged and left out."""
    found: dict[str, SetRoute] = {}
    for row in await connection.execute(select(routes)):
        try:
            spec = msgspec.json.decode(row.spec, type=RouteSpec)
        except msgspec.DecodeError as error:
            log.error("a stored route cannot be read; `headrace routes reset` removes it", route=row.name, reason=error)
        else:
            found[row.name] = SetRoute(spec, row.changed_at, row.changed_by)
    return found


async def put(connection: AsyncConnection, spec: RouteSpec, by: str) -> SetRoute:
    """Write *spec*."""
    now, text = time.time(), msgspec.json.encode(spec).decode()
    await connection.execute(delete(routes).where(routes.c.name == spec.name))
    await connection.execute(insert(routes).values(name=spec.name, spec=text, changed_at=now, changed_by=by))
    await note(connection, now, by, "route set", spec.name, text)
    return SetRoute(spec, now, by)


async def remove(connection: AsyncConnection, name: str, by: str) -> bool:
    """Remove the row of *name*, if there is one."""
    done = await connection.execute(delete(routes).where(routes.c.name == name))
    if done.rowcount == 0:
        return False
    await note(connection, time.time(), by, "route reset", name, None)
    return True
