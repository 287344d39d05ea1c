"""What came with a V2 call: a body of JSON, or one with raw tensors behind the JSON?"""

from __future__ import annotations

from typing import Final

import numpy as np

from headrace.adapters.http.body import media_type, read_body, require_json, too_large
from headrace.adapters.http.call import Call, ClientLeft
from headrace.adapters.http.open_inference_answers import HEAD
from headrace.domain.errors import InvalidRequest

# What Triton's asyncio client and curl say of any body when nobody tells them better.
_UNTOLD: Final = (b"application/octet-stream", b"application/x-www-form-urlencoded")

WORTH_PLACING: Final = 16_384
"""Bytes below which another copy costs less than finding the right place for the first one."""
ALIGNED: Final = 64
"""Bytes that the place of a tensor in memory is a multiple of: models compute on it where it lies."""


def require_readable(call: Call) -> None:
    """Raises UnsupportedMedia if the body is declared to be neither JSON nor what clients say of anything."""
    if media_type(call) not in _UNTOLD:
        require_json(call)


def head_length(call: Call) -> int | None:
    """How many bytes of the body are JSON, where tensors follow them; None: all. Raises InvalidRequest."""
    given = call.headers.get(HEAD)
    if given is None:
        return None
    if not given.isdigit() or len(given) > 18:
        raise InvalidRequest(
            f"Inference-Header-Content-Length wants a number of bytes, not {given.decode('latin-1')[:40]!r}"
        )
    return int(given)


async def read_tensors(call: Call, head: int, limit: int) -> bytes | memoryview:
    """The whole body. A large one lies in memory such that what follows its first *head* bytes can be used as it is.

    It is copied there once, as it comes. Raises what `read_body` raises, and InvalidRequest for one that is longer
    than it was announced.
    """
    declared = int(call.headers.get(b"content-length", b"0"))
    if declared < WORTH_PLACING or b"content-encoding" in call.headers:
        return await read_body(call, limit)
    if declared > limit:
        raise too_large(call, limit, f"{declared} bytes were announced")
    space = np.empty(declared + ALIGNED, np.uint8)
    start = -(space.ctypes.data + head) % ALIGNED
    body = space.data[start : start + declared]
    length = await _fill(call, body)
    if call.stopwatch is not None:
        call.stopwatch.mark("read")
    return body[:length]


async def _fill(call: Call, body: memoryview) -> int:
    """Write the body into *body*; returns how many bytes came."""
    position, more = 0, True
    while more:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        stop = position + len(part)
        if stop > len(body):
            raise InvalidRequest(f"the body is longer than the {len(body)} bytes that were announced")
        body[position:stop] = part
        position, more = stop, message.get("more_body", False)
    return position
