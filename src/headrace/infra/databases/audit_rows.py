"""How is it written down who changed what? Each change with its row, in the transaction of the change itself."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.infra.databases.schema import audit


async def note(connection: AsyncConnection, at: float, by: str, action: str, subject: str, detail: str | None) -> None:
    """Write that *by* did *action* to *subject*; *detail* is JSON, and never holds a secret."""
    row = {"changed_at": at, "changed_by": by, "action": action, "subject": subject, "detail": detail}
    await connection.execute(insert(audit).values(row))
