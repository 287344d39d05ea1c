"""What the files under config/ declare: models, pipelines, routes and how requests are batched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.domain.tensors import TensorSpec

Auto = Literal["auto"]
Placing = Literal["auto", "inline", "thread"]


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One entry of ``input_spec`` or ``output_spec``."""

    name: str = field(metadata={"doc": "the column's name"})
    dtype: str = field(default="float32", metadata={"doc": "a NumPy name, `string` or `bytes`"})
    shape: tuple[int, ...] = field(
        default=(-1,),
        metadata={"doc": "-1 for any size; axis 0 is the batch, and a leading 1 fixes it at one"},
    )
    default: Any = field(default=None, metadata={"doc": "makes an input optional"})

    def tensor(self) -> TensorSpec:
        """The same as a TensorSpec."""
        return TensorSpec(self.dtype, self.shape, self.name, self.default, self.default is not None)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """``process:``: what a model with `isolation: process` may take."""

    load_timeout_s: float = field(default=120.0, metadata={"doc": "loading for longer ends it"})
    predict_timeout_s: float = field(default=60.0, metadata={"doc": "a batch that takes longer ends it"})
    memory_limit_mb: int | None = field(default=None, metadata={"doc": "more resident memory than this ends it"})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """config/models/<name>.yaml: an artefact and how it is loaded."""

    name: str = field(metadata={"doc": "defaults to the file's stem"})
    version: str = field(default="1", metadata={"doc": "with the name, the model's identity"})
    type: str = field(default="", metadata={"doc": "the runtime; `models.default_adapter` when absent"})
    path: str = field(default="", metadata={"doc": "the artefact, from the workspace root; `module:object` for python"})
    sha256: str | None = field(default=None, metadata={"doc": "refuse an artefact with another digest"})
    device: str = field(default="auto", metadata={"doc": "cpu, cuda, cuda:n or auto"})
    device_required: bool = field(default=False, metadata={"doc": "make a missing device an error"})
    threads: int | Auto = field(default="auto", metadata={"doc": "threads inside one call"})
    instances: int | Auto = field(default="auto", metadata={"doc": "how many batches run at the same time"})
    isolation: Literal["thread", "process"] = field(default="thread", metadata={"doc": "where `predict` runs"})
    process: ProcessSpec = field(default=ProcessSpec(), metadata={"doc": "limits of `isolation: process`"})
    trust: bool = field(default=False, metadata={"doc": "allow formats that can run code when they are read"})
    input_spec: tuple[ColumnSpec, ...] | None = field(default=None, metadata={"doc": "when the artefact does not say"})
    output_spec: tuple[ColumnSpec, ...] | None = field(default=None, metadata={"doc": "when the artefact does not say"})
    options: Mapping[str, Any] = field(default_factory=dict, metadata={"doc": "what this runtime alone understands"})


