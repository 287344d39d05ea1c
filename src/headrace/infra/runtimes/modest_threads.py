"""How do the threads that help with a call leave the event loop its processor? They run at a lower priority.

A call with as many threads as there are processors, and the loop that reads the next requests meanwhile, want one
processor too many. At the same priority the loop waits for the call, and then the call for the loop. Threads that are
second to the loop take what it leaves, and a call with 32 rows of the MLP of 23 MB still ends sooner than on one:
64 clients had 1.05 to 1.07 times as many answers, 32 had 1.04 to 1.1 times, and 8 had as many.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeVar

NICE: Final = 10
"""Nine parts of a contended processor in ten go to others. At 19, or as `SCHED_IDLE`, a machine that somebody else
keeps busy would stop a call that waits for its helpers."""

T = TypeVar("T")


def with_modest_threads(make: Callable[[], T]) -> T:
    """The result of *make*, all of whose threads run at a lower priority than this one. Raises what it raises."""
    if sys.platform != "linux":  # elsewhere a priority is that of a process
        return make()
    made: Future[T] = Future()
    # Threads inherit the priority of the one that starts them, and who has lowered it may not raise it again.
    thread = threading.Thread(target=_make, args=(make, made), name="headrace-load", daemon=True)
    thread.start()
    thread.join()
    return made.result()


def _make(make: Callable[[], T], made: Future[T]) -> None:
    try:
        with suppress(OSError):  # a sandbox may forbid it
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICE)
        made.set_result(make())
    except BaseException as error:
        made.set_exception(error)
