"""Do several acceptors of one socket share out who comes, and survive when files run short?"""

import asyncio
import errno
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.adapters.http import shared_listener
from headrace.adapters.http.shared_listener import CLOSED, Counts, SharedListener


class Counting(asyncio.Protocol):
    """Counts the connections that it gets, and ends them."""

    def __init__(self, taken: list[int], number: int) -> None:
        self._taken, self._number = taken, number

    def connection_made(self, transport: Any) -> None:
        self._taken.append(self._number)
        transport.close()


@pytest.fixture
def counts() -> Iterator[int]:
    """A file for the counts of two processes, both closed."""
    with tempfile.TemporaryFile() as file:
        file.write(struct.pack("i", CLOSED) * 2)
        file.flush()
        yield file.fileno()


def bound() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    return listener


def queued(listener: socket.socket, count: int) -> list[socket.socket]:
    """Connections that stand in the queue of *listener*."""
    return [socket.create_connection(listener.getsockname()) for _ in range(count)]


def closed(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


async def test_those_who_come_at_once_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, eventually: Any, counts: int
) -> None:
    monkeypatch.setattr(shared_listener, "PATIENCE_S", 60.0)  # so that nobody takes over, however slow the machine
    taken: list[int] = []
    with bound() as one, socket.socket(fileno=os.dup(one.fileno())) as two:
        clients = queued(one, 20)
        shared = [acceptor(end, taken, counts, number) for number, end in enumerate((one, two))]
        for each in shared:
            each.open()
        await eventually(lambda: len(taken) == 20)
        for each in shared:
            each.close()
        closed(clients)

    assert (taken.count(0), taken.count(1)) == (10, 10)


async def test_who_left_the_next_to_another_goes_on_once_that_one_has_as_many(
    monkeypatch: pytest.MonkeyPatch, eventually: Any, counts: int
) -> None:
    monkeypatch.setattr(shared_listener, "PATIENCE_S", 60.0)
    taken: list[int] = []
    with bound() as one:
        other = Counts(counts, 2)
        other.tell(5)
        shared = acceptor(one, taken, counts, 0, has=5)
        shared.open()
        clients = queued(one, 2)
        await eventually(lambda: taken == [0])
        other.tell(6)
        await eventually(lambda: taken == [0, 0])
        shared.close()
        closed(clients)


async def test_after_the_close_who_comes_waits_for_another(eventually: Any, counts: int) -> None:
    taken: list[int] = []
    with bound() as one, socket.socket(fileno=os.dup(one.fileno())) as two:
        first, second = (acceptor(end, taken, counts, number) for number, end in enumerate((one, two)))
        first.open()
        first.close()
        clients = queued(one, 3)
        second.open()
        await eventually(lambda: len(taken) == 3)
        second.close()
        closed(clients)

    assert taken == [1, 1, 1]


async def test_who_has_more_leaves_the_next_to_others_but_not_for_ever(eventually: Any, counts: int) -> None:
    taken: list[int] = []
    with bound() as one, socket.socket(fileno=os.dup(one.fileno())) as two:
        idle = Counts(counts, 2)
        idle.tell(0)  # accepts, it says, and does not stir
        first = acceptor(one, taken, counts, 0, has=5)
        first.open()
        clients = queued(one, 20)
        await eventually(lambda: len(taken) == 20)
        second = acceptor(two, taken, counts, 1)
        second.open()
        clients += queued(one, 5)
        await eventually(lambda: len(taken) == 25)
        first.close()
        second.close()
        closed(clients)

    assert taken == [0] * 20 + [1] * 5


async def test_without_files_it_waits_a_while_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, eventually: Any, counts: int
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(shared_listener, "PAUSE_S", 0.01)
    with Exhausted() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        shared = acceptor(listener, taken, counts, 0)
        shared.open()
        clients = queued(listener, 1)
        await eventually(lambda: taken == [0])
        shared.close()
        closed(clients)

    assert listener.refused == 2


class Exhausted(socket.socket):
    """Finds no free file descriptor twice."""

    refused = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.refused < 2:
            self.refused += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def acceptor(listener: socket.socket, taken: list[int], counts: int, number: int, has: int = 0) -> SharedListener:
    """The process of this *number*, from 0, which *has* so many connections and those that it took."""
    mine = Counts(counts, number + 1)
    return SharedListener(listener, lambda: Counting(taken, number), mine, lambda: has + taken.count(number))
