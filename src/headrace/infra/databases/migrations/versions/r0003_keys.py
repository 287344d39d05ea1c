"""A table of the keys that callers show."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"

NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")


def upgrade() -> None:
    """From 0002; what an interrupted run has made already is left alone."""
    op.create_table(
        "headrace_keys",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("key_id", sa.String(32), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("roles", TEXT, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        if_not_exists=True,
    )
