"""What does Prometheus see? Plain numbers of the services, put into its text format when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol


class Buckets(Protocol):
    """A histogram as the services keep it: counts per bucket, one more than there are bounds, and the sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float


Labelled = Iterator[tuple[tuple[str, ...], Any]]


class Exposition:
    """Renders families of counters, gauges and histograms; each is read anew at every scrape."""

    def __init__(self) -> None:
        self._families: list[tuple[str, str, str, tuple[str, ...], Callable[[], Labelled]]] = []

    def counter(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a counter *name*; *read* gives (label values, number) pairs."""
        self._families.append(("counter", name, help_text, tuple(labels), read))

    def gauge(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a gauge *name*; *read* gives (label values, number) pairs."""
        self._families.append(("gauge", name, help_text, tuple(labels), read))

    def histogram(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a histogram *name*; *read* gives (label values, Buckets) pairs."""
        self._families.append(("histogram", name, help_text, tuple(labels), read))

    def collect(self) -> Iterator[Any]:
        """The families as prometheus_client wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds: Mapping[str, Any] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        for kind, name, help_text, labels, read in self._families:
            family = kinds[kind](name, help_text, labels=labels)
            for values, sample in read():
                if kind == "histogram":
                    family.add_metric(values, cumulative(sample), sample.sum)
                else:
                    family.add_metric(values, sample)
            yield family

    def render(self) -> bytes:
        """The text format 0.0.4, in UTF-8."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return bytes(generate_latest(registry))


def cumulative(buckets: Buckets) -> list[tuple[str, float]]:
    """(upper bound, how many at most that) for each bucket, the last one without bound."""
    total = 0
    rows: list[tuple[str, float]] = []
    for bound, count in zip((*map(_shown, buckets.bounds), "+Inf"), buckets.counts, strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows


def _shown(bound: float) -> str:
    return repr(float(bound))
