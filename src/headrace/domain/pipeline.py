"""Steps, one model, steps: one driver that turns a batch into a batch of the same length."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import cast

from headrace.domain.batch import Batch
from headrace.domain.batching import contradictions
from headrace.domain.coerce import coerce
from headrace.domain.errors import DeadlineExceeded, EngineError, InvalidConfig
from headrace.domain.fit import Plan
from headrace.domain.isolation import isolate
from headrace.domain.memory import MemoryCap
from headrace.domain.model import Model, RemoteModel
from headrace.domain.model_call import model_step, row_specs
from headrace.domain.padding import Padding
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import Auto, Batching, PipelineSpec
from headrace.domain.step import Context, Step, as_engine_error
from headrace.domain.tensors import TensorSpec
from headrace.domain.tokens import tokens_per_row

Call = Callable[[Callable[[Batch, Context], Batch], Batch, Context], Awaitable[Batch]]
"""Runs a synchronous segment where the caller wants it: inline, in a thread, in a process."""
RunNow = Callable[[Batch, Context], Batch]
"""What a step does that never waits."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A step and the phase it belongs to: ``preprocess``, ``infer`` or ``postprocess``."""

    phase: str
    step: Step


class Pipeline:
    """A loaded pipeline: its reference, its bound steps and its model.

    *inputs* and *outputs* are the columns it takes and gives, row axis first, *output_names* the names of the latter.
    *batched* is False for a model without a batch axis: a request is then a batch of one row whose columns hold the
    whole tensor. *digest* identifies the bytes of the artefact and the configuration. *instances* is how many batches
    may run at the same time. *release* stands for closing a model that is shared. *padding* fills rows up where the
    pipeline declares it, *cap* knows how many rows fit in memory, *device* is where the model runs, and *read_before*
    are the columns that a preprocessing step reads.
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
        self.device = str(model.device)
        self.instances = instances
        self._release = release or model.close
        self.digest = digest
        self.inputs: Mapping[str, TensorSpec] = plan.inputs
        self.outputs: Mapping[str, TensorSpec] = plan.outputs
        self.batched = spec.batched
        self.cap = MemoryCap()
        self.padding = _padding(spec, model)
        self.read_before = frozenset(name for step in plan.before for name in step.reads)
        self.output_names = tuple(plan.outputs)
        self._stages = [
            *(Stage("preprocess", step) for step in plan.before),
            Stage("infer", model_step(model, batched=self.batched, padding=self.padding)),
            *(Stage("postprocess", step) for step in plan.after),
        ]
        parts = [(waits, list(stages)) for waits, stages in groupby(self._stages, key=lambda stage: stage.step.waits)]
        self._segments = [stages if waits else Segment(stages, self.cap) for waits, stages in parts]
        self.synchronous = not any(waits for waits, _ in parts)

    def __repr__(self) -> str:
        return f"Pipeline({self.ref}, model {self.model_name})"

    def close(self) -> None:
        """Let go of the model, which closes unless others share it."""
        self._release()

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that the model takes here, as far as that can be told; 0 for one that lives elsewhere."""
        return 0 if isinstance(self.model, RemoteModel) else self.model.memory_bytes()

    @property
    def processes(self) -> int:
        """How many processes of its own the model has."""
        return 0 if isinstance(self.model, RemoteModel) else self.model.own_processes

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often a process of its model had to be started again, by the kind of its cause."""
        return {} if isinstance(self.model, RemoteModel) else self.model.restarts()

    @property
    def remote(self) -> bool:
        """Whether the model is awaited on the loop."""
        return isinstance(self.model, RemoteModel)

    async def run(self, batch: Batch, context: Context, call: Call) -> Batch:
        """Take *batch* through every step. Neighbouring synchronous steps make one trip through *call*.

        Returns a batch with the output columns; rows that failed are in its failures. Raises nothing but what
        *call* itself raises.
        """
        for segment in self._segments:
            if batch.size == 0:
                break
            if isinstance(segment, Segment):
                batch = await call(segment, batch, context)
                continue
            for stage in segment:
                batch = await _wait(stage, batch, context)
        return self.finished(batch)

    def through(self, batch: Batch, context: Context) -> Batch:
        """What `coerced` and `run` do, in one go: for a pipeline that is *synchronous*."""
        batch = self.coerced(batch, context)
        for segment in self._segments:
            batch = cast(Segment, segment)(batch, context)
        return self.finished(batch)

    def coerced(self, batch: Batch, context: Context) -> Batch:
        """*batch* with the values of requests as the columns that the pipeline takes."""
        began = time.monotonic()
        batch = coerce(batch, self.inputs)
        context.timings.append(("preprocess", "inputs", time.monotonic() - began, began))
        return batch

    def prepared(self, batch: Batch, context: Context) -> Batch:
        """*batch* as the model takes it: coerced and through the preprocessing alone, for a generated answer."""
        return self._stages_of("preprocess")(coerce(batch, self.inputs), context)

    def completed(self, batch: Batch, context: Context) -> Batch:
        """The answer of a batch that has the model's columns: through the postprocessing alone."""
        return self.finished(self._stages_of("postprocess")(batch, context))

    def _stages_of(self, phase: str) -> Segment:
        return Segment([stage for stage in self._stages if stage.phase == phase], self.cap)

    def finished(self, batch: Batch) -> Batch:
        """The output columns alone of a batch that has been through the stages."""
        if batch.size == 0:
            return Batch({name: [] for name in self.output_names}, 0, failures=batch.failures, positions=())
        return batch.select(self.output_names)


