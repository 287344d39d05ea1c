"""How are callers' keys written into their table, and read back? Of a secret only the digest comes here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.domain.ports import StoredKey
from headrace.infra.databases.audit_rows import note
from headrace.infra.databases.schema import keys


async def every(connection: AsyncConnection) -> list[StoredKey]:
    """Every key, by name."""
    return [_stored(row) for row in await connection.execute(select(keys).order_by(keys.c.name))]


async def add(connection: AsyncConnection, key: StoredKey) -> None:
    """Write *key* in the place of one that is over. Raises IntegrityError while another has its name."""
    over = or_(keys.c.revoked_at.is_not(None), keys.c.expires_at <= key.created_at)
    await connection.execute(delete(keys).where(keys.c.name == key.name, over))
    row = {
        "name": key.name,
        "key_id": key.id,
        "digest": key.digest,
        "roles": " ".join(key.roles),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": None,
    }
    await connection.execute(insert(keys).values(row))
    await note(connection, key.created_at, key.created_by, "key created", key.name, _detail(key))


async def revoke(connection: AsyncConnection, name: str, by: str) -> StoredKey | None:
    """Write that the key of *name* does not hold any more, unless that is written already."""
    row = (await connection.execute(select(keys).where(keys.c.name == name).with_for_update())).first()
    if row is None or row.revoked_at is not None:
        return None if row is None else _stored(row)
    now, key = time.time(), _stored(row)
    await connection.execute(update(keys).where(keys.c.name == name).values(revoked_at=now))
    await note(connection, now, by, "key revoked", name, _detail(key))
    return replace(key, revoked_at=now)


def _stored(row: Row[Any]) -> StoredKey:
    return StoredKey(
        name=row.name,
        id=row.key_id,
        digest=row.digest,
        roles=tuple(row.roles.split()),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _detail(key: StoredKey) -> str:
    return msgspec.json.encode({"id": key.id, "roles": key.roles, "expires_at": key.expires_at}).decode()
