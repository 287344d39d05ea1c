"""A table of jobs: what was asked, how far each is, and how it ended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"

NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
INDEX = "headrace_jobs_started_at"


def upgrade() -> None:
    """From 0003; what an interrupted run has made already is left alone."""
    op.create_table(
        "headrace_jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("pipeline", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("rows_read", sa.BigInteger, nullable=False),
        sa.Column("rows_failed", sa.BigInteger, nullable=False),
        sa.Column("rows_total", sa.BigInteger),
        sa.Column("part_read", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("errors_in", TEXT),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", TEXT),
        sa.Column("host", NAME, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        if_not_exists=True,
    )
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("headrace_jobs")}
    if INDEX not in known:  # MySQL knows no IF NOT EXISTS here
        op.create_index(INDEX, "headrace_jobs", ["started_at"])
