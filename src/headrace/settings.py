"""What may stand in config/main.yaml: the sections of each owner, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from headrace.adapters.http.settings import ApiSettings
from headrace.core.config import Between, Matches, Reader, Secret
from headrace.core.logging import LoggingSettings
from headrace.infra.cache.url import CacheUrl
from headrace.infra.databases.url import StateUrl

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""
_URL: Final = Matches(r"https?://[^\s/]+(/\S*)?", "that is a URL, such as 'http://collector:4318'")


@dataclass(frozen=True, slots=True)
class FrameworkSettings:
    """``framework:`` in the main file: how this installation calls itself."""

    name: str = field(default="Headrace", metadata={"doc": "the title of the API's documentation"})
    version: str = field(default="1.0.0", metadata={"doc": "the version shown beside it"})
    debug: bool = field(default=False, metadata={"doc": "log at DEBUG"})


@dataclass(frozen=True, slots=True)
class ModelsSettings:
    """``models:`` in the main file."""

    directory: str = field(default="./models", metadata={"doc": "where artefacts lie"})
    default_adapter: str = field(default="onnx", metadata={"doc": "the runtime of a model that names none"})
    memory_budget_mb: int | None = field(default=None, metadata={"doc": "kept for a later version"})
    poll_s: float = field(default=2.0, metadata={"doc": "how often the configuration is looked at; 0: never"})


@dataclass(frozen=True, slots=True)
class DatabasesSettings:
    """``databases:`` in the main file; kept for a later version."""

    default_type: str = field(default="sqlite", metadata={"doc": "kept for a later version"})
    pool_size: int = field(default=10, metadata={"doc": "kept for a later version"})
    max_overflow: int = field(default=20, metadata={"doc": "kept for a later version"})


@dataclass(frozen=True, slots=True)
class StateSettings:
    """``state:`` in the main file: what Headrace itself remembers, such as routes that were set at run time."""

    url: StateUrl = field(
        default=StateUrl("sqlite:///data/headrace.db"),
        metadata={
            "doc": "`sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/DATABASE`, `mysql://...`, `mariadb://...`"
        },
    )
    idempotency_ttl_s: Annotated[float, Between(1)] = field(
        default=86_400.0, metadata={"doc": "how long an answer is kept for its `Idempotency-Key`"}
    )


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """``storage:`` in the main file; kept for a later version."""

    url: str = field(default="data/", metadata={"doc": "kept for a later version"})


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``cache:`` in the main file: where answers are kept for pipelines that ask for it."""

    url: CacheUrl = field(
        default=CacheUrl("memory:"),
        metadata={"doc": "`memory:`, in this process, or `redis://host:port/db`, for several"},
    )
    memory_mb: Annotated[int, Between(min=0)] = field(
        default=64,
        metadata={"doc": "memory of each process, from which the oldest leave; with Redis it stands in front, 0: none"},
    )
    timeout_ms: Annotated[int, Between(min=1, max=60_000)] = field(
        default=200, metadata={"doc": "a Redis server that takes longer is not waited for"}
    )


@dataclass(frozen=True, slots=True)
class PipelinesSettings:
    """``pipelines:`` in the main file."""

    directory: str = field(default="./config/pipelines", metadata={"doc": "where pipelines are declared"})
    default: str | None = field(default=None, metadata={"doc": "the pipeline of a request that names none"})


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """``fetch:`` in the main file; kept for a later version."""

    allowed_hosts: tuple[str, ...] = field(default=(), metadata={"doc": "kept for a later version"})


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """``auth:`` in the main file. Without it, an address beyond this machine gets a random token.

    Where a token is demanded, callers' keys are accepted too.
    """

    mode: Literal["token", "none"] = field(default="token", metadata={"doc": "`none` must be written to go without"})
    token: Secret | None = field(default=None, metadata={"doc": "what callers without a key show; random when absent"})


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """``telemetry:`` in the main file: traces, and what requests cost."""

    otlp_endpoint: Annotated[str, _URL] | None = field(
        default=None, metadata={"doc": "where traces go by OTLP/HTTP, as `http://collector:4318`; none without it"}
    )
    otlp_headers: Mapping[str, Secret] = field(
        default_factory=dict, metadata={"doc": "headers for that endpoint, such as a key"}
    )
    sample: Annotated[float, Between(0, 1)] = field(
        default=0.01,
        metadata={"doc": "the share of the requests that is traced, where no `traceparent` of the caller decides"},
    )
    price_per_device_s: Mapping[str, Annotated[float, Between(0, 1e9)]] = field(
        default_factory=dict,
        metadata={"doc": "what a second of a device costs: `{cpu: 0.00002, cuda: 0.0008}`; no costs without it"},
    )
    currency: str = field(default="USD", metadata={"doc": "of the prices; a label of `headrace_cost_total`"})


@dataclass(frozen=True, slots=True)
class Settings:
    """config/main.yaml."""

    framework: FrameworkSettings = FrameworkSettings()
    api: ApiSettings = ApiSettings()
    models: ModelsSettings = ModelsSettings()
    databases: DatabasesSettings = DatabasesSettings()
    state: StateSettings = StateSettings()
    storage: StorageSettings = StorageSettings()
    cache: CacheSettings = CacheSettings()
    pipelines: PipelinesSettings = PipelinesSettings()
    fetch: FetchSettings = FetchSettings()
    auth: AuthSettings | None = None
    telemetry: TelemetrySettings = TelemetrySettings()
    logging: LoggingSettings = LoggingSettings()
    hooks: tuple[str, ...] = field(
        default=(), metadata={"doc": "objects that are told what happens, as `package.module:object`"}
    )

    @property
    def asks_callers(self) -> bool:
        """Whether callers must show a token or a key: on this machine if it is written, beyond it unless it is not."""
        return self.api.host not in LOOPBACK if self.auth is None else self.auth.mode == "token"


def check_auth(reader: Reader, auth: AuthSettings | None) -> None:
    """Add to the mistakes of *reader* what is wrong with the section ``auth:``."""
    if auth is None or auth.token is None:
        return
    token = auth.token.reveal()
    if token != token.strip() or not token:
        found = "spaces around the token" if token.strip() else "an empty token, which would let everybody in"
        wanted = "wanted one, or none for a random one; `mode: none` lets everybody in"
        reader.mistake(reader.place(auth, "token"), f"found {found}, {wanted}", "auth.token")
