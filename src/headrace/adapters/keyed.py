"""What do the doors agree on about ``Idempotency-Key``: which keys are some, and how much is kept under them?"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from headrace.domain.errors import Conflict, InvalidRequest

LONGEST_KEY: Final = 255
LARGEST_KEPT: Final = 8 * 1024 * 1024
"""Bytes of an answer that is kept; a larger one is given once, and its key is spent."""
WAIT_S: Final = 30.0
"""How long a call without a deadline waits for an earlier one with its key."""


def key_of(given: bytes, shown: bytes, place: bytes) -> str:
    """The digest of the key *given* for this *place* and the credentials *shown*.

    What somebody else sends under the same key is another matter. Raises InvalidRequest for a key that is none.
    """
    if not 0 < len(given) <= LONGEST_KEY or not given.isascii() or not given.decode("ascii").isprintable():
        raise InvalidRequest(
            f"Idempotency-Key wants 1 to {LONGEST_KEY} printable ASCII characters, not {len(given)} of "
            f"{given[:40].decode('latin-1')!r}"
        )
    return digest(shown, place, given)


def shown_by(api_key: bytes | None, authorization: bytes | None) -> bytes:
    """The secret in the credentials of a call; empty without any."""
    return api_key or (authorization or b"").rpartition(b" ")[2]


def spent() -> Conflict:
    """The error for a repetition whose first answer is gone."""
    return Conflict(
        "a request with this Idempotency-Key was answered, and the answer was too large, or streamed, "
        "and could not be kept; take a new key to have it computed again"
    )


def digest(*parts: bytes) -> str:
    """One digest over *parts*, of which none runs into the next."""
    whole = blake2b(digest_size=32)
    for part in parts:
        whole.update(len(part).to_bytes(8))
        whole.update(part)
    return whole.hexdigest()
