"""Who is calling, and may they?"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.adapters.credentials import Credentials
from headrace.core.constraints import Secret
from headrace.domain.errors import Denied
from headrace.services.context import ANYBODY, Caller

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""What answers without a token: probes carry none."""


class Doorkeeper:
    """Lets a request in: by its token or key where one is demanded, and by its origin where a browser sent it.

    Where none is, everything on this machine may call, and so could any web page that is open in a browser on it;
    therefore a browser's request that changes or computes something must come from an origin that is allowed.
    """

    def __init__(self, token: Credentials | Secret | str | None, origins: tuple[str, ...]) -> None:
        self._credentials = Credentials.demanded(token)
        self.any_origin = "*" in origins
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    @property
    def guarded(self) -> bool:
        """Whether a token or a key is demanded."""
        return self._credentials is not None

    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Caller:
        """Who asks. Raises Unauthenticated or Denied for a request that may not pass."""
        if self._credentials is not None:
            if path not in OPEN_PATHS:
                return self._credentials.check(headers.get(b"x-api-key"), headers.get(b"authorization"))
        elif b"origin" in headers and method not in ("GET", "HEAD"):
            self._check_origin(headers)
        return ANYBODY

    def allowed_origin(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """What ``Access-Control-Allow-Origin`` says to this request; None without the header."""
        origin = headers.get(b"origin")
        if origin is None:
            return None
        if self.any_origin:
            return b"*"
        return origin if origin in self._origins else None

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        origin = headers[b"origin"]
        if self.allowed_origin(headers) is not None or origin.partition(b"://")[2] == headers.get(b"host"):
            return
        raise Denied(
            f"pages of {origin.decode('latin-1')[:100]!r} may not call this server; allow it under api.cors_origins"
        )
