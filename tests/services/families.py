"""Where a test reads what a scrape would show."""

from typing import Any


class Families:
    """Families of numbers by name."""

    def __init__(self) -> None:
        self.families: dict[str, Any] = {}

    def counter(self, name: str, help_text: str, labels: Any, read: Any) -> None:
        self.families[name] = read

    gauge = histogram = counter

    def read(self, name: str) -> dict[tuple[str, ...], float]:
        return dict(self.families[name]())
