"""What happens around every call: access, failures, and an end when the server cannot wait any longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

from headrace.adapters.credentials import Credentials
from headrace.adapters.disclosure import meaning_of
from headrace.adapters.grpc.caller import Metadata, admit, request_id_of
from headrace.adapters.grpc.errors import STATUS, text_of, trailers_of
from headrace.core.logging import logger, request_id
from headrace.domain.errors import EngineError, NotReady
from headrace.services.context import ANYBODY, Caller

log = logger(__name__)

NAME: Final = "grpc"
"""What this door is called in measures."""


class Call:
    """One call on its way through the door."""

    __slots__ = ("_id", "caller", "context", "metadata")

    def __init__(self, context: Any) -> None:
        self.context = context
        self.metadata = Metadata(context)
        self.caller: Caller = ANYBODY
        self._id = ""

    @property
    def id(self) -> str:
        """The request's id."""
        if not self._id:
            self._id = request_id.get() or request_id_of(self.metadata)
            request_id.set(self._id)
        return self._id


Unary = Callable[[bytes, Call], Awaitable[bytes]]
Streaming = Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]]


class Door:
    """Lets calls in and tells their failures.

    *in_flight* calls are being answered, *refused* ones came after the door was *closed*.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        refused: Callable[[str, EngineError, str], None],
        ready: Callable[[], bool],
    ) -> None:
        """*refused* is told the door, the error and the request's id of a call that no service has counted."""
        self.credentials = credentials
        self.draining = False
        self.in_flight = 0
        self.closed = False
        self.refused = 0
        self._refused = refused
        self._ready = ready
        self._idle: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here."""
        return not self.draining and self._ready()

    def require_open(self) -> None:
        """Raises NotReady for a call that comes after the end was announced."""
        if self.closed:
            self.refused += 1
            raise _stopping()

    def close(self) -> None:
        """Refuse calls from now on, and end every stream as soon as it has answered what it has."""
        self.closed = True
        for task in self._idle:
            self._ended.add(task)
            task.cancel()

    async def next_of(self, messages: AsyncIterator[bytes]) -> bytes | None:
        """The next message of a stream; None at its end. Raises NotReady when the server stops."""
        task = asyncio.current_task()
        if self.closed or task is None:
            raise _stopping()
        self._idle.add(task)
        try:
            return await anext(messages, None)
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise _stopping() from None
        finally:
            self._idle.discard(task)
            self._ended.discard(task)

    def unary(self, method: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """*method* behind this door."""

        async def answer(message: bytes, context: Any) -> bytes:
            call = Call(context)
            self.in_flight += 1
            try:
                self.require_open()
                call.caller = admit(self.credentials, call.metadata)
                return await method(message, call)
            except BaseException as error:
                await self.fail(call, error)
            finally:
                self.in_flight -= 1

        return answer

    def streaming(self, method: Streaming) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        """*method*, which answers a stream of messages with another, behind this door."""

        async def answer(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            call = Call(context)
            self.in_flight += 1
            try:
                self.require_open()
                call.caller = admit(self.credentials, call.metadata)
                async for one in method(messages, call):
                    yield one
            except Exception as error:
                await self.fail(call, error)
            finally:
                self.in_flight -= 1

        return answer

    async def fail(self, call: Call, error: BaseException, *, counted: bool = True) -> NoReturn:
        """End *call* as *error* means."""
        if not isinstance(error, Exception):
            raise error
        meaning = self.meant(call, error, counted=counted)
        await call.context.abort(STATUS[meaning.code], text_of(meaning), trailers_of(meaning, call.id))
        raise AssertionError("abort raises")

    def meant(self, call: Call, error: Exception, *, counted: bool = True) -> EngineError:
        """What *error* means to the caller; logged where somebody has to look at it.

        That of a request for inference which no service has *counted* is counted here.
        """
        meaning = meaning_of(error)
        if not counted:
            self._refused(NAME, meaning, call.id)
        if meaning.code == "internal":
            log.error("a request failed", request_id=call.id, exc_info=error)
        elif meaning.code == "model_failure":
            log.warning("a model failed", error=meaning.message, request_id=call.id, exc_info=error.__cause__)
        return meaning


def _stopping() -> NotReady:
    return NotReady("the server is stopping")
