"""Which of the free threads works next?"""

import threading
import time
from collections.abc import Iterator

import pytest

from headrace.services.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("work", 3)
    yield made
    made.end()
    made.join(time.monotonic() + 5)


class Work:
    """A job that tells who does it, and lasts until it is let go."""

    def __init__(self) -> None:
        self.by = ""
        self.begun, self.go, self.told = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> object:
        self.by = threading.current_thread().name
        self.begun.set()
        assert self.go.wait(5)
        return self.told.set

    def end(self) -> None:
        self.go.set()
        assert self.told.wait(5)


def start(threads: Threads) -> Work:
    work = Work()
    threads.start(work)
    return work


def test_the_thread_that_became_free_last_goes_first(threads: Threads) -> None:
    works = [start(threads) for _ in range(3)]
    for work in works:
        assert work.begun.wait(5)
    for index in (2, 0, 1):
        works[index].end()

    seen = []
    for _ in range(5):
        again = start(threads)
        again.end()
        seen.append(again.by)

    assert seen == [works[1].by] * 5


def test_a_thread_is_made_only_when_none_is_free(threads: Threads) -> None:
    for _ in range(5):
        start(threads).end()

    assert [thread.name for thread in threads._all] == ["work-0"]


def test_more_jobs_than_threads_wait_in_their_order(threads: Threads) -> None:
    held = [start(threads) for _ in range(3)]
    order: list[int] = []
    done = threading.Event()
    for n in range(4):
        assert not threads.start(lambda n=n: order.append(n))  # type: ignore[misc]
    threads.start(done.set)  # type: ignore[arg-type]

    held[1].end()

    assert done.wait(5)
    assert order == [0, 1, 2, 3]
    for work in held:
        work.end()


def test_those_that_end_do_the_jobs_that_they_have(threads: Threads) -> None:
    held = [start(threads) for _ in range(3)]
    late = start(threads)

    threads.end()
    for work in held:
        work.end()
    late.end()
    threads.join(time.monotonic() + 5)

    assert not any(thread.is_alive() for thread in threads._all)
