"""Which kinds of transaction are there? Execution options of SQLAlchemy, which it need not be imported for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Kind = Mapping[str, Any]

READING: Final[Kind] = {"headrace_writes": False}
"""Changes nothing."""
WRITING: Final[Kind] = {"headrace_writes": True, "headrace_synchronous": "NORMAL"}
"""Survives the end of the process."""
LASTING: Final[Kind] = {"headrace_writes": True, "headrace_synchronous": "FULL"}
"""Survives a power cut too."""
