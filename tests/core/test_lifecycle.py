"""Starting in order, stopping in reverse, whatever fails on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from headrace.core.lifecycle import Component, Lifecycle


@dataclass(eq=False)
class Part:
    """Writes down what happens to it; each step can be made to fail or to wait."""

    name: str
    log: list[str]
    fails: dict[str, BaseException] = field(default_factory=dict)
    waits: dict[str, asyncio.Event] = field(default_factory=dict)

    async def start(self) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    async def drain(self) -> None:
        await self._do("drain")

    async def ping(self) -> None:
        await self._do("ping")

    async def _do(self, step: str) -> None:
        self.log.append(f"{step} {self.name}")
        if step in self.waits:
            await self.waits[step].wait()
        if step in self.fails:
            raise self.fails[step]


@dataclass(eq=False)
class Bare:
    name: str = "bare"

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def parts(*names: str) -> tuple[list[Part], list[str]]:
    log: list[str] = []
    return [Part(name, log) for name in names], log


async def test_starts_in_order_and_stops_in_reverse() -> None:
    components, log = parts("cache", "engine", "door")
    lifecycle = Lifecycle(components)

    await lifecycle.start()
    running = lifecycle.state
    report = await lifecycle.stop(1.0)

    assert log == [
        *["start cache", "start engine", "start door"],
        *["drain door", "drain engine", "drain cache"],
        *["stop door", "stop engine", "stop cache"],
    ]
    assert (running, lifecycle.state) == ("running", "stopped")
    assert report.clean and report.drained == ("door", "engine", "cache") and report.seconds >= 0


async def test_failed_start_stops_what_had_started() -> None:
    components, log = parts("cache", "engine", "door")
    components[2].fails["start"] = OSError("port in use")
    components[0].fails["stop"] = ValueError("stuck")
    lifecycle = Lifecycle(components)

    with pytest.raises(OSError, match="port in use") as caught:
        await lifecycle.start()

    assert log[3:] == ["stop engine", "stop cache"]
    assert caught.value.__notes__ == ["stopping cache failed too: ValueError: stuck"]
    assert lifecycle.state == "stopped"
    assert (await lifecycle.stop(1.0)).clean


async def test_cancelled_start_stops_what_had_started() -> None:
    components, log = parts("cache", "engine")
    components[1].waits["start"] = asyncio.Event()
    lifecycle = Lifecycle(components)
    starting = asyncio.create_task(lifecycle.start())
    while "start engine" not in log:
        await asyncio.sleep(0)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert log[2:] == ["stop cache"]


async def test_stop_during_start_waits_for_it() -> None:
    components, log = parts("cache", "engine")
    gate = components[1].waits["start"] = asyncio.Event()
    lifecycle = Lifecycle(components)
    starting = asyncio.create_task(lifecycle.start())
    while "start engine" not in log:
        await asyncio.sleep(0)

    stopping = asyncio.create_task(lifecycle.stop(1.0))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(starting, stopping)

    assert log[2:] == ["drain engine", "drain cache", "stop engine", "stop cache"]


async def test_drain_is_cut_at_the_shared_deadline() -> None:
    components, log = parts("cache", "engine", "door")
    components[2].waits["drain"] = asyncio.Event()
    components[1].waits["drain"] = asyncio.Event()
    now = [0.0]
    lifecycle = Lifecycle(components, clock=lambda: now[0])
    await lifecycle.start()

    report = await lifecycle.stop(0.0)

    assert report.cut == ("door", "engine") and report.drained == ("cache",)
    assert not report.clean
    assert log[-3:] == ["stop door", "stop engine", "stop cache"]


async def test_time_that_one_component_takes_is_missing_for_the_next() -> None:
    components, log = parts("engine", "door")
    now = [100.0]
    lifecycle = Lifecycle(components, clock=lambda: now[0])
    await lifecycle.start()
    released = components[1].waits["drain"] = asyncio.Event()
    components[0].waits["drain"] = asyncio.Event()  # never set: only the deadline ends it

    stopping = asyncio.create_task(lifecycle.stop(60.0))
    while "drain door" not in log:
        await asyncio.sleep(0)
    now[0] += 60.0
    released.set()
    report = await stopping

    assert report.drained == ("door",) and report.cut == ("engine",)
    assert report.seconds == 60.0


async def test_failing_drain_and_stop_do_not_prevent_the_others() -> None:
    components, log = parts("cache", "engine", "door")
    components[2].fails["drain"] = RuntimeError("lost")
    components[1].fails["stop"] = RuntimeError("stuck")
    lifecycle = Lifecycle(components)
    await lifecycle.start()

    report = await lifecycle.stop(1.0)

    assert report.failed == {"door": "RuntimeError: lost", "engine": "RuntimeError: stuck"}
    assert log[-1] == "stop cache"


async def test_a_stop_that_hangs_and_ignores_cancellation_is_left_behind() -> None:
    release = asyncio.Event()

    class Stubborn(Part):
        async def stop(self) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            raise ValueError("too late to matter")

    log: list[str] = []
    lifecycle = Lifecycle([Part("cache", log), Stubborn("engine", log)], stop_s=0.0)
    await lifecycle.start()

    report = await lifecycle.stop(1.0)

    assert report.failed["engine"] == "did not stop within 0 s"
    release.set()


async def test_stop_goes_on_when_its_caller_leaves() -> None:
    components, log = parts("cache", "engine")
    gate = components[1].waits["drain"] = asyncio.Event()
    lifecycle = Lifecycle(components)
    await lifecycle.start()
    leaving = asyncio.create_task(lifecycle.stop(5.0))
    while "drain engine" not in log:
        await asyncio.sleep(0)

    leaving.cancel()
    gate.set()
    report = await lifecycle.stop(5.0)

    assert report.drained == ("engine", "cache")
    assert log[-1] == "stop cache"


async def test_every_stop_gets_the_same_report() -> None:
    components, log = parts("cache")
    lifecycle = Lifecycle(components)
    await lifecycle.start()

    first, second = await asyncio.gather(lifecycle.stop(1.0), lifecycle.stop(1.0))

    assert first is second is await lifecycle.stop(1.0)
    assert log.count("stop cache") == 1


async def test_it_starts_only_once() -> None:
    lifecycle = Lifecycle([])
    await lifecycle.start()

    with pytest.raises(RuntimeError, match="cannot start what is running"):
        await lifecycle.start()
    await lifecycle.stop(0)
    with pytest.raises(RuntimeError, match="cannot start what is stopped"):
        await lifecycle.start()


async def test_health_tells_who_is_well() -> None:
    components, _ = parts("cache", "engine", "door")
    components[1].fails["ping"] = ConnectionError("refused")
    components[2].waits["ping"] = asyncio.Event()
    bare: Component = Bare()
    lifecycle = Lifecycle([*components, bare], ping_s=0.0)
    before = await lifecycle.health()

    await lifecycle.start()
    during = await lifecycle.health()
    await lifecycle.stop(1.0)
    after = await lifecycle.health()

    assert set(before.values()) == {"not started"}
    assert during["engine"] == "ConnectionError: refused"
    assert during["door"] == "no answer within 0 s"
    assert during["bare"] is None
    assert set(after.values()) == {"stopped"}


async def test_a_ping_in_time_is_well() -> None:
    components, _ = parts("cache")
    lifecycle = Lifecycle(components)
    await lifecycle.start()

    assert await lifecycle.health() == {"cache": None}


async def test_a_health_check_that_is_abandoned_leaves_no_ping() -> None:
    components, log = parts("cache")
    components[0].waits["ping"] = asyncio.Event()
    lifecycle = Lifecycle(components, ping_s=60.0)
    await lifecycle.start()
    checking = asyncio.create_task(lifecycle.health())
    while "ping cache" not in log:
        await asyncio.sleep(0)

    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_part_that_cancels_itself_counts_as_failed() -> None:
    components, _ = parts("cache")
    components[0].fails["ping"] = asyncio.CancelledError()
    lifecycle = Lifecycle(components)
    await lifecycle.start()

    assert await lifecycle.health() == {"cache": "cancelled"}


async def test_components_need_different_names() -> None:
    components, _ = parts("cache", "cache")

    with pytest.raises(ValueError, match="different names, found cache, cache"):
        Lifecycle(components)
