"""What did the client send? Bodies are bounded before they are read, unpacked within the same bound, and decoded."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from headrace.adapters.http.call import Call, ClientLeft
from headrace.domain.errors import InvalidRequest, TooLarge, UnsupportedMedia
from headrace.domain.parameters import nearest

T = TypeVar("T")

# What zlib wants to be told of each encoding: 15 bits of window, and 16 more for the header that gzip has.
_PACKED: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
MAX_MEMBERS: Final = 1000
"""Parts that a packed body may consist of: empty ones cost time, and no other limit counts them."""
PIECE: Final = 65_536
MAX_QUOTED: Final = 1000
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(?P<name>.*?)`(?: - at `(?P<place>.*)`)?", re.DOTALL)


async def read_body(call: Call, limit: int) -> bytes:
    """The whole body, unpacked. Raises TooLarge past *limit* bytes, at once when the length is declared.

    Raises ClientLeft when the connection ends before the body does.
    """
    declared = call.headers.get(b"content-length")
    if declared is not None and int(declared) > limit:
        raise too_large(call, limit, f"{int(declared)} bytes were announced")
    message = await call.receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(call, body, limit)
    elif len(body) > limit:
        raise too_large(call, limit, f"{len(body)} bytes came")
    if b"content-encoding" in call.headers:
        body = await unpacked(call, body, limit)
    if call.stopwatch is not None:
        call.stopwatch.mark("read")
    return body


async def _rest(call: Call, first: bytes, limit: int) -> bytes:
    parts = [first]
    size = len(first)
    more = True
    while more:
        if size > limit:
            raise too_large(call, limit, f"more than {limit} bytes came")
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    if size > limit:
        raise too_large(call, limit, f"{size} bytes came")
    return b"".join(parts)


async def unpacked(call: Call, body: bytes, limit: int) -> bytes:
    """*body* without its ``Content-Encoding``; a small packed body must not become a huge one here."""
    encoding = call.headers[b"content-encoding"].strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if (form := _PACKED.get(encoding)) is None:
        raise UnsupportedMedia(
            f"Content-Encoding {encoding.decode('latin-1')[:40]!r} is not read here; gzip and deflate are"
        )
    try:
        plain = await asyncio.to_thread(_unpack, body, limit, form)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not valid {encoding.decode()}: {error}") from None
    if len(plain) > limit:
        raise too_large(call, limit, "the unpacked body is longer")
    return plain


def _unpack(body: bytes, limit: int, form: int) -> bytes:
    """At most *limit* + 1 bytes of what *body* unpacks to; it may consist of several members."""
    parts: list[bytes] = []
    left, start, members = limit + 1, 0, 0
    while start < len(body) and left > 0:
        members += 1
        if members > MAX_MEMBERS:
            raise zlib.error(f"it consists of more than {MAX_MEMBERS} parts")
        member = zlib.decompressobj(form)
        while not member.eof and left > 0:
            # In pieces: what follows a member is copied, and must not be all the rest, once for each.
            packed = member.unconsumed_tail or body[start : start + PIECE]
            if not packed:
                raise zlib.error("it ends early")
            if not member.unconsumed_tail:
                start += len(packed)
            part = member.decompress(packed, left)
            parts.append(part)
            left -= len(part)
        start -= len(member.unused_data)
    return b"".join(parts)


def too_large(call: Call, limit: int, found: str) -> TooLarge:
    """The refusal of a body; what is left of it is not read, so the connection ends with the answer."""
    call.closing = True
    return TooLarge(f"the body may have {limit} bytes (api.max_body_mb), and {found}", details={"limit_bytes": limit})


def media_type(call: Call) -> bytes:
    """The media type of the body in lower case, without parameters; empty if none is stated."""
    return call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def require_json(call: Call) -> None:
    """Raises UnsupportedMedia if the body is declared to be something other than JSON."""
    given = call.headers.get(b"content-type")
    if given is None or given == b"application/json":
        return
    media = media_type(call)
    if media in (b"", b"application/json") or (media.startswith(b"application/") and media.endswith(b"+json")):
        return
    raise UnsupportedMedia(f"this call reads application/json, not {media.decode('latin-1')[:80]!r}")


def decode(body: bytes, decoder: msgspec.json.Decoder[T], fields: Sequence[str]) -> T:
    """*body* as *decoder* wants it; *fields* are the names that the envelope has.

    Raises InvalidRequest, which says where the JSON breaks or which field is wrong.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_explained(str(error)[:MAX_QUOTED], fields)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_position(str(error), body)) from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deep") from None


def _explained(message: str, fields: Sequence[str]) -> str:
    found = _UNKNOWN_FIELD.search(message)
    if found is None:
        return f"the request does not have the form that is wanted: {message}"
    place = f" at {found['place']}" if found["place"] else ""
    name = found["name"]
    return f"unknown field {name!r}{place}{nearest(name, fields)}; there are: {', '.join(fields)}"


def _position(message: str, body: bytes) -> str:
    if not body:
        return "the body is empty; JSON is wanted"
    if "truncated" in message:
        return f"the body is not JSON: it ends early, after {len(body)} bytes"
    return f"the body is not JSON: {message.removeprefix('JSON is malformed: ')}"


def decode_anything(body: bytes) -> Any:
    """*body* as any JSON value; an empty body is an empty object."""
    return decode(body, _ANYTHING, ()) if body.strip() else {}


_ANYTHING: Final = msgspec.json.Decoder(Any)