class Segment:
    """Neighbouring synchronous stages, run in one go."""

    __slots__ = ("_cap", "_stages")

    def __init__(self, stages: Sequence[Stage], cap: MemoryCap) -> None:
        self._cap = cap
        self._stages = [(stage.phase, stage.step, cast(RunNow, stage.step.run), _named(stage)) for stage in stages]

    def __call__(self, batch: Batch, context: Context) -> Batch:
        """*batch* after all stages; a row that one of them refuses is among the failures."""
        for phase, step, run, named in self._stages:
            if batch.size == 0:
                return batch
            if context.late():
                return _fail_all(batch, DeadlineExceeded(f"the deadline passed before step {step.name!r}"))
            if phase == "infer":
                context.tokens = tokens_per_row(batch)
            began = time.monotonic()
            batch = isolate(
                partial(_second, run, context),
                batch,
                named,
                pure=step.pure,
                cap=self._cap,
                requests=context.requests,
                late=context.late,
            )
            context.timings.append((phase, step.name, time.monotonic() - began, began))
        return batch


def _second(run: RunNow, context: Context, batch: Batch) -> Batch:
    return run(batch, context)


def _named(stage: Stage) -> str:
    """What is said to have failed."""
    return "the model" if stage.phase == "infer" else f"step {stage.step.name!r}"


def _padding(spec: PipelineSpec, model: Model) -> Padding | None:
    batching = spec.batching
    if not isinstance(batching, Batching) or not batching.pad:
        return None
    inputs, outputs = (row_specs(specs, batched=True) for specs in (model.get_input_spec(), model.get_output_spec()))
    if problems := contradictions(batching, None, inputs, outputs):
        raise InvalidConfig("; ".join(f"batching.{problem.key}: {problem.message}" for problem in problems))
    return Padding(batching, inputs, outputs)


async def _wait(stage: Stage, batch: Batch, context: Context) -> Batch:
    """Await a step on the loop; when it fails, all rows do: halving would only repeat a call to the outside."""
    if context.late():
        return _fail_all(batch, DeadlineExceeded(f"the deadline passed before step {stage.step.name!r}"))
    if stage.phase == "infer":
        context.tokens = tokens_per_row(batch)
    began = time.monotonic()
    try:
        return await cast(Awaitable[Batch], stage.step.run(batch, context))
    except Exception as error:
        return _fail_all(batch, as_engine_error(error, f"step {stage.step.name!r}"))
    finally:
        context.timings.append((stage.phase, stage.step.name, time.monotonic() - began, began))


def _fail_all(batch: Batch, error: EngineError) -> Batch:
    return batch.without(dict.fromkeys(range(batch.size), error))
