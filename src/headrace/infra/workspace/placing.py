"""Can the batches of a pipeline run where its configuration pins them?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headrace.domain.fit import StepUse
from headrace.domain.spec import ModelSpec, PipelineSpec
from headrace.infra.workspace.documents import Remarks

AWAITED: Final = ("openai", "open_inference")
"""Types of models that live elsewhere."""
_WANTED: Final = "wanted auto or thread"


def check_placement(
    spec: PipelineSpec, model: ModelSpec | None, uses: Iterable[StepUse | None], remarks: Remarks
) -> None:
    """Say it when batches are to run on the loop and would have to wait there; every other request would wait too."""
    if spec.placement != "inline":
        return
    waiting = [f"step {use.name!r}" for use in uses if use is not None and use.kind.waits]
    waiting += [f"step {step.name!r}" for step in (*spec.preprocessing, *spec.postprocessing) if step.source]
    if model is not None and model.type in AWAITED:
        waiting.append(f"model {model.name!r} (type {model.type})")
    if model is not None and model.isolation == "process":
        waiting.append(f"model {model.name!r} (isolation: process)")
    if waiting:
        remarks.add(spec, "placement", cannot_wait(waiting[0]))


def cannot_wait(waiting: str) -> str:
    """Why batches of which *waiting* is a part cannot run on the loop."""
    return f"found 'inline', but {waiting} waits for something outside, and all requests would wait with it, {_WANTED}"
