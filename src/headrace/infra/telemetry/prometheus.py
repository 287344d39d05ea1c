"""What does Prometheus see? Plain numbers of the services, put into its text format when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from headrace.core.families import Family, Kind, Sample

Labelled = Iterator[tuple[tuple[str, ...], Any]]


class Exposition:
    """Renders families of counters, gauges and histograms; each is read anew at every scrape."""

    def __init__(self) -> None:
        self._families: list[tuple[Kind, str, str, tuple[str, ...], Callable[[], Labelled]]] = []

    def counter(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a counter *name*; *read* gives (label values, number) pairs."""
        self._families.append(("counter", name, help_text, tuple(labels), read))

    def gauge(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a gauge *name*; *read* gives (label values, number) pairs."""
        self._families.append(("gauge", name, help_text, tuple(labels), read))

    def histogram(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a histogram *name*; *read* gives (label values, histogram) pairs.

        A histogram has upper *bounds*, *counts* (one more, for what is above), and the *sum* of what was seen.
        """
        self._families.append(("histogram", name, help_text, tuple(labels), read))

    def read(self) -> list[Family]:
        """The families as they are now."""
        return [
            Family(kind, name, help_text, labels, tuple(_sample(kind, *one) for one in read()))
            for kind, name, help_text, labels, read in self._families
        ]

    def render(self, families: Iterable[Family] | None = None) -> bytes:
        """*families*, or those of this process, in the text format 0.0.4, in UTF-8."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self.read() if families is None else families))
        return bytes(generate_latest(registry))


class _Collector:
    """Families as prometheus_client wants them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds: Mapping[str, Any] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        for family in self._families:
            shown = kinds[family.kind](family.name, family.help_text, labels=family.labels)
            for sample in family.samples:
                if family.kind == "histogram":
                    shown.add_metric(sample.labels, cumulative(sample), sample.value)
                else:
                    shown.add_metric(sample.labels, sample.value)
            yield shown


def _sample(kind: Kind, labels: tuple[str, ...], found: Any) -> Sample:
    if kind == "histogram":
        return Sample(labels, found.sum, tuple(found.bounds), tuple(found.counts))
    return Sample(labels, found)


def cumulative(sample: Sample) -> list[tuple[str, float]]:
    """(upper bound, how many at most that) for each bucket, the last one without bound."""
    total = 0
    rows: list[tuple[str, float]] = []
    for bound, count in zip((*map(_shown, sample.bounds), "+Inf"), sample.counts, strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows


def _shown(bound: float) -> str:
    return repr(float(bound))
