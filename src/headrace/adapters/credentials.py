"""Does a caller know the token that this server asks for?"""

from __future__ import annotations

import hmac

from headrace.core.constraints import Secret
from headrace.domain.errors import Unauthenticated


class Token:
    """The token, and how it is compared: in a time that tells nothing about it."""

    def __init__(self, text: Secret | str) -> None:
        self._text = (text.reveal() if isinstance(text, Secret) else text).encode()

    def check(self, api_key: bytes | None, authorization: bytes | None) -> None:
        """Raises Unauthenticated unless one of the two headers carries the token; *api_key* goes first."""
        given = api_key
        if given is None:
            scheme, _, given = (authorization or b"").partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthenticated("a token is needed: send `Authorization: Bearer <token>` or `X-API-Key: <token>`")
        if not hmac.compare_digest(given.strip(), self._text):
            raise Unauthenticated("the token is not valid")
