"""A second session of one thread, for calls that run beside others: when is it made, and of what?

Several calls with all processors each wait for each other's threads: an encoder of 90 MB, two of whose batches run at
the same time for 64 clients, answered 1.07 times as many requests with a thread a call, and for 8 clients likewise.
Threads belong to a session, so there are two.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from headrace.infra.runtimes.modest_threads import with_modest_threads

WORTH_CALLS: Final = 4
"""So many calls beside others make a second session worth its time and memory. Such calls may take long: an encoder of
90 MB needed more than a second for 16 of them, at two thirds of its speed."""
MOST_BYTES: Final = 128 << 20
"""The largest file of which the weights are kept twice: the longer the calls, the less a thread a call gains."""

log = logging.getLogger(__name__)


class SecondSession:
    """Makes a session of *file* in the background once enough calls have asked for one."""

    def __init__(self, file: Path, make: Callable[[], Any]) -> None:
        self._file = file
        self._before = _state(file)
        self._make = make
        self._session: Any = None
        self._asked = count(1)
        self._closed = False
        self._lock = threading.Lock()

    def session(self) -> Any:
        """The session for a call beside others; None while there is none."""
        if self._session is None and next(self._asked) == WORTH_CALLS and not self._closed:
            threading.Thread(target=self.open, name="headrace-onnx", daemon=True).start()
        return self._session

    def open(self) -> None:
        """Make the session, unless the file is another one than it was; the first one goes on alone then."""
        try:
            session = with_modest_threads(self._make)  # the requests that made it worth while come first
        except Exception as error:  # of ONNX Runtime there is no common type; it was no problem the first time
            log.info("no second session: %s", error)
            return
        with self._lock:
            if not self._closed and _state(self._file) == self._before:
                self._session = session

    def close(self) -> None:
        """Drop the session, also one that is being made."""
        with self._lock:
            self._closed, self._session = True, None

    @property
    def memory_bytes(self) -> int:
        """What the weights take once more."""
        return 0 if self._session is None else self._before[2]


def worth_two(file: Path, *, threads: int, external: bool) -> bool:
    """Whether a model may get a second session: calls take several threads, and it is small and in one file."""
    return threads > 1 and not external and file.stat().st_size <= MOST_BYTES


def _state(file: Path) -> tuple[int, int, int]:
    """What changes when the file does."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
