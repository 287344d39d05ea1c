"""The micro-batch use case: read a window of events, run it, write results and dead letters, then commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from headrace.domain.batch import Batch, Outcome
from headrace.domain.errors import DependencyFailure, EngineError, InvalidInput, InvalidRequest, NotFound
from headrace.domain.ports import Broker, Event, Message
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked
from headrace.domain.spec import ModelUse, StreamSpec
from headrace.services.context import RequestContext
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs
from headrace.services.outcomes import jsonable

State = Literal["running", "paused", "failed"]
RETRY_S = (0.05, 0.2, 1.0, 5.0)
"""Pauses before a window is tried again after something outside failed; the last one repeats."""
KEPT_HEADERS = ("reply-to", "event-id", "traceparent")


@dataclass(slots=True)
class Progress:
    """What a stream has done since it started."""

    read: int = 0
    answered: int = 0
    dead: int = 0
    batches: int = 0


class Stream:
    """One topic through one pipeline. An event is committed only when its answer or its dead letter is written."""

    def __init__(self, spec: StreamSpec, broker: Broker, inference: Inference) -> None:
        self.spec = spec
        self.state: State = "running"
        self.reason = ""
        self.progress = Progress()
        self._broker = broker
        self._inference = inference
        self._resumed = asyncio.Event()
        self._resumed.set()
        use = spec.pipeline if isinstance(spec.pipeline, ModelUse) else ModelUse(spec.pipeline)
        self.asked = Asked(use.name, use.version)

    def pause(self) -> None:
        """Read no further; the window under way is finished."""
        self.state = "paused"
        self._resumed.clear()

    def resume(self) -> None:
        """Go on."""
        self.state = "running"
        self._resumed.set()

    async def publish(self, rows: Sequence[Any], headers: Mapping[str, str] | None = None) -> int:
        """Put events into the stream's topic; returns how many. Raises Overloaded when it is full."""
        messages = [Message(msgspec.json.encode(row), headers or {}) for row in rows]
        await self._broker.write(self.spec.topics[0], messages)
        return len(messages)

    def results(self) -> AsyncGenerator[Message]:
        """Results and dead letters from this call on, as they are written."""
        return _merged([self._broker.follow(topic) for topic in self.spec.topics[1:]])

    async def run(self) -> None:
        """Work until cancelled. A window that cannot be written is tried again: nothing is lost, nothing skipped."""
        topic, group = self.spec.topics[0], f"headrace.{self.spec.name}"
        window = self.spec.window
        while True:
            await self._resumed.wait()
            events = await self._broker.read(topic, group, window.max_events, window.max_ms / 1e3)
            if not events:
                return
            await self._until_written(events)
            await self._broker.commit(topic, group, events[-1].position)

    async def _until_written(self, events: Sequence[Event]) -> None:
        for attempt in range(2**31):
            try:
                await self._window(events)
                if self.state == "failed":
                    self.state, self.reason = "running", ""
                return
            except EngineError as error:
                self.state, self.reason = "failed", error.message
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])

    async def _window(self, events: Sequence[Event]) -> None:
        ref = self._inference.resolve(self.asked).ref
        outcomes = await self.outcomes(ref, events)
        retryable = [one for one in outcomes if isinstance(one, DependencyFailure)]
        if retryable:
            raise retryable[0]
        _, results, dead_letters = self.spec.topics
        answered = [pair for pair in zip(events, outcomes, strict=True) if not isinstance(pair[1], EngineError)]
        failed = [pair for pair in zip(events, outcomes, strict=True) if isinstance(pair[1], EngineError)]
        await self._broker.write(results, [self._answer(event, row, ref) for event, row in answered])
        await self._broker.write(dead_letters, [self._dead_letter(event, error) for event, error in failed])
        self.progress.read += len(events)
        self.progress.answered += len(answered)
        self.progress.dead += len(failed)
        self.progress.batches += 1

    async def outcomes(self, ref: PipelineRef, events: Sequence[Event]) -> list[Outcome]:
        """A row or an error for each event, in order."""
        rows: list[Any] = []
        errors: dict[int, EngineError] = {}
        for number, event in enumerate(events):
            try:
                rows.append(msgspec.json.decode(event.message.value))
            except (msgspec.DecodeError, RecursionError) as error:
                errors[number] = InvalidRequest(f"the event is not valid JSON: {error}")
        pipeline = self._inference.engine.registry.get(ref).pipeline
        answers: list[Outcome] = []
        if rows:
            answers = await self._answers(ref, pipeline, rows)
        left = iter(answers)
        return [errors[number] if number in errors else next(left) for number in range(len(events))]

    async def _answers(self, ref: PipelineRef, pipeline: Any, rows: list[Any]) -> list[Outcome]:
        try:
            inputs = rows_to_inputs(pipeline, rows)
        except InvalidInput:
            return [self._why_not(pipeline, row) for row in rows]
        request = RequestContext(door="stream", mode="stream", options=self.spec.options)
        done = await self._inference.engine.run(ref, Batch(inputs.columns, inputs.rows), request)
        answered = iter(done.outcomes())
        return [inputs.failures[row] if row in inputs.failures else next(answered) for row in range(len(rows))]

    @staticmethod
    def _why_not(pipeline: Any, row: Any) -> EngineError:
        try:
            rows_to_inputs(pipeline, [row])
        except InvalidInput as error:
            return error
        raise AssertionError("a row was refused among others and is accepted alone")

    def _answer(self, event: Event, row: Any, ref: PipelineRef) -> Message:
        body = {"pipeline": ref.name, "version": ref.version, "position": event.position, "outputs": jsonable(row)}
        return Message(msgspec.json.encode(body), _kept(event.message.headers))

    def _dead_letter(self, event: Event, error: Any) -> Message:
        value = event.message.value.decode("utf-8", "replace")
        body = {
            "error": {"code": error.code, "message": error.message},
            "position": event.position,
            "value": value,
        }
        return Message(msgspec.json.encode(body), _kept(event.message.headers))


async def _merged(followed: Sequence[AsyncGenerator[Event]]) -> AsyncGenerator[Message]:
    queue: asyncio.Queue[Message] = asyncio.Queue(1024)

    async def pump(events: AsyncGenerator[Event]) -> None:
        async for event in events:
            await queue.put(event.message)

    pumps = [asyncio.create_task(pump(events)) for events in followed]
    try:
        while True:
            yield await queue.get()
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in KEPT_HEADERS if name in headers}


class Streams:
    """All streams of a workspace, each with a task of its own."""

    def __init__(self, broker: Broker, inference: Inference) -> None:
        self._broker = broker
        self._inference = inference
        self._streams: dict[str, Stream] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Stream]:
        return iter([self._streams[name] for name in sorted(self._streams)])

    def get(self, name: str) -> Stream:
        """The stream *name*. Raises NotFound."""
        if name not in self._streams:
            raise NotFound(f"no stream {name!r}; there are: {', '.join(sorted(self._streams)) or 'none'}")
        return self._streams[name]

    def start(self, specs: Iterable[StreamSpec]) -> None:
        """Run the streams of *specs*."""
        for spec in specs:
            stream = self._streams[spec.name] = Stream(spec, self._broker, self._inference)
            self._tasks[spec.name] = asyncio.get_running_loop().create_task(stream.run())

    async def stop(self) -> None:
        """Stop reading; what was read and not committed is read again by whoever comes next."""
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._broker.close()
