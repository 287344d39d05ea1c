"""How are routes changed while a server runs? What is set wins over the file until it is reset, restarts included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.core.logging import logger
from headrace.domain.errors import EngineError, InvalidConfig, NotFound
from headrace.domain.ports import RouteStore, SetRoute
from headrace.domain.route_check import route_problems
from headrace.domain.routing import Router
from headrace.domain.spec import RouteSpec
from headrace.services.deployments import Deployments

log = logger(__name__)

Announce = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class RouteState:
    """How a name is routed: *current* counts; it is *kept* (set at run time) or *declared* in a file, or neither."""

    name: str
    declared: RouteSpec | None = None
    kept: SetRoute | None = None

    @property
    def current(self) -> RouteSpec | None:
        """The route that counts."""
        return self.declared if self.kept is None else self.kept.spec


class Routes:
    """Routes at run time. *announce* is told of each change made here, for other processes to `refresh`."""

    def __init__(
        self, router: Router, deployments: Deployments, store: RouteStore, announce: Announce = lambda _: None
    ) -> None:
        self.announce = announce
        self._router = router
        self._deployments = deployments
        self._store = store
        self._kept: Mapping[str, SetRoute] = {}
        self._change = asyncio.Lock()

    def show(self, name: str) -> RouteState:
        """How *name*, a pipeline or its file's stem, is routed. Raises NotFound for one that is not declared."""
        return self._state(self._known(name))

    def all(self) -> list[RouteState]:
        """Every route, by name."""
        names = {route.name for route in self._router.declared()} | set(self._kept)
        return [self._state(name) for name in sorted(names)]

    async def set(self, spec: RouteSpec, by: str = "") -> RouteState:
        """Keep *spec* and route by it from now on.

        Raises NotFound for a pipeline or a version that is not declared, InvalidConfig for what does not make a
        route, DependencyFailure when it cannot be kept; the old route goes on then.
        """
        spec = replace(spec, name=self._known(spec.name))
        self._check(spec)
        async with self._change:
            kept = await self._store.set(spec, by)
            self._apply({**self._kept, spec.name: kept})
        log.info("route set", route=spec.name, by=by)
        self.announce({"change": "route", "name": spec.name})
        return self._state(spec.name)

    async def reset(self, name: str, by: str = "") -> RouteState:
        """Forget what was set for *name*: its file counts again. Nothing happens where nothing was set."""
        name = self._router.canonical(name)
        if name not in self._kept:
            name = self._known(name)
        async with self._change:
            forgotten = await self._store.reset(name, by)
            self._apply({key: kept for key, kept in self._kept.items() if key != name})
        if forgotten:
            log.info("route reset", route=name, by=by)
            self.announce({"change": "route", "name": name})
        return self._state(name)

    async def refresh(self) -> bool:
        """Route by what is kept now, whoever changed it; returns whether that is something else than before.

        When it cannot be read, the routes stay as they are known.
        """
        async with self._change:
            try:
                kept = await self._store.all()
            except EngineError:  # the store has said what is wrong
                return False
            if kept == self._kept:
                return False
            self._apply(kept)
            return True

    def _apply(self, kept: Mapping[str, SetRoute]) -> None:
        self._kept = kept
        self._router.override(one.spec for one in kept.values())
        self._deployments.inference.forget_choices()

    def _state(self, name: str) -> RouteState:
        declared = {route.name: route for route in self._router.declared()}
        return RouteState(name, declared.get(name), self._kept.get(name))

    def _known(self, name: str) -> str:
        return self._deployments.find(name)[0].ref.name

    def _check(self, spec: RouteSpec) -> None:
        found = self._deployments.find(spec.name)
        registry = self._deployments.inference.engine.registry
        loaded = {
            one.ref.version: registry.get(one.ref).pipeline.inputs if one.ref in registry else None for one in found
        }
        problems = list(route_problems(spec, loaded))
        if not problems:
            return
        message = "; ".join(f"{problem.key}: {problem.message}" for problem in problems)
        details = {"mistakes": [{"key": problem.key, "message": problem.message} for problem in problems]}
        kind = NotFound if all(problem.missing for problem in problems) else InvalidConfig
        raise kind(f"the route of {spec.name!r} does not hold: {message}", details=details)
