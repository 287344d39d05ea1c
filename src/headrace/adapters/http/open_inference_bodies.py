"""What came with a V2 call: a body of JSON, or one with raw tensors behind the JSON?"""

from __future__ import annotations

from typing import Final

from headrace.adapters.http.body import media_type, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.open_inference_answers import HEAD
from headrace.domain.errors import InvalidRequest

# What Triton's asyncio client and curl say of any body when nobody tells them better.
_UNTOLD: Final = (b"application/octet-stream", b"application/x-www-form-urlencoded")


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
