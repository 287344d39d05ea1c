"""What does a server do otherwise when it is one of several workers?"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.adapters.http.shared_listener import Counts
from headrace.assembly import Application
from headrace.infra.telemetry.prometheus import Exposition
from headrace.services.siblings import Siblings, deployment_changes
from headrace.services.statistics import Statistics, statistics_here
from headrace.services.worker_messages import Change, Figures


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one worker: it shares *listener* with its *siblings*, and *counts*, which keep the shares even.

    One that comes *late*, for another that died, lets nobody in before it is loaded, and begins with what was loaded
    and unloaded by hand before it came, the *wishes*.
    """

    listener: socket.socket
    counts: Counts
    siblings: Siblings
    late: bool = False
    wishes: Sequence[Change] = ()

    def join(self, application: Application, show: Exposition) -> AllWorkers:
        """Let *application* tell the siblings what changes, and do what they tell; returns what `/metrics` shows."""
        measures = application.inference.measures
        deployments = application.deployments
        deployments.held_back = not self.late
        deployments.announce = self.siblings.announce
        application.routes.announce = lambda _: self.siblings.announce_soon("routes")

        async def refresh(_: Change) -> None:
            await application.routes.refresh()

        def read() -> Figures:
            return Figures(tuple(show.read()), tuple(statistics_here(measures)))

        async def of_all() -> Sequence[Statistics]:
            return (await self.siblings.figures()).statistics

        self.siblings.join({**deployment_changes(deployments), "routes": refresh}, read)
        measures.of_all_workers = of_all
        return AllWorkers(self.siblings, show)

    async def listen(self, application: Application, stop: asyncio.Event) -> None:
        """Follow the siblings and the supervisor until the latter is gone."""

        def opened() -> None:
            application.deployments.held_back = False

        await self.siblings.listen(stop, opened)

    async def follow_wishes(self) -> None:
        """Do what was done by hand before this worker came."""
        for wish in self.wishes:
            await asyncio.create_task(self.siblings.follow(wish))


class AllWorkers:
    """What `/metrics` shows where there are several workers: the numbers of all."""

    def __init__(self, siblings: Siblings, show: Exposition) -> None:
        self._siblings = siblings
        self._show = show

    async def render(self) -> bytes:
        """The text format of Prometheus."""
        return self._show.render((await self._siblings.figures()).families)
