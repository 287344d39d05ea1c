"""One request on its way through the services: when it came, who answers it, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.domain.errors import EngineError, Internal
from headrace.services.choice import Choice
from headrace.services.context import Inputs, RequestContext, Result

if TYPE_CHECKING:
    from headrace.services.inference import Inference

Tell = Callable[[Result | BaseException], None]
"""Told once how a request ended; must not raise."""


class Course:
    """A request from its beginning to its end, of which it tells whoever counts, traces and logs.

    It begins when it is made. `answered` or `failed` ends it, once.
    """

    __slots__ = ("_choice", "_inference", "_request", "_started")

    def __init__(self, inference: Inference, choice: Choice, request: RequestContext) -> None:
        self._inference = inference
        self._choice = choice
        self._request = request
        self._started = time.monotonic()
        inference.in_flight += 1
        witness = inference.engine.witness
        # What `begin` does; this is done for every request, and a call less is worth it.
        if witness is not None and (request.traceparent is not None or next(witness.turns)):
            witness.trace(request)

    def answered(self, result: Result, inputs: Inputs) -> Result:
        """The request for *inputs* came to *result*; returns it with what is told of it, failed rows included."""
        choice = self._choice
        if inputs.failures:
            result = result.with_failures(inputs.failures)
        result.route = choice.reason
        if choice.shadow is not None:
            self._inference.copy(choice.shadow, inputs, self._request)
        error = result.error()
        if error is not None:
            self._inference.tell(choice.pipeline.ref, error)
        self._end("ok" if error is None else error.code, result)
        return result

    def failed(self, error: BaseException) -> None:
        """The request came to nothing; a cancellation is one that its caller left."""
        if isinstance(error, EngineError):
            self._inference.tell(self._choice.pipeline.ref, error)
            self._end(error.code, None, error)
        else:
            self._end("cancelled" if isinstance(error, asyncio.CancelledError) else Internal.code, None, error)

    def _end(self, code: str, result: Result | None, error: BaseException | None = None) -> None:
        inference, request = self._inference, self._request
        inference.in_flight -= 1
        ref = self._choice.pipeline.ref
        inference.measures.request(ref, request.mode, request.door, code, time.monotonic() - self._started)
        witness = inference.engine.witness
        if witness is not None and (request.trace is not None or witness.tells):
            witness.end(request, ref, code, self._started, result, error)


class ToldCourse(Course):
    """A request whose caller does not wait, but is told: what stands in a queue in the place of a future."""

    __slots__ = ("_cancelled", "_done", "_inputs", "_tell")

    def __init__(
        self, inference: Inference, choice: Choice, request: RequestContext, inputs: Inputs, tell: Tell
    ) -> None:
        super().__init__(inference, choice, request)
        self._inputs = inputs
        self._tell = tell
        self._done = self._cancelled = False

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def cancelled(self) -> bool:
        """Whether it ended because its caller left."""
        return self._cancelled

    def set_result(self, result: Result, /) -> None:
        """End with *result*."""
        self._done = True
        self._tell(self.answered(result, self._inputs))

    def set_exception(self, exception: BaseException, /) -> None:
        """End with an error."""
        self._done = True
        self.failed(exception)
        self._tell(exception)

    def cancel(self) -> bool:
        """The caller left, and is told nothing; False if it was too late for that."""
        if self._done:
            return False
        self._done = self._cancelled = True
        self.failed(asyncio.CancelledError())
        return True
