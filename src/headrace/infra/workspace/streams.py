"""What is wrong with a declared stream: its pipeline, its topics, its window?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headrace.core.config import did_you_mean
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelUse, RouteSpec, StreamSpec
from headrace.infra.workspace.documents import Remarks


class StreamCheck:
    """Looks at the streams of one workspace."""

    def __init__(
        self,
        pipelines: Iterable[PipelineRef],
        aliases: Mapping[str, str],
        routes: Sequence[RouteSpec],
        lost: Sequence[str],
        workers: int = 1,
    ) -> None:
        """*workers* is the number of processes that serve."""
        self._versions: dict[str, list[str]] = {}
        for ref in pipelines:
            self._versions.setdefault(ref.name, []).append(ref.version)
        self._aliases = aliases
        self._routes = {route.name: route for route in routes}
        self._lost = lost
        self._workers = workers

    def look(self, spec: StreamSpec, remarks: Remarks) -> None:
        """Say what is wrong with *spec*."""
        self._pipeline(spec, remarks)
        if self._workers > 1 and spec.broker == "memory:":
            found = f"found a broker in the memory of one process, and api.workers is {self._workers}"
            remarks.add(spec, "broker", f"{found}: an event would reach one worker alone; wanted workers: 1")
        here = remarks.within("window")
        if spec.window.max_events < 1:
            here.add(spec.window, "max_events", f"found {spec.window.max_events}, wanted an integer of at least 1")
        if not 0 <= spec.window.max_ms < float("inf"):
            here.add(spec.window, "max_ms", f"found {spec.window.max_ms:g}, wanted a number of at least 0")

    def _pipeline(self, spec: StreamSpec, remarks: Remarks) -> None:
        inner = isinstance(spec.pipeline, ModelUse)
        use = spec.pipeline if isinstance(spec.pipeline, ModelUse) else ModelUse(spec.pipeline)
        here, owner = (remarks.within("pipeline"), spec.pipeline) if inner else (remarks, spec)
        name = self._aliases.get(use.name, use.name)
        versions = self._versions.get(name, [])
        route = self._routes.get(name)
        known = [*versions, *(route.aliases if route else ())]
        if name in self._lost:
            return
        if not versions:
            names = sorted({*self._versions, *self._aliases})
            found = f"found no pipeline {use.name!r}{did_you_mean(use.name, names)}"
            here.add(owner, "name" if inner else "pipeline", f"{found}, wanted one of: {', '.join(names) or 'none'}")
        elif use.version is None and len(versions) > 1 and (route is None or not (route.default or route.split)):
            found = f"found pipeline {name!r} in versions {', '.join(versions)} and no route"
            here.add(owner, "name" if inner else "pipeline", f"{found}, wanted {{name, version}}")
        elif use.version is not None and use.version not in known:
            found = f"found no version {use.version!r}{did_you_mean(use.version, known)}"
            here.add(owner, "version", f"{found}, wanted one of: {', '.join(known)}")


def check_topics(streams: Sequence[tuple[StreamSpec, Remarks]]) -> None:
    """Say where events would come back to the stream that they left, which would never end."""
    feeds = {spec.name: set(spec.topics[1:]) for spec, _ in streams}
    takes = {spec.name: spec.topics[0] for spec, _ in streams}
    for spec, remarks in streams:
        topic, results, dead = spec.topics
        if results == dead:
            remarks.add(spec, "dead_letters", f"found the topic of the results, {results!r}, wanted another one")
        way = _way_back(spec.name, feeds, takes)
        if way:
            key = "results" if topic == results or len(way) > 1 else "dead_letters"
            remarks.add(spec, key, f"found a circle: {' -> '.join([spec.name, *way])}; events would never leave it")


def _way_back(start: str, feeds: Mapping[str, set[str]], takes: Mapping[str, str]) -> list[str]:
    """The streams that an event passes from *start* until it is there again; none if it never is."""
    ways: list[list[str]] = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name, topic in takes.items():
            if topic not in feeds[way[-1]]:
                continue
            if name == start:
                return [*way[1:], start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
