"""How do several processes accept from one socket so that each gets its share?"""

from __future__ import annotations

import asyncio
import errno
import mmap
import socket
from collections.abc import Callable
from typing import Any, Final

from headrace.core.logging import logger

PAUSE_S: Final = 1.0
SHORT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PATIENCE_S: Final = 0.01
"""How long a process that has more connections than another one leaves it the next."""
LOOK_S: Final = 0.001
"""How often it looks in that time whether the other has as many by now."""
CLOSED: Final = -1
"""The count of a process that accepts nobody."""
COUNT_BYTES: Final = 4

log = logger("headrace")


class Counts:
    """How many connections each of several processes has, in memory that all of them see.

    *file* has `COUNT_BYTES` for each of them, and this one is *number*, from 1.
    """

    def __init__(self, file: int, number: int) -> None:
        self._all = memoryview(mmap.mmap(file, 0)).cast("i")
        self._own = number - 1

    def tell(self, count: int) -> None:
        """This process has so many."""
        self._all[self._own] = count

    def least_of_others(self) -> int | None:
        """The fewest that another process has which accepts; None if there is no such process."""
        others = [count for place, count in enumerate(self._all) if place != self._own and count != CLOSED]
        return min(others, default=None)


class SharedListener:
    """Accepts one connection in each turn of the loop, and leaves it to others for a moment while they have fewer.

    Left alone, the process that is woken first would empty the queue, and keep the connections of that moment for as
    long as their clients do. *connections* tells how many this process has.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        counts: Counts,
        connections: Callable[[], int],
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._counts = counts
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[Any]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._patient_until = 0.0
        self._seen: int | None = None
        self._taken_over = 1

    def open(self) -> None:
        """Accept from now on."""
        self._later = None
        self._counts.tell(self._count())
        self._loop.add_reader(self._listener.fileno(), self._someone_waits)

    def close(self) -> None:
        """Accept no more; the socket stays open."""
        self._counts.tell(CLOSED)
        self._rest()

    def _count(self) -> int:
        return self._connections() + len(self._opening)

    def _someone_waits(self) -> None:
        if self._has_more():
            self._rest()
            self._patient_until = self._loop.time() + PATIENCE_S
            self._later = self._loop.call_later(LOOK_S, self._look)
        else:
            self._accept()

    def _has_more(self) -> bool:
        """Whether another process that accepts has fewer."""
        count = self._count()
        self._counts.tell(count)
        least = self._counts.least_of_others()
        return least is not None and count > least

    def _look(self) -> None:
        """Go on once the others have as many, or had their time."""
        if not self._has_more():
            self.open()
        elif self._loop.time() < self._patient_until:
            self._later = self._loop.call_later(LOOK_S, self._look)
        else:
            self._take_over()

    def _take_over(self) -> None:
        """Take who is there still, and more each time if the others do not stir."""
        least = self._counts.least_of_others()
        self._taken_over = 1 if least != self._seen else 2 * self._taken_over
        self._seen = least
        self.open()
        for _ in range(min(self._taken_over, 64)):
            if self._later is not None or not self._accept():
                return

    def _accept(self) -> bool:
        """Let one in; False if there is nobody."""
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in SHORT_OF:
                # Asking again at once would only take the processor from who can free some.
                log.error("no connection can be accepted", reason=error.strerror, again_in_s=PAUSE_S)
                self._rest()
                self._later = self._loop.call_later(PAUSE_S, self.open)
            return False  # mostly: another process was quicker
        client.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, client))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        self._counts.tell(self._count())
        return True

    def _rest(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        if self._later is not None:
            self._later.cancel()
