"""How much may one request bring?"""

from __future__ import annotations

from headrace.domain.errors import TooLarge


def too_many_rows(rows: int, limit: int) -> TooLarge:
    """What is told to a request with more rows of single values than allowed."""
    return TooLarge(
        f"one call may bring {limit} rows (api.max_rows), and {rows} came; tables are for batch runs",
        details={"limit_rows": limit},
    )
