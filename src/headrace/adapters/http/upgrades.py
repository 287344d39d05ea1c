"""A client offers another protocol than HTTP/1.1 (h2c, say) that is not spoken here: its request is read without that.

The parser takes what follows such a head for the other protocol, even where the client sends a body and waits for an
answer in HTTP, as the client of Java's library does. So it gets the head once more, with the offer taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

OFFERS: Final = (b"upgrade", b"http2-settings")
"""Headers, and names in the header ``Connection``, that make an offer."""


def without_offer(method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The head of a request with lower-case names of *headers*, as bytes, with no protocol offered in it."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            others = [token for token in value.split(b",") if token.strip().lower() not in OFFERS]
            lines += [b"connection: " + b",".join(others)] if others else []
        elif name not in OFFERS:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n\r\n"
