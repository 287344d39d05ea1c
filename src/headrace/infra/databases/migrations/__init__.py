"""The steps by which a database became what it is today, one file each, which Alembic runs in order."""

from __future__ import annotations

from typing import Final

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every revision, the oldest first. What is not among them was written by a newer Headrace."""
VERSION_TABLE: Final = "headrace_revision"
