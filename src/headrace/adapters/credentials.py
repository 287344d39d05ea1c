"""What must a caller show, and who is it then?"""

from __future__ import annotations

import hmac

from headrace.core.constraints import Secret
from headrace.domain.errors import Unauthenticated
from headrace.services.access import Access
from headrace.services.context import TOKEN_HOLDER, Caller


class Credentials:
    """The server's own token, and callers' keys where there may be any."""

    def __init__(self, token: Secret | str, access: Access | None = None) -> None:
        self._token = (token.reveal() if isinstance(token, Secret) else token).encode()
        self._access = access

    @classmethod
    def demanded(cls, shown: Credentials | Secret | str | None) -> Credentials | None:
        """What is demanded where *shown* is configured: a token alone, or all of it; None for nothing."""
        if not shown:
            return None
        return shown if isinstance(shown, Credentials) else cls(shown)

    def check(self, api_key: bytes | None, authorization: bytes | None) -> Caller:
        """Who carries the token or a key in one of the two headers; *api_key* goes first.

        Raises Unauthenticated for anybody else. The token is compared in a time that tells nothing about it.
        """
        given = api_key
        if given is None:
            scheme, _, given = (authorization or b"").partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthenticated("a token is needed: send `Authorization: Bearer <token>` or `X-API-Key: <token>`")
        given = given.strip()
        if hmac.compare_digest(given, self._token):
            return TOKEN_HOLDER
        if self._access is None:
            raise Unauthenticated("the token is not valid")
        return self._access.caller(given)
