"""Gathers single requests into batches: nothing waits while the machine is idle, and batches grow under load."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from headrace.domain.batch import Batch
from headrace.domain.errors import DeadlineExceeded, EngineError, NotReady, Overloaded
from headrace.domain.pipeline import Pipeline
from headrace.services.alarm import Alarm
from headrace.services.batch_run import RunBatch, run_batch
from headrace.services.bulk_turns import BulkTurns
from headrace.services.company import Company
from headrace.services.context import Inputs, RequestContext, Result, Timing
from headrace.services.entries import Answer, Entry, fail
from headrace.services.executor import Executor
from headrace.services.gate import Gate
from headrace.services.inputs import converted_early, wide_inputs
from headrace.services.measures import Measures
from headrace.services.picking import Picking
from headrace.services.placement import Placement
from headrace.services.relay import Relay
from headrace.services.running import Running
from headrace.services.sharing import NOTHING, needs_key, sharing_key
from headrace.services.witness import Witness


class Batcher:
    """The queue of one pipeline and the loop that empties it.

    Requests that arrive in one turn of the event loop meet in one batch. While batches run the queue grows, and
    the next batch is what has gathered. Entries are picked only once a place at the gate is there, so what has
    expired or whose caller has left by then never runs. Nothing that happens to a batch ends the loop.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        gate: Gate,
        executor: Executor,
        measures: Measures,
        instances: int = 1,
        run: RunBatch = run_batch,
        on_busy: Callable[[], object] = lambda: None,
        on_idle: Callable[[], object] = lambda: None,
        witness: Witness | None = None,
    ) -> None:
        batching = pipeline.spec.batching_or_default
        self.pipeline = pipeline
        pin = "thread" if pipeline.processes else pipeline.spec.placement
        self.placement = Placement(batching.max_size, pipeline.cap, pin)
        self.picking = Picking(pipeline, self.placement)
        self._scales = self.picking.scales
        self._filled = NOTHING if self._scales is None else self._scales.filled
        self.expired = 0
        self.departed = 0
        self._timeout_s = pipeline.spec.timeout_s
        self._max_queue = self._room = batching.max_queue
        self._linger_s = batching.max_wait_ms / 1e3
        self._instances = instances
        self._gate = gate
        self._executor = executor
        self._measures = measures
        self._witness = witness if witness is not None and witness.traces else None
        self._on_busy, self._on_idle = on_busy, on_idle
        self._pending: deque[Entry] = deque()
        self._rows = 0
        self._running: list[Running] = []
        self._executing = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = self._came = False
        self._linger = Alarm(lambda _: self._wake())
        self._deadlines = Alarm(self._expire_late)
        self._busy = False
        self._asking = 0
        self._bulk = BulkTurns(gate, self._free_for_bulk)
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._learns = pipeline.instances == "auto" and not pipeline.processes
        self._relay = Relay(pipeline, executor, gate, run, self._ended)
        self._at_once = self._relay.in_threads and self._linger_s <= 0
        self._company = Company()
        self._keyed = needs_key(pipeline)
        self._wide = wide_inputs(pipeline)

    @property
    def queued(self) -> int:
        """How many requests wait; those whose caller has left, or was told that its time is over, do not."""
        return sum(not entry.future.done() for entry in self._pending)

    @property
    def in_flight(self) -> int:
        """How many requests wait or run."""
        return self.queued + sum(len(running.entries) for running in self._running)

    @property
    def together(self) -> int:
        """How many batches of requests are worth running at the same time."""
        return self.placement.together(self._instances) if self._learns else self._instances

    def submit(self, inputs: Inputs, request: RequestContext) -> asyncio.Future[Result]:
        """Queue a request. Raises Overloaded at once when the queue is full, NotReady after `close`."""
        future: asyncio.Future[Result] = (self._loop or self._join_loop()).create_future()
        self.queue(inputs, request, future)
        return future

    def queue(self, inputs: Inputs, request: RequestContext, answer: Answer) -> None:
        """Queue a request whose end *answer* is told, which may be at once. Raises what `submit` raises."""
        if self._closed:
            raise NotReady(f"pipeline {self.pipeline.ref} is being unloaded")
        if len(self._pending) >= self._room and not self._has_room():
            raise Overloaded(f"{self._max_queue} requests wait for {self.pipeline.ref} already")
        if over := self._relay.over:  # the loop may read many requests before it is told of the end of a batch
            self._give_way(over.popleft())
        if self._wide:
            inputs = converted_early(inputs, self._wide)
        now = time.monotonic()
        key = None if not self._keyed and not request.options else sharing_key(inputs, request, self._filled)
        deadline = now + self._timeout_s if request.deadline is None else request.deadline
        entry = Entry(inputs, request, key, answer, now, deadline)
        if self._company.alone and deadline > now and request.trace is None and self._may_run_at_once(inputs.rows):
            self._run_alone(entry, self._loop or self._join_loop())
            return
        if self._scales is not None:
            entry.weight = self._scales.weigh(inputs)
        self._company.joined()
        self._pending.append(entry)
        self._rows += inputs.rows
        self._came = True
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._on_busy()
        if deadline < self._deadlines.at:
            self._deadlines.set(deadline, now)
        if self._rows >= self.placement.enough_rows and self._free():
            self._wake()
        else:
            self._awaken()

    def _join_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of this batcher, asked for once: the question is a system call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _may_run_at_once(self, rows: int) -> bool:
        """Whether a request of *rows* has nothing to wait for: nobody came with it, nothing waits, nothing runs."""
        return (
            self._at_once
            and not (self._company.present or self._pending or self._running or self._bulk.running or self._asking)
            and self.placement.inline(rows)
        )

    def _run_alone(self, entry: Entry, loop: asyncio.AbstractEventLoop) -> None:
        """Run the one request that there is, here and now, and note what was learned once its answer has left."""
        self._company.present = True
        running = Running([entry], self._executor.map, None)
        done: Batch | None = None
        try:
            running.begin(running.entries, self.pipeline)
            done = running.through(self.pipeline)
            running.timing.run_s = time.monotonic() - running.timing.started
            running.hand_out(done, self.pipeline, self._measures)
        except Exception as error:
            fail(running.entries, error)
        loop.call_soon(self._turn_over, done, running.timing)

    def _turn_over(self, done: Batch | None, timing: Timing) -> None:
        """The loop has turned: whoever comes now did not come together with the one before."""
        self._company.present = False
        self._learn(done, timing, 0.0)

    def _has_room(self) -> bool:
        """Whether another request may wait, once those are out of the queue who need no answer any more."""
        self._unstage()
        self._pending = deque(entry for entry in self._pending if not entry.future.done())
        self._rows = sum(entry.inputs.rows for entry in self._pending)
        self._awaken()
        return len(self._pending) < self._max_queue

    async def enter(self) -> None:
        """Wait until a slice of bulk work may run; requests go first, at the gate and at the model."""
        await self._bulk.enter()

    def leave(self) -> None:
        """A slice of bulk work is done."""
        self._bulk.leave()
        self._vacated()

    async def drained(self) -> None:
        """Wait until nothing is queued or running."""
        await self._idle.wait()

    def close(self) -> None:
        """Take no more requests; those queued are still answered."""
        self._closed = True
        if not self._busy:
            self._deadlines.cancel()  # it would keep this and the model in memory until its time

    def abandon(self, error: EngineError) -> int:
        """Fail everything still queued or running with *error*; returns how many requests that were."""
        abandoned = [entry for entry in self._entries() if not entry.future.done()]
        self._pending.clear()
        self._rows = 0
        for entry in abandoned:
            entry.future.set_exception(error)
        self._settle()
        return len(abandoned)

    def _entries(self) -> list[Entry]:
        return [*self._pending, *(entry for running in self._running for entry in running.entries)]

    def _free(self) -> bool:
        """Whether one more batch of requests may run; bulk work leaves the places free that it does not take."""
        taken = self._executing + self._asking
        return taken < self.together and taken + self._bulk.running < self._instances

    def _free_for_bulk(self) -> bool:
        """Whether a slice of bulk work may run, which takes nothing of the loop's time."""
        return self._executing + self._bulk.running < self._instances

    def _awaken(self) -> None:
        if not self._awake:
            self._awake = True
            (self._loop or self._join_loop()).call_soon(self._wake)

    def _vacated(self) -> None:
        """A batch or a slice of this model has ended: requests go first, bulk work looks again after them."""
        if self._pending:
            self._awaken()
        self._bulk.look()

    def _wake(self) -> None:
        """Start as many batches as may run now."""
        self._awake = False
        self._unstage()
        while self._pending and self._free():
            if not self._ripe():
                return
            if self.pipeline.synchronous and self.placement.inline(self.picking.next_rows(self._pending, self._rows)):
                self._run_inline(self._pick())
                continue
            if self._gathering():
                self._awaken()
                return
            self._asking += 1
            self._gate.ask("real_time", self._granted)
        if self._pending and self._executing and self._at_once and not self._asking:
            self._stage()
        self._settle()

    def _gathering(self) -> bool:
        """Whether to look at the connections once more first: requests came in the last turn, as more may in the next.

        That costs some microseconds when nothing comes.
        """
        came, self._came = self._came, False
        return came and not self._company.alone and self.picking.gathers(self._pending, self._rows, time.monotonic())

    def _ripe(self) -> bool:
        """Whether the oldest request has waited long enough for company, or there is enough of it."""
        if self._linger_s <= 0:
            return True
        now = time.monotonic()
        left = self.picking.hold_s(self._pending, self._rows, now)
        if left <= 0:
            return True
        self._linger.set(now + left, now)
        return False

    def _run_inline(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        running = self._picked(entries)
        running.gave_way = True  # it holds no place
        self._relay.here(running)

    def _picked(self, entries: Sequence[Entry]) -> Running:
        running = Running(entries, self._executor.map, self._witness)
        self._running.append(running)
        return running

    def _granted(self) -> None:
        """A place at the gate is there: now choose who gets it."""
        self._asking -= 1
        entries = self._pick() if self._free() else []
        if not entries:
            self._gate.leave()
            self._settle()
            return
        self._executing += 1
        self._relay.start(self._picked(entries))

    def _stage(self) -> None:
        """Let the thread that ends next go on with what waits, if that is worth a batch already."""
        if self._rows >= min(self.placement.enough_rows, self.picking.largest()) and (entries := self._pick()):
            self._relay.stage(self._picked(entries))
            self._room = self._max_queue - len(entries)

    def _unstage(self) -> None:
        """What was staged and has not begun waits again, in its old place: there may be more to go with it."""
        self._room = self._max_queue
        if (running := self._relay.take_back()) is not None:
            self._running.remove(running)
            self._pending.extendleft(reversed(running.entries))
            self._rows += sum(entry.inputs.rows for entry in running.entries)

    def _give_way(self, running: Running) -> None:
        """The work of a batch is done: the next one starts before its answers are handed out, which takes a while."""
        if running.gave_way:
            return
        running.gave_way = True
        self._executing -= 1
        self._gate.leave()
        self._unstage()
        if self._pending:
            self._wake()
        self._vacated()

    def _pick(self) -> list[Entry]:
        """The next entries that may share a batch, without the departed and the expired."""
        picked = self.picking.take(self._pending, time.monotonic())
        self._rows -= picked.rows
        self.departed += picked.departed
        for entry in picked.expired:
            self._expire(entry)
        return picked.entries

    def _ended(self, running: Running, done: Batch | BaseException | None) -> None:
        """A batch has come to *done*: hand it out, and learn from it. The loop outlives any batch."""
        with suppress(ValueError):
            self._relay.over.remove(running)
        relayed = running.gave_way
        self._give_way(running)
        try:
            if isinstance(done, BaseException):
                fail(running.entries, done)
            elif done is not None:
                timing = running.timing
                timing.run_s = time.monotonic() - timing.started
                running.hand_out(done, self.pipeline, self._measures)
                self._learn(done, timing, timing.started - running.members[0].queued_at)
        except Exception as error:
            fail(running.entries, error)
        finally:
            self.departed += running.departed()
            if running.spans is not None:
                running.spans.end(running.timing)
            self._company.batch(len(running.members))
            self._running.remove(running)
            if relayed and self._pending:
                self._awaken()
            self._settle()

    def _learn(self, done: Batch | None, timing: Timing, waited_s: float) -> None:
        """Note how long a batch took; one that failed early says nothing about the time that a good one takes."""
        if done is None:
            return
        if not done.failures:
            self.placement.observe(timing.batch_size, sum(seconds for _, _, seconds, _ in timing.steps))
        self._measures.batch(self.pipeline.ref, timing, waited_s, done, device=self.pipeline.device)

    def _settle(self) -> None:
        if self._busy and not self._pending and not self._running and not self._asking:
            self._busy = False
            self._idle.set()
            if self._closed:
                self._deadlines.cancel()  # it would keep the model in memory until its time
            self._on_idle()

    def _expire_late(self, now: float) -> float | None:
        """Answer every caller whose time is over, queued or running; returns when the next one's is."""
        following: float | None = None
        for entry in self._entries():
            if entry.future.done():
                continue
            if now >= entry.deadline:
                self._expire(entry)
            elif following is None or entry.deadline < following:
                following = entry.deadline
        return following

    def _expire(self, entry: Entry) -> None:
        self.expired += 1
        waited = time.monotonic() - entry.queued_at
        entry.future.set_exception(
            DeadlineExceeded(f"the deadline passed after {waited * 1e3:.0f} ms with {self.pipeline.ref}")
        )
