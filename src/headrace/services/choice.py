"""Which pipeline answers a request: chosen once, before its inputs are read, and kept until its answer is sent."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef


@dataclass(frozen=True, slots=True)
class Choice:
    """The *pipeline* that answers, why it is that one, and which version looks on."""

    pipeline: Pipeline
    reason: str
    shadow: PipelineRef | None = None
