"""Requests in one batch are strangers: who leaves, comes too late or breaks the model disturbs nobody."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from tests.end_to_end.held_model import ALL, Held, held, until

pytestmark = pytest.mark.slow
FIRST, ONE, TWO, BAD, LATE, GONE = 1, 2, 3, -4, 5, 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Held]:
    with held(tmp_path) as one:
        yield one


def test_a_cancelled_an_expired_and_a_failing_caller_in_one_batch_disturb_nobody(server: Held) -> None:
    server.hold()
    before = len(server.calls())
    with ThreadPoolExecutor(5) as callers, closing(server.asked(FIRST)):
        server.wait_for_row(FIRST)
        one, two = (callers.submit(server.ask, value, "?explain=1") for value in (ONE, TWO))
        bad, late = callers.submit(server.ask, BAD), callers.submit(server.ask, LATE, X_Timeout_Ms="1500")
        gone = server.asked(GONE)
        server.wait_for_queue(5)
        server.let_pass(before + 1)  # the first request is answered, and the five others are in the model together
        server.wait_for_row(GONE)
        together = server.calls()[-1]

        gone.close()
        too_late = late.result(20)
        server.let_pass(ALL)
        answers = [one.result(20), two.result(20)]
        failed = bad.result(20)
    until(lambda: server.measure("headrace_in_flight") == 0, "somebody is waiting still")

    assert sorted(together) == [BAD, ONE, TWO, LATE, GONE]
    for value, (status, answer) in zip((ONE, TWO), answers, strict=True):
        assert (status, answer["data"]["outputs"]) == (200, {"y": 2 * value})
        assert answer["data"]["explain"]["batch_size"] == 5
    assert (too_late[0], too_late[1]["error"]["code"]) == (504, "deadline_exceeded")
    assert (failed[0], failed[1]["error"]["code"]) == (500, "model_failure")
    assert server.ask(9)[1]["data"]["outputs"] == {"y": 18}
