"""The real-time use case: route a request to a version, look for a kept answer, infer, keep, and copy to a shadow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Literal

from headrace.domain.batch import Row
from headrace.domain.errors import EngineError, Internal, InvalidRequest, NotReady
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked, Router
from headrace.services.answers import Answers
from headrace.services.choice import Choice
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.course import Course, Tell, ToldCourse
from headrace.services.engine import Engine
from headrace.services.inputs import complete

SHADOWS = 64
"""Copies of requests that may be under way to shadow versions; beyond it they are dropped, not queued."""


class Inference:
    """Answers requests by name. Doors call it; it knows none of them."""

    def __init__(
        self,
        engine: Engine,
        router: Router,
        *,
        answers: Answers | None = None,
        default: str | None = None,
    ) -> None:
        """*answers* keeps those of pipelines that declare a cache; *default* answers requests that name nothing."""
        self.engine = engine
        self.router = router
        self.answers = answers
        self.measures = engine.measures
        self.default = default
        self.in_flight = 0
        self._choices: dict[tuple[str, str | None], Choice] = {}
        self._shadows: set[asyncio.Task[None]] = set()

    def forget_choices(self) -> None:
        """Choose anew from now on: pipelines or routes have changed."""
        self._choices.clear()

    def choose(self, asked: Asked) -> Choice:
        """Which pipeline answers *asked*. Raises NotFound, AmbiguousVersion, or InvalidRequest without any name."""
        key = (asked.name, asked.version)
        if (known := self._choices.get(key)) is not None:
            return known
        if not asked.name:
            return self._by_default(asked)
        decision = self.router.decide(asked)
        pipeline = self.engine.registry.get(decision.ref).pipeline
        choice = Choice(pipeline, decision.reason, decision.shadow)
        if self.router.fixed(asked):
            self._choices[key] = choice
        return choice

    def routed(self, asked: Asked) -> bool:
        """Whether somebody wrote a route for what *asked* names, or gets for naming nothing."""
        return self.router.route(asked.name or self.default or "") is not None

    def default_runs(self, model: str) -> bool:
        """Whether some loaded version of the default pipeline runs *model*; False where there is no default."""
        registry, name = self.engine.registry, self.router.canonical(self.default or "")
        refs = (PipelineRef(name, version) for version in registry.versions(name))
        return any(registry.get(ref).pipeline.model_name == model for ref in refs)

    def _by_default(self, asked: Asked) -> Choice:
        if self.default is None:
            raise InvalidRequest("the request names no pipeline, and pipelines.default is not set")
        return self.choose(replace(asked, name=self.default))

    async def infer(self, choice: Choice, inputs: Inputs, request: RequestContext) -> Result:
        """Answer one request of one or more rows.

        Raises EngineError when the request as a whole cannot be answered; rows that failed are in the result.
        """
        course, pipeline = Course(self, choice, request), choice.pipeline
        try:
            if self.answers is not None and pipeline.spec.cache is not None:
                whole = complete(pipeline, inputs)
                result = await self.answers.infer(pipeline, whole, request, self.engine.infer)
            else:
                result = await self.engine.infer(pipeline.ref, inputs, request)
            return course.answered(result, inputs)
        except BaseException as error:
            course.failed(error)
            raise

    def start(self, choice: Choice, inputs: Inputs, request: RequestContext, tell: Tell) -> ToldCourse | None:
        """What `infer` does, for a caller that is told the end and does not wait for it; *tell* may be called at once.

        None, and nothing has begun, where only waiting will do: an answer may be kept, and not at hand.
        """
        kept: Result | None = None
        pipeline = choice.pipeline
        if self.answers is not None and pipeline.spec.cache is not None:
            kept = self.answers.at_hand(pipeline, complete(pipeline, inputs), request)
            if kept is None:
                return None
        course = ToldCourse(self, choice, request, inputs, tell)
        try:
            if kept is None:
                self.engine.submit(pipeline.ref, inputs, request, course)
            else:
                course.set_result(kept)
        except Exception as error:
            course.set_exception(error)
        return course

    def refused(self, door: str, error: EngineError, request_id: str) -> None:
        """Count a request that failed before it was known for which pipeline, and tell of it."""
        self.tell(None, error)
        self.measures.request(None, "request", door, error.code, 0.0)
        if self.engine.witness is not None:
            self.engine.witness.refused(door, error, request_id)

    async def generate(
        self, pipeline: Pipeline, inputs: Inputs, request: RequestContext
    ) -> AsyncGenerator[Row, Literal[True] | None]:
        """Answer one row in chunks, by the very *pipeline* that its inputs were read for. Shadows get no copy.

        A reader that has enough before the end sends True, as `enough` does; one that just closes it has left, and is
        counted so. Raises NotReady where another one has taken the place of *pipeline*.
        """
        started = time.monotonic()
        if request.deadline is None:
            request = replace(request, deadline=started + pipeline.spec.timeout_s)
        code = "ok"
        self.in_flight += 1
        if (witness := self.engine.witness) is not None:
            witness.begin(request)
        try:
            self._require_current(pipeline)
            async with aclosing(self.engine.generate(pipeline.ref, complete(pipeline, inputs), request)) as rows:
                async for row in rows:
                    if (yield row):
                        break
        except EngineError as error:
            code = error.code
            self.tell(pipeline.ref, error)
            raise
        except BaseException as error:
            code = "cancelled" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else Internal.code
            raise
        finally:
            self.in_flight -= 1
            self.measures.request(pipeline.ref, request.mode, request.door, code, time.monotonic() - started)
            if witness is not None:
                witness.end(request, pipeline.ref, code, started)

    def _require_current(self, pipeline: Pipeline) -> None:
        """Raises NotReady if *pipeline* does not serve its version any more."""
        registry = self.engine.registry
        if pipeline.ref not in registry or registry.get(pipeline.ref).pipeline is not pipeline:
            raise NotReady(f"pipeline {pipeline.ref} was replaced while this request was under way; ask again")

    def tell(self, ref: PipelineRef | None, error: EngineError) -> None:
        """Tell those who look on that a request to *ref* ended with *error*."""
        if self.engine.hooks is not None:
            self.engine.hooks.error(ref, error)

    def copy(self, shadow: PipelineRef, inputs: Inputs, request: RequestContext) -> None:
        """Send a copy to the shadow version; its answer and its failures concern nobody."""
        if len(self._shadows) >= SHADOWS or shadow not in self.engine.registry:
            return
        task = asyncio.get_running_loop().create_task(self._shadowed(shadow, inputs, request))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadowed(self, shadow: PipelineRef, inputs: Inputs, request: RequestContext) -> None:
        started = time.monotonic()
        code = "ok"
        try:
            pipeline = self.engine.registry.get(shadow).pipeline
            copied = RequestContext(
                request.request_id, started + pipeline.spec.timeout_s, "shadow", request.mode, request.caller,
                request.options,
            )  # fmt: skip
            await self.engine.infer(shadow, complete(pipeline, inputs), copied)
        except EngineError as error:
            code = error.code
        finally:
            self.measures.request(shadow, request.mode, "shadow", code, time.monotonic() - started)


async def enough(rows: AsyncGenerator[Any, Literal[True] | None]) -> None:
    """End the answer *rows*, of which something was read, where its reader wants no more of it; it may have ended."""
    with suppress(StopAsyncIteration):
        await rows.asend(True)
