"""What may stand in config/main.yaml: the sections of each owner, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headrace.adapters.http.settings import ApiSettings
from headrace.core.config import Secret
from headrace.core.logging import LoggingSettings


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
    """``state:`` in the main file; kept for a later version."""

    url: str = field(default="sqlite:///data/headrace.db", metadata={"doc": "kept for a later version"})


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """``storage:`` in the main file; kept for a later version."""

    url: str = field(default="data/", metadata={"doc": "kept for a later version"})


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``cache:`` in the main file: where answers are kept for pipelines that ask for it."""

    url: Literal["memory:"] = field(default="memory:", metadata={"doc": "`memory:`, in this process"})
    max_mb: int = field(default=64, metadata={"doc": "the oldest answers leave beyond it"})


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
    """``auth:`` in the main file. Without it, an address beyond this machine gets a random token."""

    mode: Literal["token", "none"] = field(default="token", metadata={"doc": "`none` must be written to go without"})
    token: Secret | None = field(default=None, metadata={"doc": "what callers must show; random when absent"})


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """``telemetry:`` in the main file; kept for a later version."""

    otlp_endpoint: str | None = field(default=None, metadata={"doc": "kept for a later version"})


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
