"""One HTTP request on its way through the door: its headers, its id, its deadline, and how it is answered."""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from headrace.adapters.explaining import Stopwatch
from headrace.adapters.http.errors import failure_at, headers_at, status_of
from headrace.adapters.http.rendering import to_json, with_details
from headrace.domain.errors import EngineError, InvalidRequest, ModelFailure
from headrace.services.choice import Choice
from headrace.services.context import ANYBODY

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]
Reply = Callable[[int, HeaderList, bytes], None]
"""Sends a whole answer at once, where the server can: what two messages to `Send` would do."""
Usual = Callable[[bytes, bytes], None]
"""Sends the JSON of a success under a request id, where the server can and nothing else is to be said."""

Answered = tuple[bytes, bytes, Sequence[tuple[bytes, bytes]]]
"""The body of an answer, its media type, and headers that it needs."""

JSON: Final = b"application/json"
MAX_ID: Final = 128
WORTH_PACKING: Final = 1400
"""Bytes below which an answer fits one network packet anyway."""
PACK_OFF_LOOP: Final = 65_536
"""Bytes above which packing takes milliseconds, which neighbours should not wait for."""
MAX_TIMEOUT_MS: Final = 7 * 24 * 3600 * 1000.0


class ClientLeft(Exception):
    """The client closed the connection; nobody is left to answer."""


class Wishes:
    """What headers say of how a request wants to be answered: *texts* are all of them, for who routes by them.

    It depends on the headers alone, and is read once for those that come again.
    """

    __slots__ = ("fresh", "gzip", "routing_key", "says_json", "texts", "timeout_ms", "traceparent")

    def __init__(self, headers: Mapping[bytes, bytes], texts: Mapping[str, str]) -> None:
        key = headers.get(b"x-routing-key")
        self.texts = texts
        self.traceparent = texts.get("traceparent")
        self.timeout_ms = headers.get(b"x-timeout-ms")
        self.routing_key = key.decode("latin-1") if key is not None else None
        self.fresh = b"no-cache" in headers.get(b"cache-control", b"")
        self.gzip = b"gzip" in headers.get(b"accept-encoding", b"")
        self.says_json = headers.get(b"content-type", JSON) == JSON
        """By what nearly all clients say of their body, or because they say nothing."""


class Call:
    """A request and its answer. *headers* have lower-case names; of a repeated header the last one counts.

    *closing* ends the connection with the answer; *uncounted* marks an inference that no service has measured yet, and
    *choice* is what answers it, once that is known; *packs* lets an answer be compressed for a client that offers to
    unpack it. There is a *stopwatch* if the query asks for an explanation. *wishes* are what the headers say, where
    that was read before.
    """

    # Here rather than in `__init__`: a call is made for every request, and most of this stays as it is.
    reply: Reply | None = None
    usual: Usual | None = None
    request_id = ""
    caller = ANYBODY
    choice: Choice | None = None
    cross_origin: bytes | None = None
    closing = started = answered = departed = uncounted = False
    stopwatch: Stopwatch | None = None
    task: asyncio.Task[Any] | None = None
    watch: asyncio.Task[None] | None = None

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        wishes: Wishes | None = None,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers = headers
        self.wishes = wishes or Wishes(headers, Headers(headers))
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        if scope.get("query_string") and self.asks("explain"):
            self.stopwatch = Stopwatch()
        # Triton's asyncio client offers to unpack whatever comes, and then does so with tensors alone.
        self.packs = not self.path.startswith("/v2/")

    def deadline(self) -> float | None:
        """When the caller stops waiting, in seconds of the monotonic clock. Raises InvalidRequest."""
        given = self.wishes.timeout_ms
        if given is None:
            return None
        try:
            milliseconds = float(given)
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds <= MAX_TIMEOUT_MS:
            raise InvalidRequest(
                f"X-Timeout-Ms wants a positive number of milliseconds, not {given.decode('latin-1')[:40]!r}"
            )
        return time.monotonic() + milliseconds / 1000

    def query(self) -> dict[str, str]:
        """The parameters after the question mark; of a repeated one the last counts."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    def asks(self, name: str) -> bool:
        """Whether the query says ``name=1`` (or true, or yes)."""
        query = self.scope["query_string"]
        return bool(query) and self.query().get(name, "").lower() in ("1", "true", "yes")

    async def fail(self, error: EngineError) -> None:
        """Answer with *error* in the form that the path's protocol has."""
        content = failure_at(self.path, error, self.request_id)
        try:
            body = to_json(content)
        except ModelFailure:  # details that have no JSON form must not hide what went wrong
            body = to_json(failure_at(self.path, with_details(error, error.message, {}), self.request_id))
        await self.answer(body, status_of(error), JSON, headers_at(self.path, error))

    async def answer_json(self, content: Any, status: int = 200, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer with *content*, in which arrays may stand."""
        await self.answer(to_json(content), status, JSON, extra)

    async def answer(
        self, body: bytes, status: int = 200, media: bytes = JSON, extra: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer with *body*."""
        packing: HeaderList = []
        if self._worth_packing(body):
            body = await self._packed(body, packing)
        headers = self._headers(body, media, [*extra, *packing])
        self.started = True
        if self.reply is not None:
            self.reply(status, headers, body)
        else:
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
        self.answered = True

    def answer_at_once(self, body: bytes, media: bytes = JSON, extra: Sequence[tuple[bytes, bytes]] = ()) -> bool:
        """The same for a success without any waiting; False, and nothing was sent, if that takes some."""
        if self.reply is None or self._worth_packing(body):
            return False
        self.started = True
        if self.usual is not None and media is JSON and not (extra or self.closing or self.cross_origin):
            self.usual(self.request_id.encode("ascii"), body)
        else:
            self.reply(200, self._headers(body, media, extra), body)
        self.answered = True
        return True

    def _worth_packing(self, body: bytes) -> bool:
        return len(body) >= WORTH_PACKING and self.packs and self.wishes.gzip

    def _headers(self, body: bytes, media: bytes, extra: Sequence[tuple[bytes, bytes]]) -> HeaderList:
        headers: HeaderList = [(b"content-type", media), (b"x-request-id", self.request_id.encode("ascii")), *extra]
        headers.append((b"content-length", b"%d" % len(body)))
        self.add_common(headers)
        return headers

    def add_common(self, headers: HeaderList) -> None:
        """What every answer says where it applies: who may read it, and that the connection ends."""
        if self.cross_origin is not None:
            headers += [
                (b"access-control-allow-origin", self.cross_origin),
                (b"access-control-expose-headers", b"X-Request-ID, Retry-After, Idempotent-Replayed"),
                (b"vary", b"Origin"),
            ]
        if self.closing:
            headers.append((b"connection", b"close"))

    async def _packed(self, body: bytes, headers: HeaderList) -> bytes:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        return _pack(body) if len(body) < PACK_OFF_LOOP else await asyncio.to_thread(_pack, body)


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def given_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The ``X-Request-ID`` of the request if it may stand in logs and answers: printable ASCII of at most 128."""
    given = headers.get(b"x-request-id")
    if given is None or not 0 < len(given) <= MAX_ID or not given.isascii():
        return None
    text = given.decode("ascii")
    return text if text.isprintable() else None


class Headers(Mapping[str, str]):
    """The headers as texts, decoded only when somebody looks: most requests are routed without."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return self._raw[name.encode("latin-1")].decode("latin-1")

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without an exception for what is not there."""
        raw = self._raw.get(name.encode("latin-1"))
        return default if raw is None else raw.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)
