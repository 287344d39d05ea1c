"""In which order do the parts of a server start and stop, and how do they fare in between?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

_CANCEL_GRACE_S = 0.1  # for code that cleans up when it is cancelled; then it is left behind

State = Literal["new", "starting", "running", "stopping", "stopped"]


class Component(Protocol):
    """A part that starts and stops.

    It may also have ``async drain()``, which returns once accepted work is done and takes no new, and
    ``async ping()``, which raises if the part cannot work. A `start` that raises has cleaned up after itself.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    async def start(self) -> None:
        """Become able to work; all components before it are."""
        ...

    async def stop(self) -> None:
        """Let go of everything; all components after it have stopped."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """How stopping went, by component: whose work was *cut* at the deadline, and what *failed*, in words."""

    drained: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was cut and nothing failed."""
        return not self.cut and not self.failed


class Lifecycle:
    """Starts *components* in order and stops them in reverse.

    *ping_s* bounds each health ping and *stop_s* each stop; *clock* gives seconds, for the shared drain deadline.
    """

    def __init__(
        self,
        components: Sequence[Component],
        *,
        ping_s: float = 1.0,
        stop_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = [component.name for component in components]
        if len(set(names)) < len(names):
            raise ValueError(f"components need different names, found {', '.join(names)}")
        self.state: State = "new"
        self._components = tuple(components)
        self._ping_s = ping_s
        self._stop_s = stop_s
        self._clock = clock
        self._started: list[Component] = []
        self._starting = asyncio.Lock()
        self._undoing: asyncio.Task[dict[str, str]] | None = None
        self._stopping: asyncio.Task[Report] | None = None
        self._left_behind: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all, in order. If one fails, or the caller leaves, stop those that started and raise.

        What fails then besides stands in the error's notes. Raises RuntimeError when called again.
        """
        async with self._starting:
            if self.state != "new":
                raise RuntimeError(f"cannot start what is {self.state}")
            self.state = "starting"
            try:
                for component in self._components:
                    await component.start()
                    self._started.append(component)
            except BaseException as error:
                self._undoing = asyncio.create_task(self._stop_all())
                for name, reason in (await asyncio.shield(self._undoing)).items():
                    error.add_note(f"stopping {name} failed too: {reason}")
                raise
            self.state = "running"

    async def stop(self, drain_s: float) -> Report:
        """Drain all and then stop all, in reverse order, giving draining *drain_s* in total.

        Goes on to the end even if something fails or the caller leaves; every further call gets the same report.
        A start that is under way is awaited first (cancel it to be quicker).
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain_and_stop(drain_s), name="lifecycle-stop")
        return await asyncio.shield(self._stopping)

    async def health(self) -> Mapping[str, str | None]:
        """By component: None if it is well, else what is wrong with it. Takes no longer than one ping's limit."""
        reasons = await asyncio.gather(*map(self._ping, self._components))
        return {component.name: reason for component, reason in zip(self._components, reasons, strict=True)}

    async def _drain_and_stop(self, drain_s: float) -> Report:
        async with self._starting:
            if self._undoing is not None:
                await self._undoing
        self.state = "stopping"
        begun = self._clock()
        drained: list[str] = []
        cut: list[str] = []
        failed: dict[str, str] = {}
        for component in reversed(self._started):
            if (drain := _optional(component, "drain")) is None:
                continue
            reason = await self._within(max(0.0, begun + drain_s - self._clock()), drain())
            if reason is None:
                drained.append(component.name)
            elif reason is _LATE:
                cut.append(component.name)
            else:
                failed[component.name] = reason
        failed |= await self._stop_all()
        return Report(tuple(drained), tuple(cut), failed, self._clock() - begun)

    async def _stop_all(self) -> dict[str, str]:
        """Stop what started, in reverse; why some did not, by component."""
        self.state = "stopping"
        failed: dict[str, str] = {}
        while self._started:
            component = self._started.pop()
            reason = await self._within(self._stop_s, component.stop())
            if reason is not None:
                failed[component.name] = f"did not stop within {self._stop_s:g} s" if reason is _LATE else reason
        self.state = "stopped"
        return failed

    async def _ping(self, component: Component) -> str | None:
        if not any(component is started for started in self._started):
            return "stopped" if self.state in ("stopping", "stopped") else "not started"
        ping = _optional(component, "ping")
        reason = None if ping is None else await self._within(self._ping_s, ping())
        return f"no answer within {self._ping_s:g} s" if reason is _LATE else reason

    async def _within(self, limit_s: float, work: Coroutine[Any, Any, None]) -> str | None:
        """None if *work* ends well in time, `_LATE` if not, else why it failed."""
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            await self._cancel(task)
            return _LATE
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return None if error is None else f"{type(error).__name__}: {error}"

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        # Waiting for the end of a task that ignores its cancellation would make one part's fault everybody's.
        task.cancel()
        self._left_behind.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=_CANCEL_GRACE_S)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._left_behind.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so that asyncio does not complain about it later


_LATE = "late"


def _optional(component: Component, name: str) -> Callable[[], Coroutine[Any, Any, None]] | None:
    return getattr(component, name, None)
