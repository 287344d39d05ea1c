"""The micro-batch use case: read a window of events, run it, write results and dead letters, then commit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec

from headrace.core.logging import logger
from headrace.core.telemetry import Trace
from headrace.domain.batch import Batch, Outcome
from headrace.domain.errors import DependencyFailure, EngineError, InvalidInput, InvalidRequest, ModelFailure, NotFound
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Broker, Event, Message
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked
from headrace.domain.spec import ModelUse, StreamSpec
from headrace.services.context import RequestContext
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs
from headrace.services.outcomes import jsonable
from headrace.services.second_look import run_fairly

log = logger(__name__)

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
        self.reason = ""
        """Why the window under way could not be written yet; empty while all goes well."""
        self.progress = Progress()
        self._broker = broker
        self._inference = inference
        self._group = f"headrace.{spec.name}"
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._committed = asyncio.Event()
        self._hurried = False
        self._reading: asyncio.Task[Sequence[Event]] | None = None
        self.use = spec.pipeline if isinstance(spec.pipeline, ModelUse) else ModelUse(spec.pipeline)

    def pipeline(self) -> Pipeline:
        """What answers a window now: another one may meet another version. Raises what `Inference.choose` raises."""
        return self._inference.choose(Asked(self.use.name, self.use.version)).pipeline

    @property
    def state(self) -> State:
        """Whether it works, was told to stop, or tries again and again because of *reason*."""
        if not self._resumed.is_set():
            return "paused"
        return "failed" if self.reason else "running"

    @property
    def lag(self) -> int:
        """How many events of its topic are not committed yet."""
        return self._broker.lag(self.spec.topics[0], self._group)

    def takes(self, name: str) -> bool:
        """Whether *name* is an input of its pipeline; False as well while that is not loaded."""
        try:
            return name in self.pipeline().inputs
        except EngineError:
            return False

    def pause(self) -> None:
        """Read no further; the window under way is finished."""
        self._resumed.clear()

    def resume(self) -> None:
        """Go on."""
        self._resumed.set()

    def hurry(self) -> None:
        """Wait no more for windows to fill: the end is near."""
        self._hurried = True
        if self._reading is not None:
            self._reading.cancel()

    async def publish(self, rows: Sequence[Any], headers: Mapping[str, str] | None = None) -> int:
        """Put events into the stream's topic; returns how many. Raises Overloaded when it is full."""
        messages = [Message(msgspec.json.encode(row), headers or {}) for row in rows]
        await self._broker.write(self.spec.topics[0], messages)
        return len(messages)

    def results(self) -> AsyncGenerator[Message]:
        """Results and dead letters from this call on, as they are written."""
        return _merged([self._broker.follow(topic) for topic in self.spec.topics[1:]])

    async def drained(self) -> None:
        """Wait until every event is committed; a stream that is paused will not get there and is not waited for."""
        self.hurry()
        while True:
            self._committed.clear()
            if self.state == "paused" or not self.lag:
                return
            await self._committed.wait()

    async def run(self) -> None:
        """Work until cancelled. A window that cannot be written is tried again: nothing is lost, nothing skipped."""
        topic = self.spec.topics[0]
        self._broker.rewind(topic, self._group)
        while True:
            await self._resumed.wait()
            events = await self._read()
            if not events:
                return
            await self._resumed.wait()
            await self._until_written(events)
            await self._broker.commit(topic, self._group, events[-1].position)
            self._committed.set()

    async def _read(self) -> Sequence[Event]:
        while True:
            self._reading = asyncio.get_running_loop().create_task(self._read_once())
            try:
                return await self._reading
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                # `hurry` cut the wait short
            finally:
                self._reading = None

    async def _read_once(self) -> Sequence[Event]:
        topic, window = self.spec.topics[0], self.spec.window
        longest = 0.0 if self._hurried else window.max_ms / 1e3
        return await self._broker.read(topic, self._group, window.max_events, longest)

    async def _until_written(self, events: Sequence[Event]) -> None:
        for attempt in range(2**31):
            try:
                await self._window(events)
                self.reason = ""
                return
            except EngineError as error:
                if not self.reason:
                    log.warning("a stream waits", stream=self.spec.name, reason=error.message)
                self.reason = error.message
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])

    async def _window(self, events: Sequence[Event]) -> None:
        started = time.monotonic()
        ref = self.pipeline().ref
        witness = self._inference.engine.witness
        trace = None if witness is None else witness.window(event.message.headers for event in events)
        outcomes = await self.outcomes(ref, events, trace)
        retryable = [one for one in outcomes if isinstance(one, DependencyFailure)]
        if retryable:
            raise retryable[0]
        answers: list[Message] = []
        letters: list[Message] = []
        codes: list[str] = []
        for event, outcome in zip(events, outcomes, strict=True):
            found = self._answer(event, outcome, ref)
            codes.append(found.code if isinstance(found, EngineError) else "ok")
            if isinstance(found, EngineError):
                letters.append(self._dead_letter(event, found))
            else:
                answers.append(found)
        _, results, dead_letters = self.spec.topics
        await self._broker.write(results, answers)
        await self._broker.write(dead_letters, letters)
        self.progress.read += len(events)
        self.progress.answered += len(answers)
        self.progress.dead += len(letters)
        self.progress.batches += 1
        took = time.monotonic() - started
        for code in codes:
            self._inference.measures.request(ref, "stream", "stream", code, took)
        if witness is not None and trace is not None:
            witness.windowed(trace, self.spec.name, self.spec.topics[0], len(events), len(letters), started)

    async def outcomes(self, ref: PipelineRef, events: Sequence[Event], trace: Trace | None = None) -> list[Outcome]:
        """A row or an error for each event, in order."""
        rows: list[Any] = []
        errors: dict[int, EngineError] = {}
        for number, event in enumerate(events):
            try:
                rows.append(msgspec.json.decode(event.message.value))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                errors[number] = InvalidRequest(f"the event is not valid JSON: {error}")
        pipeline = self._inference.engine.registry.get(ref).pipeline
        answers: list[Outcome] = []
        if rows:
            answers = await self._answers(ref, pipeline, rows, trace)
        left = iter(answers)
        return [errors[number] if number in errors else next(left) for number in range(len(events))]

    async def _answers(self, ref: PipelineRef, pipeline: Any, rows: list[Any], trace: Trace | None) -> list[Outcome]:
        try:
            inputs = rows_to_inputs(pipeline, rows)
        except InvalidInput:
            return [self._why_not(pipeline, row) for row in rows]
        request = RequestContext(door="stream", mode="stream", options=self.spec.options, trace=trace)
        done = await run_fairly(self._inference.engine, ref, Batch(inputs.columns, inputs.rows), request)
        answered = iter(done.outcomes())
        return [inputs.failures[row] if row in inputs.failures else next(answered) for row in range(len(rows))]

    @staticmethod
    def _why_not(pipeline: Any, row: Any) -> EngineError:
        try:
            rows_to_inputs(pipeline, [row])
        except InvalidInput as error:
            return error
        raise AssertionError("a row was refused among others and is accepted alone")

    def _answer(self, event: Event, outcome: Outcome, ref: PipelineRef) -> Message | EngineError:
        """The message for *outcome*, or why there is none: one that has no JSON form must not hold up the stream."""
        if isinstance(outcome, EngineError):
            return outcome
        try:
            row = jsonable(outcome)
            body = {"pipeline": ref.name, "version": ref.version, "position": event.position, "outputs": row}
            return Message(msgspec.json.encode(body), _kept(event.message.headers))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return ModelFailure(f"the answer cannot be written as JSON: {error}")

    def _dead_letter(self, event: Event, error: EngineError) -> Message:
        value = event.message.value.decode("utf-8", "replace")
        body = {
            "error": {"code": error.code, "message": error.message},
            "position": event.position,
            "value": value,
        }
        return Message(msgspec.json.encode(body), _kept(event.message.headers))


