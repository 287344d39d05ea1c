"""What happens around every call: access, failures, and an end when the server cannot wait any longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

from headrace.adapters.credentials import Token
from headrace.adapters.disclosure import meaning_of
from headrace.adapters.grpc.caller import Metadata, admit, request_id_of
from headrace.adapters.grpc.errors import STATUS, text_of, trailers_of
from headrace.core.logging import logger, request_id
from headrace.domain.errors import EngineError, NotReady
from headrace.services.measures import Measures

log = logger(__name__)

NAME: Final = "grpc"
"""What this door is called in measures."""


class Call:
    """One call on its way through the door. *uncounted* marks an inference that no service has measured yet."""

    __slots__ = ("_id", "_metadata", "context", "uncounted")

    def __init__(self, context: Any) -> None:
        self.context = context
        self.uncounted = False
        self._metadata: Metadata | None = None
        self._id = ""

    @property
    def metadata(self) -> Metadata:
        """What came with the call; looked at only where it matters, for gRPC takes its time to make it."""
        if self._metadata is None:
            self._metadata = Metadata(self.context)
        return self._metadata

    @property
    def id(self) -> str:
        """The request's id."""
        if not self._id:
            self._id = request_id_of(self.metadata)
            request_id.set(self._id)
        return self._id


Unary = Callable[[bytes, Call], Awaitable[bytes]]
Streaming = Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]]


class Door:
    """Lets calls in and tells their failures. *ready* is whether calls should be sent here."""

    def __init__(self, token: Token | None, measures: Measures, ready: Callable[[], bool]) -> None:
        self.draining = False
        self._token = token
        self._measures = measures
        self._ready = ready
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._streams_end = False

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here."""
        return not self.draining and self._ready()

    @property
    def in_flight(self) -> int:
        """How many calls are being answered."""
        return len(self._tasks)

    def give_up(self) -> int:
        """Tell everybody who still waits that no answer will come; returns how many they are."""
        return self._end(self._tasks - self._ended)

    def end_streams(self) -> None:
        """End every stream as soon as it has answered what it has."""
        self._streams_end = True
        self._end(self._waiting)

    def _end(self, tasks: set[asyncio.Task[Any]]) -> int:
        for task in tasks:
            self._ended.add(task)
            task.cancel()
        return len(tasks)

    async def next_of(self, messages: AsyncIterator[bytes]) -> bytes | None:
        """The next message of a stream; None at its end. Raises NotReady when the server stops."""
        if self._streams_end:
            raise _stopped()
        task = _current()
        self._waiting.add(task)
        try:
            return await anext(messages, None)
        finally:
            self._waiting.discard(task)

    def unary(self, method: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """*method* behind this door."""

        async def answer(message: bytes, context: Any) -> bytes:
            call = Call(context)
            task = _current()
            self._tasks.add(task)
            try:
                if self._token is not None:
                    admit(self._token, call.metadata)
                return await method(message, call)
            except BaseException as error:
                await self._fail(call, error)
            finally:
                self._tasks.discard(task)

        return answer

    def streaming(self, method: Streaming) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        """*method*, which answers a stream of messages with another, behind this door."""

        async def answer(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            call = Call(context)
            task = _current()
            self._tasks.add(task)
            try:
                admit(self._token, call.metadata)
                async for one in method(messages, call):
                    yield one
            except BaseException as error:
                await self._fail(call, error)
            finally:
                self._tasks.discard(task)

        return answer

    async def _fail(self, call: Call, error: BaseException) -> NoReturn:
        """End *call* as *error* means; a caller who left learns nothing."""
        task = _current()
        if isinstance(error, asyncio.CancelledError) and task in self._ended:
            self._ended.discard(task)
            task.uncancel()
            error = _stopped()
        elif not isinstance(error, Exception):
            raise error
        meaning = self.meant(call, error)
        await call.context.abort(STATUS[meaning.code], text_of(meaning), trailers_of(meaning, call.id))
        raise AssertionError("abort raises")

    def meant(self, call: Call, error: Exception) -> EngineError:
        """What *error* means to the caller; logged where somebody has to look at it, and counted."""
        meaning = meaning_of(error)
        if meaning.code == "internal":
            log.error("a request failed", request_id=call.id, exc_info=error)
        elif meaning.code == "model_failure":
            log.warning("a model failed", error=meaning.message, request_id=call.id, exc_info=error.__cause__)
        if call.uncounted:
            call.uncounted = False
            self._measures.request(None, "request", NAME, meaning.code, 0.0)
        return meaning


def _stopped() -> NotReady:
    return NotReady("the server stopped before this request was answered")


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "calls run as tasks"
    return task
