"""Has this very head of a request come before? Then nothing in it needs to be read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.adapters.http.call import Scope, Wishes, given_id

LARGEST_BODY: Final = 65_536
"""Bytes that are gathered before a hot call starts; what is longer is read by the call itself, as it comes."""
LONGEST: Final = 2048
"""Bytes of a head that is remembered."""
MOST: Final = 512
"""Heads that are remembered. Clients choose them, so there must be an end to it."""
_ONCE: Final = frozenset({b"x-request-id", b"traceparent"})
"""A head with one of these does not come again."""


class Head:
    """The head of a hot call: what its headers say, read once, however often it comes.

    *headers* have lower-case names; of a repeated one the last counts. The body has *length* bytes.
    """

    __slots__ = ("given_id", "headers", "keep_alive", "length", "path", "scope", "wishes")

    def __init__(self, url: bytes, listed: Sequence[tuple[bytes, bytes]], length: int, *, keep_alive: bool) -> None:
        self.path = url.decode("ascii")
        self.headers = dict(listed)
        self.wishes = Wishes(self.headers, {name.decode("latin-1"): value.decode("latin-1") for name, value in listed})
        self.length = length
        self.keep_alive = keep_alive
        self.given_id = given_id(self.headers)
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "raw_path": url,
            "query_string": b"",
            "headers": listed,
        }


class Heads:
    """The heads that came before, by their bytes, from the request line to the empty line.

    What a head says depends on its bytes alone, and equal bytes are told by comparing all of them.
    """

    __slots__ = ("_known", "find")

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, text: bytes, head: Head) -> None:
        """*head* is what *text* says."""
        if len(text) > LONGEST or not _ONCE.isdisjoint(head.headers):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[text] = head