async def _merged(followed: Sequence[AsyncGenerator[Event]]) -> AsyncGenerator[Message]:
    queue: asyncio.Queue[Message | None] = asyncio.Queue(1024)

    async def pump(events: AsyncGenerator[Event]) -> None:
        async for event in events:
            await queue.put(event.message)
        await queue.put(None)

    pumps = [asyncio.create_task(pump(events)) for events in followed]
    left = len(pumps)
    try:
        while left:
            message = await queue.get()
            if message is None:
                left -= 1
            else:
                yield message
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
            task = self._tasks[spec.name] = asyncio.get_running_loop().create_task(stream.run())
            task.add_done_callback(partial(_ended, stream))

    async def follow(self, specs: Iterable[StreamSpec]) -> None:
        """Run the streams of *specs* and no others; one that was changed goes on with what it had not committed."""
        wanted = {spec.name: spec for spec in specs}
        gone = [name for name, stream in self._streams.items() if wanted.get(name) != stream.spec]
        await self._end([self._tasks.pop(name) for name in gone])
        for name in gone:
            del self._streams[name]
        self.start(spec for name, spec in wanted.items() if name not in self._streams)

    async def drain(self, limit_s: float) -> int:
        """Finish what is in the topics within *limit_s*; returns how many events are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(stream.drained() for stream in self)), limit_s)
        return sum(stream.lag for stream in self)

    async def stop(self) -> None:
        """Stop reading; what was read and not committed is read again by whoever comes next."""
        await self._end(list(self._tasks.values()))
        await self._broker.close()

    @staticmethod
    async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ended(stream: Stream, task: asyncio.Task[None]) -> None:
    """A stream that ends by a fault of ours says so, here and in its status."""
    if not task.cancelled() and (error := task.exception()) is not None:
        stream.reason = "it ended by a fault; the log has it"
        log.error("a stream ended", stream=stream.spec.name, exc_info=error)
