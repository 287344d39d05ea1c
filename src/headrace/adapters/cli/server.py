"""How does the command line talk to a running server? One request at a time, with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from headrace.domain.errors import DependencyFailure, EngineError, InvalidRequest

PREFIX = "/api/v1"
TIMEOUT_S = 300.0  # loading a large model takes minutes


class Server:
    """A server at *url* (``http://host:port``), asked with *token* where it demands one."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidRequest(f"{url!r} is no address of a server; wanted is one like http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self._headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}

    def get(self, path: str) -> Any:
        """The ``data`` of ``GET /api/v1/<path>``. Raises the server's own error, or DependencyFailure without one."""
        return self._ask(Request(f"{self.url}{PREFIX}/{path}", headers=self._headers))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The ``data`` of ``POST /api/v1/<path>`` with *body* as JSON."""
        return self._send("POST", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The ``data`` of ``PUT /api/v1/<path>`` with *body* as JSON."""
        return self._send("PUT", path, body)

    def delete(self, path: str) -> Any:
        """The ``data`` of ``DELETE /api/v1/<path>``."""
        return self._ask(Request(f"{self.url}{PREFIX}/{path}", headers=self._headers, method="DELETE"))

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        headers = {**self._headers, "Content-Type": "application/json"}
        return self._ask(Request(f"{self.url}{PREFIX}/{path}", json.dumps(body).encode(), headers, method=method))

    def _ask(self, request: Request) -> Any:
        try:
            with _opener().open(request, timeout=TIMEOUT_S) as response:
                body = response.read()
        except HTTPError as error:
            raise self._failure(error.code, error.read()) from None
        except (URLError, HTTPException, OSError) as error:
            raise DependencyFailure(
                f"no server answers at {self.url} ({_reason(error)}); start one with `headrace serve`, "
                "or name another with --url"
            ) from None
        answer = _decoded(body)
        if answer is None or "data" not in answer:
            raise self._stranger(body)
        return answer["data"]

    def _failure(self, status: int, body: bytes) -> EngineError:
        answer = _decoded(body)
        told = answer.get("error") if answer else None
        if not isinstance(told, dict) or "code" not in told:
            return self._stranger(body, f"status {status}")
        kind = {kind.code: kind for kind in _kinds(EngineError)}.get(told["code"], EngineError)
        message = str(told.get("message", ""))
        if kind.code in ("unauthenticated", "denied"):
            message += "; name the server's token with --token"
        return kind(message, details=told.get("details"))

    def _stranger(self, body: bytes, found: str = "no answer of the kind that Headrace gives") -> EngineError:
        start = body[:60].decode(errors="replace").strip()
        return DependencyFailure(f"what answers at {self.url} is not a Headrace server: {found}, {start!r}")


def _opener() -> OpenerDirector:
    """Follows no redirect and asks no proxy: the token goes to the address that was named and nowhere else."""
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    return opener


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _kinds(kind: type[EngineError]) -> Iterator[type[EngineError]]:
    """Every kind of error, special ones before the general, which a table by code then keeps."""
    for special in kind.__subclasses__():
        yield from _kinds(special)
    yield kind


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
