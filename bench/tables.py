"""How do figures become text? Markdown tables, and numbers with as many digits as mean something."""

from __future__ import annotations

from collections.abc import Sequence

from bench.comparing import Spread


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without the columns in which no row says anything; nothing for no rows."""
    if not rows:
        return ""
    kept = [place for place in range(len(head)) if any(row[place] != "-" for row in rows)]
    lines = [[head[place] for place in kept], ["---"] * len(kept), *([row[place] for place in kept] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """*value* with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_spread(found: Spread | None) -> str:
    """Median and, of several rounds, the least and the most."""
    if found is None:
        return "-"
    if found.rounds == 1:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)}-{number(found.most)})"
