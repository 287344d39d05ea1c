"""A model in processes of its own, as the server sees it: an adapter like any other, that passes batches on."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, TypeVar, cast

from headrace.domain.errors import InvalidConfig, ModelFailure, NotReady, Overloaded, ProcessDied
from headrace.domain.model import ModelAdapter
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.isolation.causes import Cause
from headrace.infra.isolation.keeper import Events, Keeper
from headrace.infra.isolation.process import Limits, ModelProcess, Unreached
from headrace.infra.isolation.wire import Broken, Loaded, Silent, Start, encode

ATTEMPTS: Final = 2
"""How often a batch is run when the process dies in it: once more, and then it has failed."""

T = TypeVar("T")


def load_isolated(
    type: str, model_path: str, config: Mapping[str, Any], unchanged: Callable[[], bool] = lambda: True
) -> ModelAdapter:
    """As `runtimes.load_model`, in as many processes as ``instances`` in *config* says (one for ``auto``).

    *unchanged* tells whether the artefact is still the one that was meant: each process asks it, from its own thread,
    before it answers for the first time, and one that takes the place of another is not started otherwise.

    Raises what loading raises, or ModelFailure when a process ends or takes too long before it has loaded.
    """
    start = Start(sys.path, type, model_path, dict(config))
    try:
        encode(start)
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"model {config.get('name')!r}: options: {error}") from error
    processes = _Processes(start, _limits(config), processes_of(config), unchanged)
    try:
        loaded = processes.wait()
    except BaseException:
        processes.close()
        raise
    return (IsolatedGenerator if loaded.generates else IsolatedModel)(processes, loaded)


def processes_of(config: Mapping[str, Any]) -> int:
    """How many processes a model of its own processes has."""
    instances = config.get("instances", "auto")
    return 1 if instances == "auto" else int(instances)


def _limits(config: Mapping[str, Any]) -> Limits:
    given = config.get("process") or {}
    return Limits(
        float(given.get("load_timeout_s", 120.0)),
        float(given.get("predict_timeout_s", 60.0)),
        given.get("memory_limit_mb"),
    )


class _Processes:
    """The processes of one model, and which of them are free."""

    def __init__(self, start: Start, limits: Limits, count: int, unchanged: Callable[[], bool]) -> None:
        self.name = str(start.config.get("name") or "model")
        self._free: list[ModelProcess] = []
        self._changed = threading.Condition()
        self._closed = False
        self._held = 0
        events = Events(self._give, self._forget, self._wake)
        self.keepers = [Keeper(start, limits, events, unchanged) for _ in range(count)]

    def wait(self) -> Loaded:
        """Wait until all have loaded. Raises what the first of them raises that has not."""
        loaded = [keeper.wait() for keeper in self.keepers]
        return loaded[0]

    def attempt(self, ask: Callable[[ModelProcess], T]) -> T:
        """Let a free process answer *ask*; once more with another one when it dies.

        Raises what *ask* raises, ProcessDied, or NotReady when there is no process and will not be one soon.
        """
        attempt = 1
        while True:
            process = self._take()
            try:
                answer = ask(process)
            except Unreached:
                self._end(process)
            except Silent:
                raise self._died(process) from None
            except Broken:
                if attempt == ATTEMPTS or self._closed:
                    raise self._died(process) from None
                self._end(process)
                attempt += 1
            except BaseException:
                self._give(process)
                raise
            else:
                self._give(process)
                return answer

    @contextmanager
    def held(self) -> Generator[ModelProcess, None, None]:
        """A process for longer than one answer. Raises Overloaded at once when all are held like that.

        To wait for them would take a thread, and who holds one may need that thread to go on.
        """
        with self._changed:
            if self._held >= len(self.keepers):
                raise Overloaded(f"model {self.name!r}: {self._held} answers are being generated, one in each process")
            self._held += 1
        try:
            process = self._take()
            try:
                yield process
            except (Broken, Silent):
                raise self._died(process) from None
            finally:
                if not process.ended.is_set():
                    self._give(process)
        finally:
            with self._changed:
                self._held -= 1

    @staticmethod
    def _end(process: ModelProcess) -> None:
        """Let a process that says nothing sensible any more end by itself, for the cause that shows, or end it."""
        process.kill(Cause("exit", "it closed its channel, or spoke out of turn"), wait_s=1.0)
        process.ended.wait(5.0)

    def _died(self, process: ModelProcess) -> ModelFailure | NotReady:
        self._end(process)
        if self._closed:
            return NotReady(f"model {self.name!r} is being unloaded")
        why = "no reason is known" if process.cause is None else process.cause.text
        return ProcessDied(f"model {self.name!r}: its process died: {why}")

    def _take(self) -> ModelProcess:
        with self._changed:
            while True:
                if self._closed:
                    raise NotReady(f"model {self.name!r} is closed")
                if self._free:
                    return self._free.pop()
                self._require_hope()
                self._changed.wait()

    def _require_hope(self) -> None:
        """Raises NotReady unless a process is at work, or starts for the first time after its end."""
        resting = [keeper.resting_until for keeper in self.keepers]
        if None in resting:
            return
        cause = self.keepers[0].last_cause
        why = "" if cause is None else f": {cause.text}"
        after = max(1.0, min(cast(list[float], resting)) - monotonic())
        raise NotReady(f"model {self.name!r}: its process cannot be started again{why}", retry_after_s=after)

    def _give(self, process: ModelProcess) -> None:
        with self._changed:
            if not process.ended.is_set():
                self._free.append(process)
                self._changed.notify()

    def _forget(self, process: ModelProcess) -> None:
        with self._changed:
            if process in self._free:
                self._free.remove(process)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all of them; whoever waits for one is told that there is none."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        enders = [threading.Thread(target=keeper.close, daemon=True) for keeper in self.keepers]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()


class IsolatedModel(ModelAdapter):
    """A loaded model whose `predict` runs in a process of its own.

    Columns of numbers stand in memory that both processes see: they are written there once, the model reads them
    there, and its answer is read where it was written. Everything else travels as msgpack.
    """

    concurrent = True
    pure = True

    def __init__(self, processes: _Processes, loaded: Loaded) -> None:
        self._processes = processes
        self._loaded = loaded
        self.device = loaded.device
        self.own_processes = len(processes.keepers)

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Nothing is left to do: `load_isolated` makes it of loaded processes."""

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Run one batch. Raises what the model raises, ProcessDied when two processes died of it, or NotReady."""
        return self._processes.attempt(lambda process: process.predict(inputs))

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that the model takes."""
        return self._loaded.inputs

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that the model gives."""
        return self._loaded.outputs

    def close(self) -> None:
        """End the processes; their memory is free when this returns."""
        self._processes.close()

    def describe(self) -> Mapping[str, Any]:
        """What the model says of itself, and how its processes stand."""
        return {**self._loaded.facts, "isolation": "process",
                "processes": [keeper.describe() for keeper in self._processes.keepers]}  # fmt: skip

    def memory_bytes(self) -> int:
        """The resident memory of its processes together."""
        return sum(keeper.memory_bytes() for keeper in self._processes.keepers)

    def restarts(self) -> Mapping[str, int]:
        """How often a process had to be started again, by the kind of its cause."""
        return sum((keeper.restarts for keeper in self._processes.keepers), Counter())


class IsolatedGenerator(IsolatedModel):
    """The same for a model that also answers in chunks; its process does nothing else meanwhile."""

    def generate(
        self, inputs: Mapping[str, Column], deadline: float | None
    ) -> Generator[Mapping[str, Column], None, None]:
        """Yield the chunks of the model, each made when it is asked for. Raises as `predict`, without a second try."""
        with self._processes.held() as process:
            yield from process.generate(inputs, deadline)
