"""Is the server alive, is it ready, and how is it doing?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import headrace
from headrace.adapters.http.call import Call
from headrace.domain.errors import NotReady
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference


class Scrape(Protocol):
    """What ``/metrics`` shows."""

    def render(self) -> bytes | Awaitable[bytes]:
        """Everything measured so far, in the text format of Prometheus."""
        ...


DatabaseHealth = Callable[[], Awaitable[Mapping[str, Any]]]
"""How one database is doing, for ``GET /api/v1/databases/health``."""

METRICS_MEDIA = b"text/plain; version=0.0.4; charset=utf-8"


class HealthCalls:
    """Answers probes and reports."""

    def __init__(
        self, inference: Inference, deployments: Deployments, metrics: Scrape | None, workers: int = 1
    ) -> None:
        self.draining = False
        self.databases_asked: Sequence[DatabaseHealth] = ()
        """Each tells of one database; whoever puts the server together sets them."""
        self._inference = inference
        self._deployments = deployments
        self._metrics = metrics
        self._workers = workers
        self._started_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self._deployments.ready and not self.draining

    async def livez(self, call: Call) -> None:
        """``GET /livez``: the process answers."""
        await call.answer_json({"status": "alive"})

    async def readyz(self, call: Call) -> None:
        """``GET /readyz`` and ``GET /ready``: 503 until every required pipeline is loaded, and while stopping."""
        if self.ready:
            await call.answer_json({"status": "ready"})
            return
        raise NotReady("the server is stopping" if self.draining else self._loaded())

    async def health(self, call: Call) -> None:
        """``GET /health``: what monitors of other servers expect there."""
        await call.answer_json({"status": "healthy" if self.ready else "not ready", "timestamp": time.time()})

    async def metrics(self, call: Call) -> None:
        """``GET /metrics``."""
        body = self._metrics.render() if self._metrics is not None else b""
        await call.answer(body if isinstance(body, bytes) else await body, 200, METRICS_MEDIA)

    def report(self) -> dict[str, Any]:
        """The ``data`` of ``GET /api/v1/health``."""
        status = "stopping" if self.draining else "ready" if self._deployments.ready else "starting"
        return {
            "status": status,
            "version": headrace.__version__,
            "uptime_s": round(time.monotonic() - self._started_at, 3),
            "workers": self._workers,
            "cache_per_worker": self._workers > 1 and self._cached_apart(),
            "in_flight": self._inference.in_flight,
            "pipelines": [
                {"name": one.ref.name, "version": one.ref.version, "state": one.state, "required": one.spec.required}
                for one in self._deployments.status()
            ],
            "mistakes": len(self._deployments.mistakes),
        }

    async def databases(self) -> Sequence[Mapping[str, Any]]:
        """The ``data`` of ``GET /api/v1/databases/health``."""
        return await asyncio.gather(*(ask() for ask in self.databases_asked))

    def _cached_apart(self) -> bool:
        """Whether each worker keeps its own answers."""
        answers = self._inference.answers
        return answers is not None and all(level.name == "memory" for level in answers.levels())

    def _loaded(self) -> str:
        # Probes carry no token, so this names no pipeline.
        states = Counter(one.state for one in self._deployments.status())
        return f"{states['ready']} of {states.total()} pipelines are loaded"
