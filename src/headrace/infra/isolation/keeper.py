"""Who sees to it that a model's process runs? A thread that starts it, watches it, and starts another when it ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.core.logging import logger
from headrace.domain.errors import EngineError, ModelFailure
from headrace.infra.isolation.causes import Cause
from headrace.infra.isolation.process import Limits, ModelProcess
from headrace.infra.isolation.wire import Loaded, Start

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
ANOTHER: Final = "its artefact is not the one that was loaded any more; reload the model"
HOPELESS_AFTER: Final = 3
"""So many processes in a row that could not load, and requests are refused instead of waiting for the next one."""
END_S: Final = 2.0
"""How long a process may take to close its model before it is killed."""

log = logger("headrace.model")


@dataclass(frozen=True, slots=True)
class Events:
    """What a keeper tells, from its own thread."""

    ready: Callable[[ModelProcess], object]
    gone: Callable[[ModelProcess], object]
    resting: Callable[[], object]


class Keeper:
    """Keeps one process of a model running until `close`. A process that cannot load is tried again, ever later.

    A process never answers from other bytes than the one before it: *unchanged* tells whether the artefact is still
    what it was, and its columns and its code must be those that were loaded first.
    """

    def __init__(self, start: Start, limits: Limits, events: Events, unchanged: Callable[[], bool]) -> None:
        self.loaded: Loaded | None = None
        self.restarts: Counter[str] = Counter()
        self.last_cause: Cause | None = None
        self.resting_until: float | None = None
        """When the next process is started, if there is little hope for it (seconds of the monotonic clock)."""
        self.process: ModelProcess | None = None
        self._start, self._limits, self._events, self._unchanged = start, limits, events, unchanged
        self._name = str(start.config.get("name") or "model")
        self._refusal: Exception | None = None
        self._settled = threading.Event()
        self._closing = threading.Event()
        self._change = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"headrace-process-{self._name}", daemon=True)
        self._thread.start()

    def wait(self) -> Loaded:
        """What the first process loaded. Raises what it raised, or ModelFailure when it ended before that."""
        self._settled.wait()
        if self.loaded is not None:
            return self.loaded
        if self._refusal is not None:
            raise self._refusal
        why = "it was closed" if self.last_cause is None else self.last_cause.text
        raise ModelFailure(f"model {self._name!r}: its process did not load: {why}")

    def describe(self) -> Mapping[str, Any]:
        """How its process stands, as plain data."""
        process = self.process
        running = process is not None and not process.ended.is_set()
        return {
            "pid": process.pid if running and process is not None else None,
            "memory_mb": round(self.memory_bytes() / 2**20, 1),
            "restarts": self.restarts.total(),
            "last_cause": self.last_cause.text if self.last_cause else None,
        }

    def memory_bytes(self) -> int:
        """The resident memory of its process."""
        process = self.process
        return 0 if process is None else process.memory_bytes()

    def close(self) -> None:
        """End the process for good; blocks until it has ended."""
        with self._change:
            self._closing.set()
            process = self.process
        if process is not None:
            process.hang_up()
            process.kill(Cause("timeout", f"it did not end within {END_S:g} s"), wait_s=END_S)
        self._thread.join()

    def _keep(self) -> None:
        failures = 0
        while not self._closing.is_set():
            cause, was_ready = self._run_one()
            failures = 0 if was_ready else failures + 1
            self.last_cause = cause
            if self.loaded is None or self._closing.is_set():  # whoever asked for it is told, and may ask again
                break
            self.restarts[cause.kind] += 1
            self._rest(failures, hopeless=failures >= HOPELESS_AFTER or cause.kind == "refused")
        self._settled.set()

    def _run_one(self) -> tuple[Cause, bool]:
        """Start a process and stay with it to its end: why it ended, and whether it was ready before."""
        if self.loaded is not None and not self._unchanged():
            log.error("the process of a model is not started again", model=self._name, cause=ANOTHER)
            return Cause("refused", ANOTHER), False
        try:
            with self._change:
                process = self.process = ModelProcess(self._start, self._limits)
        except OSError as error:  # no memory, no process, no file descriptor to be had
            return Cause("refused", f"it could not be started: {error.strerror or error}"), False
        if self._closing.is_set():
            process.hang_up()
        was_ready = threading.Event()

        def ready(loaded: Loaded) -> None:
            if self._is_ready(process, loaded):
                was_ready.set()

        cause = process.watch(ready, self._refused)
        self._events.gone(process)
        if not self._closing.is_set():
            log.warning(
                "the process of a model ended",
                model=self._name, pid=process.pid, cause=cause.text, last_lines=process.last_lines,
            )  # fmt: skip
        process.close()
        return cause, was_ready.is_set()

    def _is_ready(self, process: ModelProcess, loaded: Loaded) -> bool:
        if (why := self._why_another(loaded)) is not None:
            process.kill(Cause("refused", why))
            return False
        if self.loaded is not None:
            log.info("the process of a model is ready again", model=self._name, pid=process.pid)
        self.loaded = loaded
        self.resting_until = None
        self._events.ready(process)
        self._settled.set()
        return True

    def _why_another(self, loaded: Loaded) -> str | None:
        """Why what a process has *loaded* is not what is served; the artefact may have changed while it loaded."""
        known = self.loaded
        if known is not None and (loaded.inputs, loaded.outputs) != (known.inputs, known.outputs):
            return "its artefact has other columns than before; reload the model"
        if known is not None and loaded.code != known.code:
            return "its code is not the one that was loaded any more; reload the model"
        return None if self._unchanged() else ANOTHER

    def _refused(self, error: Exception) -> None:
        self._refusal = error if isinstance(error, EngineError) else ModelFailure(str(error))

    def _rest(self, failures: int, *, hopeless: bool) -> None:
        """Wait before the next start when the last ones could not load; if that is *hopeless*, requests are refused."""
        if failures == 0:
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (failures - 1))
        if hopeless:
            self.resting_until = time.monotonic() + pause_s
            self._events.resting()
        log.warning("a model is started again after a pause", model=self._name, pause_s=pause_s)
        self._closing.wait(pause_s)
