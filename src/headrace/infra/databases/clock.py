"""What time is it? Servers that share a database need not agree, so its own clock counts."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Double, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection

_NOW: Final = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
    "mysql": "unix_timestamp(now(6)) + 0e0",
}


def now(connection: AsyncConnection) -> ColumnElement[float]:
    """The time of the database, in seconds since the epoch."""
    return literal_column(_NOW[connection.dialect.name], Double)
