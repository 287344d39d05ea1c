"""What does somebody who wants a table answered say, and what is told of it meanwhile?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from headrace.core.masking import MASK, masked
from headrace.domain.errors import Conflict, NotFound
from headrace.domain.jobs import Job
from headrace.domain.ports import JobStore, Tables
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked

CHUNK_ROWS: Final = 65_536
PLACES: Final = ("input", "output", "errors")
"""What an order names places by."""


@dataclass(frozen=True, slots=True)
class Order:
    """A table to answer: read from *input*, answers to *output*, failed rows to *errors*.

    Without *errors* they go to ``<output>.errors.jsonl``, a file that is only there when a row failed. *given*
    names the column of an input where it is not the input's own name, *keep* the columns to pass on, by their names
    in the output (``{"*": "*"}``: all). *row_number* adds the column ``row``: the number in the input, from 1.
    """

    asked: Asked
    input: str
    output: str
    errors: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    chunk_rows: int = CHUNK_ROWS
    row_number: bool = False

    @property
    def errors_place(self) -> str:
        """Where failed rows go."""
        return self.errors or f"{self.output}.errors.jsonl"

    def remembered(self, tables: Tables) -> dict[str, Any]:
        """The same as plain data, but for the pipeline: places by names that hold anywhere, secrets masked."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "asked"}
        places = {name: tables.absolute(found[name]) for name in PLACES if found[name] is not None}
        plain: dict[str, Any] = masked(found | places)
        return plain


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: *rows* read and answered or *failed*, *read* as a part (0 to 1) of the table.

    *total* is the number of rows, where the format tells. *errors* is where failed rows are, None if there are none.
    *job* is the id under which the run is remembered, if it is.
    """

    ref: PipelineRef
    rows: int = 0
    failed: int = 0
    read: float = 0.0
    total: int | None = None
    seconds: float = 0.0
    errors: str | None = None
    job: str | None = None

    @property
    def rows_per_s(self) -> float:
        """The speed since the start."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0


OnProgress = Callable[[Progress], None]
"""Is told of each step; it must not take long."""


async def job_of(store: JobStore, id: str) -> Job:
    """The job of that *id*. Raises NotFound."""
    if (job := await store.get(id)) is None:
        raise NotFound(f"there is no job {id!r}; `headrace batch list` shows those that are remembered")
    return job


def order_of(job: Job) -> Order:
    """What was asked of a *job* that may be run again. Raises Conflict for one that may not."""
    if not job.ended:
        raise Conflict(f"job {job.id} is running, as process {job.pid} on {job.host}")
    if job.status == "done":
        raise Conflict(f"job {job.id} is done; `headrace batch run` does it once more, as a job of its own")
    if MASK in repr(job.asked):
        raise Conflict(f"job {job.id} was given a secret, which is not remembered; give it again: headrace batch run")
    return Order(Asked(job.pipeline, job.version), **job.asked)
