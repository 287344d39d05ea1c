"""What does a call carry beside its message: who calls, under which id, until when, and what serves routing?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from headrace.adapters.credentials import Credentials
from headrace.adapters.grpc.errors import ID_KEY
from headrace.services.context import ANYBODY, Caller

MAX_ID: Final = 128
ROUTING_KEY: Final = "x-routing-key"

_PREFIX: Final = secrets.token_hex(4)
_NUMBERS: Final = count(1)


class Metadata(Mapping[str, str]):
    """The metadata of a call.

    Of a repeated key the last one counts; binary ones (``…-bin``) are left out.
    """

    __slots__ = ("_found",)

    def __init__(self, context: Any) -> None:
        given = context.invocation_metadata() or ()
        self._found = {key: value for key, value in given if isinstance(value, str)}

    def __getitem__(self, key: str) -> str:
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def bytes_of(self, key: str) -> bytes | None:
        """The value of *key* as it was sent."""
        value = self._found.get(key)
        return None if value is None else value.encode("latin-1", "replace")


def admit(credentials: Credentials | None, metadata: Metadata) -> Caller:
    """Who calls. Raises Unauthenticated for a call that may not pass."""
    if credentials is None:
        return ANYBODY
    return credentials.check(metadata.bytes_of("x-api-key"), metadata.bytes_of("authorization"))


def request_id_of(metadata: Metadata) -> str:
    """The id that the caller gave, if it may stand in logs and answers; else one of ours."""
    given = metadata.get(ID_KEY, "")
    if 0 < len(given) <= MAX_ID and given.isascii() and given.isprintable():
        return given
    return f"{_PREFIX}-{next(_NUMBERS)}"


def deadline_of(context: Any) -> float | None:
    """When the caller stops waiting, in seconds of the monotonic clock; None if it never does."""
    left: float | None = context.time_remaining()
    return None if left is None else time.monotonic() + left
