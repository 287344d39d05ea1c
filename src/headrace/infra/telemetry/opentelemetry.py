"""Where do spans go? To an OTLP/HTTP endpoint, from a thread of their own, within a bounded memory."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from headrace.core.config import Reader
from headrace.core.logging import logger
from headrace.core.telemetry import Ended
from headrace.infra.telemetry.delivery import Delivery
from headrace.infra.telemetry.otlp_spans import Encoder

log = logger(__name__)

EVERY_S: Final = 2.0
TOGETHER: Final = 64
"""So much that has ended is written at a time: one by one it takes half as long again."""
LARGEST: Final = 4096
"""Spans from which on a delivery is sent without waiting for that time to pass, some 130 bytes each."""
WAITING: Final = 4
"""Deliveries that wait to be sent; beyond it the oldest is lost."""
LAST_WORDS_S: Final = 0.2
"""For a thread that has given up to say so."""
TRACES_PATH: Final = "/v1/traces"
PACKAGES: Final = ("opentelemetry.sdk.resources", "opentelemetry.proto.collector.trace.v1", "requests")


def check_installed(reader: Reader, section: Any, endpoint: str | None) -> None:
    """Add a mistake to *reader* where traces are wanted and the libraries for them are missing."""
    if endpoint is None or _installed():
        return
    found = f"found {endpoint!r}, and traces need libraries that are not installed: pip install 'headrace[otel]'"
    reader.mistake(reader.place(section, "otlp_endpoint"), found, "telemetry.otlp_endpoint")


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:  # the parent of a package is missing
        return False


class OpenTelemetry:
    """A Telemetry that samples a *share* of the requests and sends their spans to *endpoint* by OTLP/HTTP.

    Spans are written as OpenTelemetry's protobuf messages where they end, a few at a time: a thread of its own took
    twice as long for it, and the interpreter from the event loop all the while (measured). Sending is the thread's.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        share: float,
        service: str,
        version: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The libraries must be there, as `check_installed` makes sure."""
        from opentelemetry.sdk.resources import Resource

        self.share = share
        self.delivery = Delivery(traces_url(endpoint), headers or {})
        known = Resource.create({**_about_this_process(), **_named(service, version)})
        self._encoder = Encoder(known.attributes)
        self._ended: list[Ended] = []
        self._spans: list[bytes] = []
        self._waiting: deque[list[bytes]] = deque()
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="headrace-traces", daemon=True)
        self._thread.start()

    def export(self, ended: Ended) -> None:
        """Add what is *ended* to the next delivery."""
        with self._lock:
            self._ended.append(ended)
            if len(self._ended) >= TOGETHER:
                self._write()
            if len(self._spans) >= LARGEST:
                self._pack()

    def _write(self) -> None:
        for ended in self._ended:
            try:
                self._encoder.write(self._spans, ended.spans())
            except Exception:  # whatever it is, requests go on, and the next one gets its chance
                log.exception("spans are lost: they cannot be written")
        self._ended.clear()

    def _pack(self) -> None:
        """The delivery is full, or it is time to send it; the oldest leaves where there is no place."""
        self._waiting.append(self._spans)
        self._spans = []
        if len(self._waiting) > WAITING:
            self.delivery.lost += len(self._waiting.popleft())
        self._awake.set()

    def close(self, limit_s: float) -> None:
        """Send what is left. An endpoint that is away is tried once more, and not waited for."""
        self._closing = True
        if self.delivery.away:
            self.delivery.hurry()
        self._awake.set()
        self._thread.join(limit_s)
        self.delivery.give_up()
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        while not self._closing:
            self._awake.wait(EVERY_S)
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        with self._lock:
            self._write()
            if self._spans:
                self._pack()
        self._awake.clear()
        while self._waiting:
            try:
                spans = self._waiting.popleft()
                self.delivery.deliver(self._encoder.delivery(spans), len(spans))
            except Exception:  # whatever it is, the next delivery gets its chance
                log.exception("traces are lost: they cannot be sent")


def traces_url(endpoint: str) -> str:
    """Where traces go at *endpoint*: the path that OTLP names, unless the URL has one of its own."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(path=TRACES_PATH)) if parts.path in ("", "/") else endpoint


def _named(service: str, version: str) -> dict[str, str]:
    return {"service.name": service, **({"service.version": version} if version else {})}


def _about_this_process() -> dict[str, Any]:
    host = socket.gethostname()
    return {"service.instance.id": f"{host}-{os.getpid()}", "process.pid": os.getpid(), "host.name": host}
