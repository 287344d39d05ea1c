"""`headrace serve` without its numbers: what `python -m bench.overhead` holds the real one against."""

from __future__ import annotations

import sys
from typing import Any

from headrace import assembly
from headrace.__main__ import main
from headrace.services.measures import Measures


class Unmeasured(Measures):
    """Measures that add nothing up."""

    def request(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def batch(self, *_: Any, **__: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    assembly.Measures = Unmeasured  # type: ignore[misc]
    sys.exit(main())
