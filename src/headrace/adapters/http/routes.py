"""Which call answers a path? Everything that is reached before, or without, the framework's router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.adapters.http.call import Call
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference import OpenInferenceCalls
from headrace.adapters.http.open_inference_repository import REFUSED
from headrace.adapters.http.openai import OpenAICalls
from headrace.adapters.http.quick import Starting
from headrace.adapters.http.streams_events import StreamCalls
from headrace.adapters.http.uploads import KINDS, UploadCalls

Answer = Callable[..., Awaitable[Any]]
Start = Callable[..., Starting]
PREFIX: Final = "/api/v1"
KNOWN_PATHS: Final = 1024
"""Paths that are remembered with what answers them."""
ANY: Final = "*"
"""The method of what is refused whichever way it is asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """What answers a path: the method it wants, and the call with the names that stood in the path."""

    method: str
    answer: Answer
    names: tuple[str | None, ...] = ()
    start: Start | None = None
    """Answers without waiting, where that can be done."""

    def __call__(self, call: Call) -> Awaitable[Any]:
        """Answer *call*."""
        return self.answer(call, *self.names)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered."""
        if self.method == ANY:
            return ("GET", "HEAD", "POST")
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


class Routes:
    """The plain calls by path; what is not here belongs to the framework."""

    def __init__(
        self,
        native: NativeCalls,
        open_inference: OpenInferenceCalls,
        openai: OpenAICalls,
        uploads: UploadCalls,
        streams: StreamCalls,
        health: HealthCalls,
    ) -> None:
        self._native = native
        self._v2 = open_inference
        self._openai = openai
        self._uploads = uploads
        self._of_streams: Mapping[str, tuple[str, Answer]] = {
            "events": ("POST", streams.publish),
            "results": ("GET", streams.results),
            "ws": ("GET", streams.socket),
        }
        self._exact: Mapping[str, Found] = {
            f"{PREFIX}/inference": Found("POST", native.infer, (), native.start_infer),
            "/v2": Found("GET", open_inference.server),
            "/v2/": Found("GET", open_inference.server),
            "/v2/health/live": Found("GET", open_inference.live),
            "/v2/health/ready": Found("GET", open_inference.ready),
            "/v2/models/stats": Found("GET", open_inference.repository.statistics, (None, None)),
            "/v2/repository/index": Found("POST", open_inference.repository.index),
            "/v1/models": Found("GET", openai.models.list),
            "/v1/embeddings": Found("POST", openai.embeddings.create),
            "/v1/completions": Found("POST", openai.completions.complete),
            "/v1/chat/completions": Found("POST", openai.completions.chat),
            "/livez": Found("GET", health.livez),
            "/readyz": Found("GET", health.readyz),
            "/ready": Found("GET", health.readyz),
            "/health": Found("GET", health.health),
            "/metrics": Found("GET", health.metrics),
            **{
                f"{prefix}/predict/{kind}": Found("POST", uploads.one, (kind,))
                for prefix in ("", PREFIX)
                for kind in KINDS
            },
            "/predict/batch": Found("POST", uploads.batch),
            f"{PREFIX}/predict/batch": Found("POST", uploads.batch),
        }
        self._known: dict[str, Found] = dict(self._exact)

    def find(self, path: str) -> Found | None:
        """What answers *path*; None if the framework is to be asked."""
        found = self._known.get(path)
        if found is None and (found := self._match(path)) is not None:
            if len(self._known) >= KNOWN_PATHS:  # clients choose the paths: there must be an end to them
                self._known = dict(self._exact)
            self._known[path] = found
        return found

    def _match(self, path: str) -> Found | None:
        match path.split("/")[1:]:
            case ["v2", "models", name, "infer"]:
                return Found("POST", self._v2.infer, (name, None), self._v2.start)
            case ["api", "v1", "models", name, "predict"] | ["models", name, "predict"]:
                return Found("POST", self._native.predict, (name,), self._native.start_predict)
            case ["v2", "models", name, "versions", version, "infer"]:
                return Found("POST", self._v2.infer, (name, version), self._v2.start)
            case ["v2", "models", name, "versions", version, *rest]:
                return self._of_model(rest, name, version)
            case ["v2", "models", name, *rest]:
                return self._of_model(rest, name, None)
            case ["v2", "repository", "models", name, "load"]:
                return Found("POST", self._v2.repository.load, (name,))
            case ["v2", "repository", "models", name, "unload"]:
                return Found("POST", self._v2.repository.unload, (name,))
            case ["v2", extension, *_] if extension in REFUSED:
                return Found(ANY, self._v2.repository.refuse, (REFUSED[extension],))
            case ["v1", "models", name]:
                return Found("GET", self._openai.models.show, (name,))
            case ["api", "v1", "streams", name, part] if part in self._of_streams:
                return Found(*self._of_streams[part], (name,))
            case ["api", "v1", "predict", "image", version] | ["predict", "image", version]:
                return Found("POST", self._uploads.one, ("image", version))
        return None

    def _of_model(self, rest: Sequence[str], name: str, version: str | None) -> Found | None:
        """What answers a path that goes on with *rest* after the name and the version of a model."""
        v2, names = self._v2, (name, version)
        match rest:
            case []:
                return Found("GET", v2.model, names)
            case ["ready"]:
                return Found("GET", v2.model_ready, names)
            case ["stats"]:
                return Found("GET", v2.repository.statistics, names)
            case ["generate"]:
                return Found("POST", v2.generation.generate, names)
            case ["generate_stream"]:
                return Found("POST", v2.generation.stream, names)
            case [("config" | "trace") as extension, *_]:
                return Found(ANY, v2.repository.refuse, (REFUSED[extension],))
        return None
