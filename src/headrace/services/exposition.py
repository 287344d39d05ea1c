"""Which numbers are shown to whoever scrapes, and under which names? Those of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from headrace.services.engine import Engine
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


def expose(show: Shown, engine: Engine, streams: Iterable[Stream]) -> None:
    """Let *show* have everything that is measured."""
    _requests(show, engine)
    _queues(show, engine)
    _streams(show, streams)
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
        ("pipeline", "version", "phase"),
        lambda: (((ref.name, ref.version, phase), seen) for (ref, phase), seen in measures.phases.items()),
    )
    show.histogram(
        "headrace_batch_size",
        "Rows in a batch.",
        ("pipeline", "version"),
        lambda: (((ref.name, ref.version), seen) for ref, seen in measures.batch_sizes.items()),
    )
    show.counter(
        "headrace_cache",
        "Rows looked up in the cache.",
        ("pipeline", "version", "state"),
        lambda: (((ref.name, ref.version, state), count) for (ref, state), count in measures.cache.items()),
    )


def _queues(show: Shown, engine: Engine) -> None:
    for name, text, attribute in (
        ("headrace_queue_depth", "Requests that wait for a batch.", "queued"),
        ("headrace_in_flight", "Requests that wait or run.", "in_flight"),
    ):
        show.gauge(
            name,
            text,
            ("pipeline", "version"),
            lambda attribute=attribute: (  # type: ignore[misc]
                ((ref.name, ref.version), getattr(engine.registry.get(ref).batcher, attribute))
                for ref in engine.registry
            ),
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
