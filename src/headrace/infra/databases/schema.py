"""Which tables hold what Headrace remembers? The migrations make them; this is what the code reads and writes."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql

metadata: Final = MetaData()

# MySQL would take names for equal that differ in case, and cut texts at 64 KB.
NAME: Final = String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
TEXT: Final = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
BYTES: Final = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")

routes: Final = Table(
    "headrace_routes",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("spec", TEXT, nullable=False),  # JSON in the order in which it was given: a split's order counts
    Column("changed_at", Double, nullable=False),
    Column("changed_by", NAME, nullable=False),
)
"""Routes that were set at run time; one that was reset has no row. Times are seconds since the epoch."""

answers: Final = Table(
    "headrace_answers",
    metadata,
    Column("key_digest", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("valid_until", Double, nullable=False),
    Column("status", Integer),
    Column("headers", TEXT),
    Column("body", BYTES),
)
"""Answers by idempotency key. Without a *status* the row is the claim of a request that is under way."""

audit: Final = Table(
    "headrace_audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("changed_at", Double, nullable=False),
    Column("changed_by", NAME, nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", NAME, nullable=False),
    Column("detail", TEXT),
)
"""Who changed what, and when."""

keys: Final = Table(
    "headrace_keys",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("key_id", String(32), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("roles", TEXT, nullable=False),  # names with spaces between
    Column("created_at", Double, nullable=False),
    Column("created_by", NAME, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)
"""The keys that callers show: of the secret only a digest. One that was revoked stays until its name is used again."""

jobs: Final = Table(
    "headrace_jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("run", String(64), nullable=False),
    Column("pipeline", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("asked", TEXT, nullable=False),  # JSON
    Column("attempt", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    Column("rows_failed", BigInteger, nullable=False),
    Column("rows_total", BigInteger),
    Column("part_read", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("errors_in", TEXT),
    Column("error_code", String(64)),
    Column("error_message", TEXT),
    Column("host", NAME, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process", String(64), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("headrace_jobs_started_at", "started_at"),
)
"""Tables that were, or are, answered. The row of a *process* that died says "running" and is not updated any more."""
