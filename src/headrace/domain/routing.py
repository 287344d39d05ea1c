"""How a name becomes a version: by alias, header, sticky key, weight or default, as somebody wrote it down."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.domain.errors import NotFound
from headrace.domain.parameters import nearest
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import RouteSpec


class Versions(Protocol):
    """What a router asks of the registry."""

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a name."""

    def only(self, name: str) -> PipelineRef:
        """The single loaded version of a name."""

    def names(self) -> list[str]:
        """All names."""


@dataclass(slots=True)  # not frozen: one is made for every request, and that would take twice as long
class Asked:
    """What a request says about the pipeline it wants.

    Work that is one whole, however many rows it has, asks for the *steady* version: on a split not chance decides for
    all of it, but the larger share.
    """

    name: str
    version: str | None = None
    headers: Mapping[str, str] | None = None
    routing_key: str | None = None
    inputs: Mapping[str, Any] | None = None
    steady: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Which version answers, why, and which one looks on."""

    ref: PipelineRef
    reason: str
    shadow: PipelineRef | None = None


class Router:
    """Routes by name. "latest" is nothing here unless a route defines it as an alias."""

    def __init__(
        self,
        versions: Versions,
        routes: Iterable[RouteSpec] = (),
        aliases: Mapping[str, str] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """*aliases* map other names of a pipeline (its file's stem) to its own; *chance* draws from [0, 1)."""
        self._versions = versions
        self._chance = chance
        self._overriding: Mapping[str, RouteSpec] = {}
        self.replace(routes, aliases or {})

    def replace(self, routes: Iterable[RouteSpec], aliases: Mapping[str, str]) -> None:
        """Take another set of declared routes, all at once."""
        self._declared = {route.name: route for route in routes}
        self._routes = {**self._declared, **self._overriding}
        self._names = dict(aliases)

    def override(self, routes: Iterable[RouteSpec]) -> None:
        """From now on let *routes*, and no others, count in the place of the declared ones of their names."""
        self._overriding = {route.name: route for route in routes}
        self._routes = {**self._declared, **self._overriding}

    def declared(self) -> list[RouteSpec]:
        """The routes that files declare."""
        return list(self._declared.values())

    def route(self, name: str) -> RouteSpec | None:
        """The route of *name*, if one was written."""
        return self._routes.get(self.canonical(name))

    def canonical(self, name: str) -> str:
        """The pipeline's own name, for a name or an alias of its file."""
        return self._names.get(name, name)

    def fixed(self, asked: Asked) -> bool:
        """Whether the decision depends on the name and version alone."""
        route = self.route(asked.name)
        if asked.version is not None or route is None:
            return route is None or route.shadow is None
        return not (route.split or route.match or route.shadow)

    def decide(self, asked: Asked) -> Decision:
        """The version that answers *asked*. Raises NotFound or AmbiguousVersion."""
        name = self.canonical(asked.name)
        route = self._routes.get(name)
        loaded = self._versions.versions(name)
        if not loaded:
            bare, at, end = asked.name.rpartition("@")
            if at and self._versions.versions(self.canonical(bare)):
                apart = f"name {bare!r:.200}, and its version {end!r:.80} apart"
                raise NotFound(f"no pipeline {asked.name!r:.200}; {apart}")
            names = self._versions.names()
            raise NotFound(
                f"no pipeline {asked.name!r:.200}{nearest(asked.name, names)}; loaded: {', '.join(names) or 'none'}"
            )
        if asked.version is not None:
            return self._explicit(name, asked.version, route, loaded)
        if route is None:
            return Decision(self._versions.only(name), "only version")
        version, reason = self._by_route(route, asked)
        if version is None:
            return Decision(self._versions.only(name), "only version", self._shadow(name, route))
        version = route.aliases.get(version, version)
        self._require(name, version, loaded)
        return Decision(PipelineRef(name, version), reason, self._shadow(name, route))

    def _explicit(self, name: str, version: str, route: RouteSpec | None, loaded: list[str]) -> Decision:
        if version in loaded:
            return Decision(PipelineRef(name, version), "version")
        alias = route.aliases.get(version) if route else None
        if alias is None:
            known = [*loaded, *(route.aliases if route else ())]
            raise NotFound(
                f"pipeline {name!r} has no version or alias {version!r:.200}{nearest(version, known)}; "
                f"there are: {', '.join(known)}"
            )
        self._require(name, alias, loaded)
        return Decision(PipelineRef(name, alias), f"alias {version}")

    def _require(self, name: str, version: str, loaded: list[str]) -> None:
        if version not in loaded:
            raise NotFound(
                f"the route of {name!r} leads to version {version!r}, which is not loaded; loaded: {', '.join(loaded)}"
            )

    def _by_route(self, route: RouteSpec, asked: Asked) -> tuple[str | None, str]:
        headers = asked.headers or {}
        for match in route.match:
            if all(headers.get(key.lower()) == value for key, value in match.header.items()):
                return match.version, "header"
        if route.split:
            return self._by_weight(route, asked)
        return route.default, "default"

    def _by_weight(self, route: RouteSpec, asked: Asked) -> tuple[str, str]:
        key = asked.routing_key
        if key is None and route.sticky and asked.inputs and route.sticky in asked.inputs:
            key = str(asked.inputs[route.sticky])
        if key is None and asked.steady:
            return max(route.split, key=route.split.__getitem__), "largest share"
        if key is None:
            return _share(route.split, self._chance()), "split"
        digest = hashlib.blake2b(f"{route.name}\0{key}".encode(), digest_size=8).digest()
        return _share(route.split, int.from_bytes(digest) / 2**64), "sticky split"

    def _shadow(self, name: str, route: RouteSpec) -> PipelineRef | None:
        return None if route.shadow is None else PipelineRef(name, route.aliases.get(route.shadow, route.shadow))


def _share(split: Mapping[str, float], point: float) -> str:
    """The version whose share of the weights *point* (in [0, 1)) falls into."""
    left = point * sum(split.values())
    for version, weight in split.items():
        left -= weight
        if left < 0:
            return version
    return list(split)[-1]
