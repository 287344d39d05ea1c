"""``idempotency-key`` in the metadata: how is an inference that may come twice answered once?"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc

from headrace.adapters.grpc.caller import admit, deadline_of
from headrace.adapters.grpc.door import Call, Door
from headrace.adapters.keyed import LARGEST_KEPT, WAIT_S, digest, key_of, shown_by, spent
from headrace.domain.ports import KeptAnswer
from headrace.services.idempotency import Idempotency

KEY: Final = "idempotency-key"
REPLAYED: Final = (("idempotent-replayed", "true"),)
"""Stands in the trailing metadata of an answer that was given before."""

Answer = Callable[[bytes, Any], Awaitable[bytes]]


def has_key(metadata: Sequence[tuple[str, Any]] | None) -> bool:
    """Whether a call with this *metadata* is to be answered once."""
    return any(name == KEY for name, _ in metadata or ())


class KeyedCalls:
    """Answers calls of *method* that have a key by *answer*, or as they were answered before."""

    def __init__(self, idempotency: Idempotency, door: Door, method: str, answer: Answer) -> None:
        self._idempotency = idempotency
        self._door = door
        self._method = method.encode()
        self._answer = answer

    async def answer(self, message: bytes, context: Any) -> bytes:
        """The answer to *message*, which has to come byte for byte as it came first."""
        door, call = self._door, Call(context)
        door.in_flight += 1
        try:
            door.require_open()
            call.caller = admit(door.credentials, call.metadata)
            return await self._once(message, call)
        except grpc.aio.AbortError:  # the call has failed, and its caller knows why
            raise
        except BaseException as error:
            await door.fail(call, error)
        finally:
            door.in_flight -= 1

    async def _once(self, message: bytes, call: Call) -> bytes:
        metadata, whole = call.metadata, b""
        shown = shown_by(metadata.bytes_of("x-api-key"), metadata.bytes_of("authorization"))
        key = key_of(metadata.bytes_of(KEY) or b"", shown, self._method)
        deadline = deadline_of(call.context) or time.monotonic() + WAIT_S

        async def work() -> KeptAnswer:
            nonlocal whole
            self._door.in_flight -= 1  # it is counted where it is answered
            try:
                whole = await self._answer(message, call.context)
            finally:
                self._door.in_flight += 1
            return KeptAnswer(200, (), whole if len(whole) <= LARGEST_KEPT else None)

        answer, replayed = await self._idempotency.once(key, digest(message), deadline, work)
        if not replayed:
            return whole
        if answer.body is None:
            raise spent()
        call.context.set_trailing_metadata(REPLAYED)
        return answer.body
