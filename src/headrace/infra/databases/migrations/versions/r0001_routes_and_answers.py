"""Tables for routes that were set at run time, and for answers by idempotency key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")


def upgrade() -> None:
    """From nothing. MySQL cannot take a table back: one that an interrupted run has made already is left alone."""
    op.create_table(
        "headrace_routes",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("spec", TEXT, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("changed_by", NAME, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "headrace_answers",
        sa.Column("key_digest", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("valid_until", sa.Double, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", TEXT),
        sa.Column("body", BYTES),
        if_not_exists=True,
    )
