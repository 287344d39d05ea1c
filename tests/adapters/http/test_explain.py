"""A clock runs for a request only if it asks for an explanation."""

from typing import Any

import pytest

from headrace.adapters.http.call import Call


async def nothing(*_: Any) -> Any:
    raise AssertionError("nobody sends or receives here")


def call(query: bytes) -> Call:
    return Call({"method": "POST", "path": "/api/v1/inference", "query_string": query}, nothing, nothing, {})


@pytest.mark.parametrize("query", [b"", b"explain=0", b"explain", b"other=1"])
def test_without_being_asked_no_clock_runs(query: bytes) -> None:
    assert call(query).stopwatch is None


@pytest.mark.parametrize("query", [b"explain=1", b"other=2&explain=true"])
def test_a_clock_runs_from_the_first_moment_of_a_request_that_asks(query: bytes) -> None:
    watch = call(query).stopwatch

    assert watch is not None
    assert watch.parts == {}
