"""Who asks, until when, under which id, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headrace.core.telemetry import Trace
from headrace.domain.batch import Outcome, pick_rows
from headrace.domain.errors import EngineError
from headrace.domain.registry import PipelineRef
from headrace.domain.step import Took
from headrace.domain.tensors import Column
from headrace.services.costs import BatchCost, Cost

Mode = Literal["request", "stream", "job"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str = "anonymous"
    roles: frozenset[str] = frozenset()


ANYBODY = Caller()
TOKEN_HOLDER = Caller("token")
"""Whoever shows the server's own token."""


@dataclass(slots=True)
class RequestContext:
    """What a request carries beside its inputs.

    *deadline* is in seconds of the monotonic clock (None: the pipeline's own `timeout_s`). *headers* have lower-case
    names and serve routing and tracing, *traceparent* is the one of them that says for which trace its caller asks.
    *priority* 1 goes first; 0 is the middle, as in the V2 protocol.
    """

    request_id: str = ""
    deadline: float | None = None
    door: str = "library"
    mode: Mode = "request"
    caller: Caller = ANYBODY
    options: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] | None = None
    routing_key: str | None = None
    fresh: bool = False
    """Whether a kept answer must not be used (``Cache-Control: no-cache``)."""
    priority: int = 0
    traceparent: str | None = None
    trace: Trace | None = None
    """Where spans of this request belong; None for one that is not traced."""

    def remaining_s(self) -> float | None:
        """Seconds left; None without a deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()


@dataclass(slots=True)  # not frozen: made for every request, and that would take twice as long
class Inputs:
    """The decoded inputs of one request: columns of *rows* entries each.

    A list column has one entry per row, nested as the row's shape says; it becomes part of an array only when its
    batch is formed. Arrays have the row axis first. *failures* are the rows that could not be read at all, by their
    number in the request; they are not among the *rows*.
    """

    columns: Mapping[str, Column]
    rows: int
    failures: Mapping[int, EngineError] = field(default_factory=dict)


@dataclass(slots=True)
class Timing:
    """Where the time of one batch went: what each step took, and how many rows there were.

    It *started* at that second of the monotonic clock (0: there was no batch) and took *run_s* altogether.
    """

    batch_size: int = 0
    run_s: float = 0.0
    steps: Sequence[Took] = ()
    started: float = 0.0
    cost: BatchCost | None = None
    tokens: Sequence[int] | None = None
    """Those of each row, where the model reads any."""


@dataclass(slots=True)
class Result:
    """The answer to one request.

    *columns* are shared with the whole batch; *picks* tell for each row of the request which row of them is its
    own, or why it failed. *ref* is the pipeline that answered, *digest* that of its model and configuration, and
    *queue_s* the seconds that the request waited.
    """

    ref: PipelineRef
    columns: Mapping[str, Column]
    picks: Sequence[int | EngineError]
    timing: Timing
    queue_s: float = 0.0
    cached: bool = False
    route: str = ""
    digest: str = ""
    rows: range = range(0)
    """Its rows in the batch as it was formed: none if it needed no batch of its own."""

    @property
    def cost(self) -> Cost | None:
        """This request's share of what its batch cost; None where nothing has a price."""
        return None if self.timing.cost is None else self.timing.cost.share(self.rows)

    def outcomes(self) -> list[Outcome]:
        """A row (values are slices of the shared columns) or an error for each row, in the order asked."""
        columns = self.columns
        return [
            pick if isinstance(pick, EngineError) else {name: column[pick] for name, column in columns.items()}
            for pick in self.picks
        ]

    def with_failures(self, failures: Mapping[int, EngineError]) -> Result:
        """This result with the rows that never ran at their places among the others."""
        answered = iter(self.picks)
        total = len(self.picks) + len(failures)
        picks = [failures[row] if row in failures else next(answered) for row in range(total)]
        return replace(self, picks=picks)

    def error(self) -> EngineError | None:
        """The first row's error that there is."""
        if isinstance(self.picks, range):
            return None
        return next((pick for pick in self.picks if isinstance(pick, EngineError)), None)

    def column(self, name: str) -> Column:
        """One output column of this request's rows; raises the first row's error if one failed."""
        if isinstance(self.picks, range):
            return self.columns[name][self.picks.start : self.picks.stop]
        if (error := self.error()) is not None:
            raise error
        return pick_rows(self.columns[name], [pick for pick in self.picks if not isinstance(pick, EngineError)])
