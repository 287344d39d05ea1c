"""What is remembered of a job: what was asked, how far it is, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Status = Literal["running", "done", "failed", "cancelled", "interrupted"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
SILENT_S: Final = 60.0
"""How long nothing may be heard of a job that runs; one that is silent for longer counts as interrupted."""


@dataclass(frozen=True, slots=True)
class Job:
    """A table that was, or is, answered. *id* stays; each *attempt* (the first is 1) is a *run* of its own.

    *asked* is the order as plain data (`services.job_orders.Order`), with secrets masked. *rows* were read, and
    answered or *failed*; *read* is the part (0 to 1) of the table that this is, *total* its rows where the format
    tells. *errors* is where failed rows stand, if there are any yet. *code* and *message* say what ended the job as a
    whole, if something did. *host* and *pid* are the process that runs it; times are seconds since the epoch. The store
    fills in those of both.
    """

    id: str
    run: str
    pipeline: str
    version: str
    asked: Mapping[str, Any]
    attempt: int = 1
    status: Status = "running"
    rows: int = 0
    failed: int = 0
    read: float = 0.0
    total: int | None = None
    seconds: float = 0.0
    errors: str | None = None
    code: str | None = None
    message: str | None = None
    host: str = ""
    pid: int = 0
    started_at: float = 0.0
    updated_at: float = 0.0
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more."""
        return self.status != "running"


def status_now(written: Status, silent_s: float, gone: bool) -> Status:
    """What the status *written* means now: a process that is *gone*, or silent for too long, has been interrupted."""
    return "interrupted" if written == "running" and (gone or silent_s > SILENT_S) else written
