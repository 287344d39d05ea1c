"""How are answers by idempotency key, and claims on keys, written into their table?"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.domain.ports import Answered, Claimed, KeptAnswer, UnderWay
from headrace.infra.databases.clock import now as database_now
from headrace.infra.databases.schema import answers

_HEADERS: Final = msgspec.json.Decoder(list[tuple[str, str]])


async def claim(
    connection: AsyncConnection, key: str, fingerprint: str, owner: str, lease_s: float
) -> Claimed | UnderWay | Answered:
    """Claim *key* unless it is taken. Raises IntegrityError when another claims it at the same moment."""
    now = database_now(connection)
    row = (await connection.execute(select(answers, now.label("now")).where(answers.c.key_digest == key))).first()
    values = {"fingerprint": fingerprint, "owner": owner, "valid_until": now + lease_s}
    if row is None:
        await connection.execute(insert(answers).values(key_digest=key, **values))
        return Claimed()
    if row.valid_until > row.now:
        return _taken(row)
    empty = {"status": None, "headers": None, "body": None}
    same = (answers.c.key_digest == key, answers.c.owner == row.owner, answers.c.valid_until <= now)
    done = await connection.execute(update(answers).where(*same).values(**values, **empty))
    return Claimed() if done.rowcount else UnderWay(fingerprint)


async def renew(connection: AsyncConnection, key: str, owner: str, lease_s: float) -> bool:
    """Move the end of the claim."""
    held = update(answers).where(*_held(key, owner)).values(valid_until=database_now(connection) + lease_s)
    return (await connection.execute(held)).rowcount > 0


async def keep(connection: AsyncConnection, key: str, owner: str, answer: KeptAnswer, ttl_s: float) -> bool:
    """Write the answer into the row of the claim."""
    values = {
        "valid_until": database_now(connection) + ttl_s,
        "status": answer.status,
        "headers": msgspec.json.encode(answer.headers).decode(),
        "body": answer.body,
    }
    done = await connection.execute(update(answers).where(*_held(key, owner)).values(values))
    return done.rowcount > 0


async def release(connection: AsyncConnection, key: str, owner: str) -> None:
    """Remove the row of the claim."""
    await connection.execute(delete(answers).where(*_held(key, owner)))


async def sweep(connection: AsyncConnection) -> None:
    """Remove what is past its time."""
    await connection.execute(delete(answers).where(answers.c.valid_until <= database_now(connection)))


def _taken(row: Row[Any]) -> UnderWay | Answered:
    if row.status is None:
        return UnderWay(row.fingerprint)
    return Answered(row.fingerprint, KeptAnswer(row.status, _HEADERS.decode(row.headers), row.body))


def _held(key: str, owner: str) -> tuple[ColumnElement[bool], ...]:
    return answers.c.key_digest == key, answers.c.owner == owner, answers.c.status.is_(None)
