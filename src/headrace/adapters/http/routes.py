"""Which call answers a path? Everything that is reached before, or without, the framework's router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.adapters.http.call import Call
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference import OpenInferenceCalls
from headrace.adapters.http.openai import OpenAICalls
from headrace.adapters.http.uploads import KINDS, UploadCalls

Answer = Callable[..., Awaitable[Any]]
PREFIX: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Found:
    """What answers a path: the method it wants, and the call with the names that stood in the path."""

    method: str
    answer: Answer
    names: tuple[str | None, ...] = ()

    def __call__(self, call: Call) -> Awaitable[Any]:
        """Answer *call*."""
        return self.answer(call, *self.names)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are answered."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


class Routes:
    """The plain calls by path; what is not here belongs to the framework."""

    def __init__(
        self,
        native: NativeCalls,
        open_inference: OpenInferenceCalls,
        openai: OpenAICalls,
        uploads: UploadCalls,
        health: HealthCalls,
    ) -> None:
        self._native = native
        self._v2 = open_inference
        self._openai = openai
        self._uploads = uploads
        self._exact: Mapping[str, Found] = {
            f"{PREFIX}/inference": Found("POST", native.infer),
            "/v2": Found("GET", open_inference.server),
            "/v2/health/live": Found("GET", open_inference.live),
            "/v2/health/ready": Found("GET", open_inference.ready),
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

    def find(self, path: str) -> Found | None:
        """What answers *path*; None if the framework is to be asked."""
        return self._exact.get(path) or self._match(path)

    def _match(self, path: str) -> Found | None:
        match path.split("/")[1:]:
            case ["v2", "models", name, "infer"]:
                return Found("POST", self._v2.infer, (name, None))
            case ["api", "v1", "models", name, "predict"] | ["models", name, "predict"]:
                return Found("POST", self._native.predict, (name,))
            case ["v2", "models", name, "versions", version, "infer"]:
                return Found("POST", self._v2.infer, (name, version))
            case ["v2", "models", name]:
                return Found("GET", self._v2.model, (name, None))
            case ["v2", "models", name, "versions", version]:
                return Found("GET", self._v2.model, (name, version))
            case ["v2", "models", name, "ready"]:
                return Found("GET", self._v2.model_ready, (name, None))
            case ["v2", "models", name, "versions", version, "ready"]:
                return Found("GET", self._v2.model_ready, (name, version))
            case ["v1", "models", name]:
                return Found("GET", self._openai.models.show, (name,))
            case ["api", "v1", "predict", "image", version] | ["predict", "image", version]:
                return Found("POST", self._uploads.one, ("image", version))
        return None
