"""How does a command end before its work is done? Ctrl-C lets it tidy up; a second one waits for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")

INTERRUPTED: Final = 130
"""The exit code, as shells have it."""
STDERR: Final = 2


def run(work: Coroutine[Any, Any, T]) -> T:
    """What *work* returns. Raises KeyboardInterrupt when it has ended because of Ctrl-C."""
    return asyncio.run(_patient_once(work))


async def _patient_once(work: Coroutine[Any, Any, T]) -> T:
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return await work
    cancel: Callable[[int, FrameType | None], object] = handler  # the runner's: it cancels this task
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            os.write(STDERR, b"stopped at once\n")
            os._exit(INTERRUPTED)
        pressed = True
        cancel(number, frame)

    signal.signal(signal.SIGINT, press)
    try:
        return await work
    finally:
        if not pressed:  # else a second one counts until the very end, threads that are waited for included
            signal.signal(signal.SIGINT, cancel)
