"""Which numbers are shown to whoever scrapes, and under which names? Those of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from headrace.domain.pipeline import Pipeline
from headrace.services.answers import Answers
from headrace.services.engine import Engine, Served
from headrace.services.hooks import Hooks
from headrace.services.measures import Labels
from headrace.services.streams import Stream

Labelled = Iterator[tuple[tuple[str, ...], Any]]
Read = Callable[[], Labelled]


class Shown(Protocol):
    """Takes families of numbers; each is read anew, as (label values, number) pairs, at every scrape."""

    def counter(self, name: str, help_text: str, labels: Sequence[str], read: Read) -> None:
        """Show a counter."""

    def gauge(self, name: str, help_text: str, labels: Sequence[str], read: Read) -> None:
        """Show a gauge."""

    def histogram(self, name: str, help_text: str, labels: Sequence[str], read: Read) -> None:
        """Show a histogram."""


def expose(show: Shown, engine: Engine, streams: Iterable[Stream], answers: Answers | None = None) -> None:
    """Let *show* have everything that is measured."""
    _requests(show, engine)
    _queues(show, engine)
    _batches(show, engine)
    _models(show, engine)
    _streams(show, streams)
    if answers is not None:
        _cache(show, answers)
    if engine.hooks is not None:
        _hooks(show, engine.hooks)


def _requests(show: Shown, engine: Engine) -> None:
    measures = engine.measures
    labels = ("pipeline", "version", "mode", "door", "code")
    show.counter(
        "headrace_requests",
        "Requests answered.",
        labels,
        lambda: ((_values(one), sum(seen.counts)) for one, seen in measures.labelled()),
    )
    show.histogram(
        "headrace_request_seconds",
        "From the door to the answer.",
        labels,
        lambda: ((_values(one), seen) for one, seen in measures.labelled()),
    )
    show.histogram(
        "headrace_phase_seconds",
        "Parts of a batch: its oldest request in the queue, and each phase.",
        ("pipeline", "version", "mode", "phase"),
        lambda: (
            ((ref.name, ref.version, mode, phase), seen) for (ref, mode, phase), seen in measures.batches.phases.items()
        ),
    )
    show.histogram(
        "headrace_batch_size",
        "Rows in a batch.",
        ("pipeline", "version", "mode"),
        lambda: (((ref.name, ref.version, mode), seen) for (ref, mode), seen in measures.batches.sizes.items()),
    )
    show.histogram(
        "headrace_confidence",
        "How sure a label pipeline was of its first label, by row.",
        ("pipeline", "version", "mode"),
        lambda: (((ref.name, ref.version, mode), seen) for (ref, mode), seen in measures.confidences.items()),
    )
    show.counter(
        "headrace_cache",
        "Rows looked up in the cache.",
        ("pipeline", "version", "state"),
        lambda: (
            ((ref.name, ref.version, state), count)
            for ref, lookups in measures.cache.items()
            for state in ("hit", "miss", "bypass")
            if (count := getattr(lookups, state))
        ),
    )


def _queues(show: Shown, engine: Engine) -> None:
    show.gauge(
        "headrace_queue_depth",
        "Requests that wait for a batch.",
        ("pipeline", "version"),
        lambda: ((_named(served), served.batcher.queued) for served in _served(engine)),
    )
    show.gauge(
        "headrace_in_flight",
        "Requests that wait, run, or are answered in pieces.",
        ("pipeline", "version"),
        lambda: ((_named(served), served.in_flight) for served in _served(engine)),
    )


def _batches(show: Shown, engine: Engine) -> None:
    show.gauge(
        "headrace_batch_size_limit",
        "The most rows that a batch of requests gets now: pinned, learned, or what fits in memory.",
        ("pipeline", "version"),
        lambda: ((_named(served), served.batcher.placement.largest()) for served in _served(engine)),
    )
    show.counter(
        "headrace_out_of_memory",
        "Calls that ran out of memory; those with more than one row were tried again in halves.",
        ("pipeline", "version"),
        lambda: ((_named(served), served.pipeline.cap.events) for served in _served(engine)),
    )
    show.counter(
        "headrace_batch_cells",
        "Values that went into a model whose rows are filled up: those of the rows themselves, and the filling.",
        ("pipeline", "version", "kind"),
        lambda: (
            ((*_named(served), kind), count)
            for served in _served(engine)
            if (padding := served.pipeline.padding) is not None
            for kind, count in padding.cells.kinds()
        ),
    )
    show.gauge(
        "headrace_padding_waste_ratio",
        "The share of those values that was filling, since the pipeline was loaded.",
        ("pipeline", "version"),
        lambda: (
            (_named(served), padding.cells.waste)
            for served in _served(engine)
            if (padding := served.pipeline.padding) is not None
        ),
    )


def _served(engine: Engine) -> Iterator[Served]:
    return (engine.registry.get(ref) for ref in engine.registry)


def _named(served: Served) -> tuple[str, str]:
    return served.ref.name, served.ref.version


def _restarts(pipelines: Iterable[Pipeline]) -> Labelled:
    """By model, which pipelines may share: of each what it counted, once."""
    models = {id(pipeline.model): pipeline for pipeline in pipelines}
    totals: Counter[tuple[str, ...]] = Counter()
    for pipeline in models.values():
        for cause, count in pipeline.restarts.items():
            totals[pipeline.model_name, pipeline.model_version, cause] += count
    yield from totals.items()


def _models(show: Shown, engine: Engine) -> None:
    show.gauge(
        "headrace_model_memory_bytes",
        "Memory that a pipeline's model takes, as far as that can be told.",
        ("pipeline", "version"),
        lambda: (((ref.name, ref.version), engine.registry.get(ref).pipeline.memory_bytes) for ref in engine.registry),
    )
    show.counter(
        "headrace_model_restarts",
        "Ends of a model's own process after which another was started, by cause.",
        ("model", "version", "cause"),
        lambda: _restarts(pipeline for served in _served(engine) if (pipeline := served.pipeline).processes),
    )
    prices, measures = engine.measures.prices, engine.measures
    if prices is not None:
        show.counter(
            "headrace_cost",
            "What batches have cost: the seconds of their devices times the prices in the configuration.",
            ("pipeline", "version", "mode", "currency"),
            lambda: (
                ((ref.name, ref.version, mode, prices.currency), cost) for (ref, mode), cost in measures.costs.items()
            ),
        )


def _cache(show: Shown, answers: Answers) -> None:
    show.gauge(
        "headrace_cache_up",
        "Whether a place where answers are kept can be asked; without it requests only take longer.",
        ("level",),
        lambda: (((level.name,), int(level.up)) for level in answers.levels()),
    )
    show.gauge(
        "headrace_cache_used_bytes",
        "What the answers kept in this process take.",
        ("level",),
        lambda: (((level.name,), level.used_bytes) for level in answers.levels() if level.used_bytes is not None),
    )
    show.counter(
        "headrace_cache_failures",
        "Calls that a place where answers are kept did not answer in time.",
        ("level",),
        lambda: (((level.name,), level.failures) for level in answers.levels()),
    )


def _streams(show: Shown, streams: Iterable[Stream]) -> None:
    show.counter(
        "headrace_stream_events",
        "Events that a stream has dealt with: answered, or written to its dead letters.",
        ("stream", "outcome"),
        lambda: (
            ((stream.spec.name, outcome), getattr(stream.progress, attribute))
            for stream in streams
            for outcome, attribute in (("answered", "answered"), ("dead_letter", "dead"))
        ),
    )
    show.gauge(
        "headrace_stream_lag",
        "Events of a stream's topic that it has not dealt with yet.",
        ("stream",),
        lambda: (((stream.spec.name,), stream.lag) for stream in streams),
    )


def _hooks(show: Shown, hooks: Hooks) -> None:
    show.counter(
        "headrace_hook_failures",
        "Calls of a hook that raised or took too long.",
        ("hook", "event"),
        lambda: (((hook.name, event), count) for hook in hooks.hooks for event, count in list(hook.failures.items())),
    )
    show.counter(
        "headrace_hook_missed",
        "Events that passed a hook by because it was too far behind.",
        ("hook",),
        lambda: (((hook.name,), hook.missed) for hook in hooks.hooks),
    )


def _values(one: Labels) -> tuple[str, ...]:
    return one.pipeline, one.version, one.mode, one.door, one.code
