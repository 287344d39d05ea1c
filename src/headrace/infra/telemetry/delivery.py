"""How do traces reach their endpoint, and what is said when they do not?"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from headrace.core.logging import logger

log = logger(__name__)

EXPORT_S: Final = 5.0
"""How long one delivery is tried, with pauses in between."""
RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP has a client try again; any other failure is final."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Between two tries at least, as far as the time goes."""


class Delivery:
    """Sends spans to *url* and says when that begins to fail and when it works again: once, not for each try.

    *sent* and *lost* count spans.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """*headers* go along with every delivery."""
        import requests

        self.away = False
        self.sent = 0
        self.lost = 0
        self._url = url
        self._failures = requests.RequestException
        self._session = requests.Session()
        self._session.headers.update({"content-type": "application/x-protobuf", "user-agent": "headrace", **headers})
        self._session.auth = _as_it_is
        self._hurried = threading.Event()
        self._closed = False

    def deliver(self, body: bytes, spans: int) -> None:
        """Send *body*, which holds so many *spans*. Blocks, and raises nothing."""
        if self._closed:
            self.lost += spans
            return
        failed = not self._taken(body)
        if failed:
            self.lost += spans
        else:
            self.sent += spans
        if failed and not self.away:
            log.warning("traces are lost: the OTLP endpoint does not take them; requests go on", endpoint=self._url)
        elif self.away and not failed:
            log.info("traces are sent again", endpoint=self._url, lost=self.lost)
        self.away = failed

    def hurry(self) -> None:
        """From now on try each delivery once."""
        self._hurried.set()

    def give_up(self) -> None:
        """Try no longer."""
        self._closed = True
        self._hurried.set()
        self._session.close()

    def _taken(self, body: bytes) -> bool:
        until = time.monotonic() + EXPORT_S
        for pause_s in PAUSES_S:
            wait_s = self._tried(body, until - time.monotonic())
            if wait_s is None:
                return True
            wait_s = max(wait_s, pause_s)
            if time.monotonic() + wait_s >= until or self._hurried.wait(wait_s):
                return False
        return False

    def _tried(self, body: bytes, limit_s: float) -> float | None:
        """Try once: after how many seconds another try makes sense (infinity: it never does); None if it went well."""
        try:
            answer = self._session.post(self._url, data=body, timeout=limit_s, allow_redirects=False)
        except self._failures:
            return 0.0
        if 200 <= answer.status_code < 300:
            return None
        return _retry_after(answer.headers) if answer.status_code in RETRYABLE else math.inf


def _retry_after(headers: Mapping[str, str]) -> float:
    """The seconds of ``Retry-After``; 0 without, and for a date, which no collector sends."""
    given = headers.get("retry-after", "")
    return float(given) if given.isdecimal() else 0.0


def _as_it_is(request: Any) -> Any:
    """The request as its headers say: without this, a password that a file of the user holds would replace ours."""
    return request