@dataclass(frozen=True, slots=True)
class ModelUse:
    """``model: {name, version}``: which model a pipeline runs."""

    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One entry under ``preprocessing`` or ``postprocessing``."""

    name: str = field(metadata={"doc": "a step of the workspace, a built-in, an entry point or `module:function`"})
    params: Mapping[str, Any] = field(default_factory=dict, metadata={"doc": "the step's parameters"})
    column: str | None = field(default=None, metadata={"doc": "the column that stands for the one it reads"})
    columns: Mapping[str, str] = field(default_factory=dict, metadata={"doc": "its column names to the pipeline's"})
    source: Literal["database", "stats"] | None = field(default=None, metadata={"doc": "where its data comes from"})
    query: str | None = field(default=None, metadata={"doc": "SQL for `source: database`"})
    database: str | None = field(default=None, metadata={"doc": "a file under config/databases/"})
    as_: str = field(default="stats", metadata={"key": "as", "doc": "the pipeline value that a table becomes"})
    refresh_s: float | None = field(default=None, metadata={"doc": "how often that value is read again"})


@dataclass(frozen=True, slots=True)
class Batching:
    """``batching:``: how single requests are gathered; False for a model without a batch axis."""

    max_size: int | Auto = field(default="auto", metadata={"doc": "rows in one batch at most"})
    max_wait_ms: float = field(default=0.0, metadata={"doc": "wait this long for company, from the oldest request on"})
    max_queue: int = field(default=1024, metadata={"doc": "requests waiting at most; more are refused at once"})
    objective_ms: float | None = field(
        default=None, metadata={"doc": "from queue to answer: no wait and no batch is longer than leaves room for it"}
    )
    cost: str | None = field(
        default=None,
        metadata={"doc": "an input: its number, or the length of its text or list, is what a request costs"},
    )
    max_cost: float | None = field(default=None, metadata={"doc": "the cost of one batch at most; wants `cost`"})
    pad: Mapping[str, float] = field(
        default_factory=dict, metadata={"doc": "inputs of the model whose rows are filled up, and with what"}
    )
    buckets: tuple[int, ...] = field(
        default=(), metadata={"doc": "lengths to fill up to; the longest row of the batch when absent"}
    )
    max_waste: float = field(
        default=0.25, metadata={"doc": "the share of a batch that may be filling for the sake of company"}
    )
    unpad: Mapping[str, str] | Auto = field(
        default="auto",
        metadata={"doc": "outputs that are cut back, to the input each follows; auto: those with a free axis"},
    )


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """``cache:``: keep answers of equal inputs."""

    ttl_s: float = field(default=3600.0, metadata={"doc": "how long an answer stays"})


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """config/pipelines/<name>.yaml: steps, one model, steps."""

    name: str = field(metadata={"doc": "defaults to the file's stem"})
    model: str | ModelUse | ModelSpec = field(metadata={"doc": "a name, {name, version}, or a model written here"})
    version: str = field(default="1", metadata={"doc": "with the name, the pipeline's identity"})
    description: str = field(default="", metadata={"doc": "shown in the documentation"})
    preprocessing: tuple[StepSpec, ...] = field(default=(), metadata={"doc": "steps before the model"})
    postprocessing: tuple[StepSpec, ...] = field(default=(), metadata={"doc": "steps after the model"})
    outputs: tuple[str, ...] | None = field(
        default=None,
        metadata={"doc": "columns of the answer; the model's and those that postprocessing adds"},
    )
    placement: Placing = field(
        default="auto", metadata={"doc": "where its batches run: as measured, on the loop (inline), or in threads"}
    )
    batching: Batching | Literal[False] = field(default=Batching(), metadata={"doc": "false: no batch axis"})
    cache: CacheSpec | None = field(default=None, metadata={"doc": "absent: answers are not kept"})
    timeout_s: float = field(default=30.0, metadata={"doc": "the deadline of a request that names none"})
    required: bool = field(default=True, metadata={"doc": "readiness waits for it"})
    expose: tuple[Literal["mcp"], ...] = field(default=(), metadata={"doc": "offer it as a tool"})
    examples: tuple[Mapping[str, Any], ...] = field(
        default=(), metadata={"doc": "inputs for warm-up, `check --load`, documentation and tests"}
    )
    database: Any = field(default=None, metadata={"doc": "a name under config/databases/, or one written here"})

    @property
    def batched(self) -> bool:
        """Whether the model has a batch axis."""
        return self.batching is not False

    @property
    def batching_or_default(self) -> Batching:
        """The batching section, also for pipelines that never batch (their queue still has a size)."""
        return self.batching if isinstance(self.batching, Batching) else Batching(max_size=1)


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """``match: [{header: {x-canary: "true"}, version: "2"}]``."""

    header: Mapping[str, str]
    version: str


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """config/routes/<name>.yaml: how a bare name becomes a version."""

    name: str = field(metadata={"doc": "the pipeline; defaults to the file's stem"})
    default: str | None = field(default=None, metadata={"doc": "the version of a bare name"})
    aliases: Mapping[str, str] = field(default_factory=dict, metadata={"doc": "names for versions"})
    split: Mapping[str, float] = field(default_factory=dict, metadata={"doc": "version to weight"})
    sticky: str | None = field(default=None, metadata={"doc": "the input whose value keeps to one side of the split"})
    match: tuple[HeaderMatch, ...] = field(default=(), metadata={"doc": "headers that choose a version"})
    shadow: str | None = field(default=None, metadata={"doc": "a version that gets a copy of the traffic"})


@dataclass(frozen=True, slots=True)
class Window:
    """``window:``: how many events make a micro-batch, whichever comes first."""

    max_events: int = field(default=256, metadata={"doc": "events in one micro-batch at most"})
    max_ms: float = field(default=500.0, metadata={"doc": "the oldest event waits this long at most"})


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """config/streams/<name>.yaml: events of a topic through a pipeline to another topic."""

    name: str = field(metadata={"doc": "defaults to the file's stem"})
    pipeline: str | ModelUse = field(metadata={"doc": "a name, or {name, version}; a version may be an alias"})
    broker: Literal["memory:"] = field(default="memory:", metadata={"doc": "`memory:`, in this process"})
    topic: str = field(default="", metadata={"doc": "where events come from; the stream's name when absent"})
    results: str = field(default="", metadata={"doc": "where answers go; `<topic>.results` when absent"})
    dead_letters: str = field(default="", metadata={"doc": "where failed events go; `<topic>.dead` when absent"})
    window: Window = field(default=Window(), metadata={"doc": "how events are gathered"})
    options: Mapping[str, Any] = field(default_factory=dict, metadata={"doc": "the options of every request"})

    @property
    def topics(self) -> tuple[str, str, str]:
        """The topics of events, results and dead letters."""
        topic = self.topic or self.name
        return topic, self.results or f"{topic}.results", self.dead_letters or f"{topic}.dead"
