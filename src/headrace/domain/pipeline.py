"""Steps, one model, steps: one driver that turns a batch into a batch of the same length."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

from headrace.domain.batch import Batch
from headrace.domain.coerce import coerce
from headrace.domain.errors import DeadlineExceeded, EngineError, InvalidConfig
from headrace.domain.fit import Plan
from headrace.domain.isolation import isolate
from headrace.domain.model import Model, RemoteModel
from headrace.domain.model_call import model_step
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import Auto, PipelineSpec
from headrace.domain.step import Context, Step, as_engine_error
from headrace.domain.tensors import TensorSpec

Call = Callable[[Callable[[Batch, Context], Batch], Batch, Context], Awaitable[Batch]]
"""Runs a synchronous segment where the caller wants it: inline, in a thread, in a process."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A step and the phase it belongs to: ``preprocess``, ``infer`` or ``postprocess``."""

    phase: str
    step: Step


class Pipeline:
    """A loaded pipeline: its reference, its bound steps and its model.

    *inputs* and *outputs* are the columns it takes and gives, row axis first. *batched* is False for a model
    without a batch axis: a request is then a batch of one row whose columns hold the whole tensor. *digest*
    identifies the bytes of the artefact and the configuration. *instances* is how many batches may run at the same
    time. *release* stands for closing a model that is shared.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        plan: Plan,
        model: Model,
        *,
        model_name: str,
        model_version: str = "1",
        digest: str = "",
        instances: int | Auto = "auto",
        release: Callable[[], None] | None = None,
    ) -> None:
        if plan.problems:
            raise InvalidConfig("; ".join(found.problem.message for found in plan.problems))
        self.ref = PipelineRef(spec.name, spec.version)
        self.spec = spec
        self.model = model
        self.model_name = model_name
        self.model_version = model_version
        self.instances = instances
        self._release = release or model.close
        self.digest = digest
        self.inputs: Mapping[str, TensorSpec] = plan.inputs
        self.outputs: Mapping[str, TensorSpec] = plan.outputs
        self.batched = spec.batched
        self._output_names = tuple(plan.outputs)
        self._stages = [
            *(Stage("preprocess", step) for step in plan.before),
            Stage("infer", model_step(model, batched=self.batched)),
            *(Stage("postprocess", step) for step in plan.after),
        ]
        self._segments = [
            (waits, tuple(stages)) for waits, stages in groupby(self._stages, key=lambda stage: stage.step.waits)
        ]
        self.synchronous = not any(waits for waits, _ in self._segments)

    def __repr__(self) -> str:
        return f"Pipeline({self.ref}, model {self.model_name})"

    def close(self) -> None:
        """Let go of the model, which closes unless others share it."""
        self._release()

    @property
    def remote(self) -> bool:
        """Whether the model is awaited on the loop."""
        return isinstance(self.model, RemoteModel)

    async def run(self, batch: Batch, context: Context, call: Call) -> Batch:
        """Take *batch* through every step. Neighbouring synchronous steps make one trip through *call*.

        Returns a batch with the output columns; rows that failed are in its failures. Raises nothing but what
        *call* itself raises.
        """
        for waits, stages in self._segments:
            if batch.size == 0:
                break
            if waits:
                for stage in stages:
                    batch = await _wait(stage, batch, context)
            else:
                batch = await call(_Segment(stages), batch, context)
        return self.finished(batch)

    def prepared(self, batch: Batch, context: Context) -> Batch:
        """*batch* as the model takes it: coerced and through the preprocessing alone, for a generated answer."""
        return self._stages_of("preprocess")(coerce(batch, self.inputs), context)

    def completed(self, batch: Batch, context: Context) -> Batch:
        """The answer of a batch that has the model's columns: through the postprocessing alone."""
        return self.finished(self._stages_of("postprocess")(batch, context))

    def _stages_of(self, phase: str) -> _Segment:
        return _Segment([stage for stage in self._stages if stage.phase == phase])

    def finished(self, batch: Batch) -> Batch:
        """The output columns alone of a batch that has been through the stages."""
        if batch.size == 0:
            return Batch({name: [] for name in self._output_names}, 0, failures=batch.failures, positions=())
        return batch.select(self._output_names)


@dataclass(frozen=True, slots=True)
class _Segment:
    """Neighbouring synchronous stages, run in one go."""

    stages: Sequence[Stage]

    def __call__(self, batch: Batch, context: Context) -> Batch:
        for stage in self.stages:
            if batch.size == 0:
                return batch
            if context.late():
                return _fail_all(batch, DeadlineExceeded(f"the deadline passed before step {stage.step.name!r}"))
            started = time.perf_counter()
            run = stage.step.run
            batch = isolate(
                lambda part, run=run: cast(Batch, run(part, context)),  # type: ignore[misc]
                batch,
                f"step {stage.step.name!r}" if stage.phase != "infer" else "the model",
                pure=stage.step.pure,
            )
            context.timings.append((stage.phase, stage.step.name, time.perf_counter() - started))
        return batch


async def _wait(stage: Stage, batch: Batch, context: Context) -> Batch:
    """Await a step on the loop; when it fails, all rows do: halving would only repeat a call to the outside."""
    if context.late():
        return _fail_all(batch, DeadlineExceeded(f"the deadline passed before step {stage.step.name!r}"))
    started = time.perf_counter()
    try:
        return await cast(Awaitable[Batch], stage.step.run(batch, context))
    except Exception as error:
        return _fail_all(batch, as_engine_error(error, f"step {stage.step.name!r}"))
    finally:
        context.timings.append((stage.phase, stage.step.name, time.perf_counter() - started))


def _fail_all(batch: Batch, error: EngineError) -> Batch:
    return batch.without(dict.fromkeys(range(batch.size), error))
