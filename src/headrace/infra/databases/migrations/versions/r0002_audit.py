"""A table of who changed what, and an index by which answers past their time are found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
INDEX = "headrace_answers_valid_until"


def upgrade() -> None:
    """From 0001; what an interrupted run has made already is left alone."""
    op.create_table(
        "headrace_audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("changed_by", NAME, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("detail", TEXT),
        if_not_exists=True,
    )
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("headrace_answers")}
    if INDEX not in known:  # MySQL knows no IF NOT EXISTS here
        op.create_index(INDEX, "headrace_answers", ["valid_until"])
