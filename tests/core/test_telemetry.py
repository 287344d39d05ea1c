"""Whose decision is it what is traced, and which headers carry it?"""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.telemetry import (
    NullTelemetry,
    Span,
    Telemetry,
    TraceContext,
    begun,
    chosen,
    current,
    outgoing,
    parsed,
)

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_callers_choice_is_respected_whatever_the_share() -> None:
    traced, left_out = begun(0.0, CALLER), begun(1.0, CALLER[:-1] + "0")

    assert traced is not None and left_out is None
    assert traced.parent == TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert traced.own.trace_id == traced.parent.trace_id
    assert traced.own.span_id != traced.parent.span_id


def test_without_a_caller_the_share_decides() -> None:
    random.seed(7)

    traced = sum(begun(0.1, None) is not None for _ in range(5000))

    assert 400 < traced < 600
    assert all(begun(0.0, None) is None for _ in range(1000))
    assert all(begun(1.0, None) is not None for _ in range(1000))


def test_as_many_are_chosen_as_were_asked_for_and_as_chance_would_choose_them() -> None:
    random.seed(7)

    turns = list(islice(chosen(0.1), 100_000))

    assert 9_500 < sum(turns) < 10_500
    after_one = [second for first, second in pairwise(turns) if first]
    assert 0.09 < sum(after_one) / len(after_one) < 0.11


@pytest.mark.parametrize(("share", "seen"), [(1.0, {True}), (0.0, {False}), (5e-324, {False})])
def test_at_the_ends_all_or_none_are_traced(share: float, seen: set[bool]) -> None:
    assert set(islice(chosen(share), 10_000)) == seen


@pytest.mark.parametrize(
    "header",
    [
        "", "00", "hello", CALLER.upper(), CALLER + "-more", "ff" + CALLER[2:], CALLER.replace("-01", "-1"),
        f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", CALLER + "-" * 9999,
        CALLER + "\n",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_counts_as_absent(header: str) -> None:
    assert parsed(header) is None
    trace = begun(1.0, header)
    assert trace is not None and trace.parent is None


def test_later_versions_may_say_more() -> None:
    found = parsed("cc" + CALLER[2:] + "-what-the-future-holds")

    assert found is not None and found[1]


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_what_goes_out_is_what_comes_in(trace: int, span: int) -> None:
    place = TraceContext(trace, span)

    assert parsed(place.traceparent) == (place, True)


@given(st.text(max_size=80))
def test_no_header_breaks_anything(header: str) -> None:
    begun(0.5, header, header)


def test_the_state_of_the_callers_tools_goes_along() -> None:
    traced = begun(0.0, CALLER, "vendor=1")

    assert traced is not None and traced.own.state == "vendor=1" and traced.own.child().state == "vendor=1"


def test_calls_of_other_services_carry_headers_only_in_a_trace() -> None:
    assert outgoing() == {}
    token = current.set(TraceContext(1, 2, "vendor=1"))
    try:
        assert outgoing() == {"traceparent": f"00-{1:032x}-{2:016x}-01", "tracestate": "vendor=1"}
    finally:
        current.reset(token)


def test_the_null_telemetry_takes_everything() -> None:
    telemetry: Telemetry = NullTelemetry()

    class Untold:
        def spans(self) -> list[Span]:
            raise AssertionError("nobody sends it")

    telemetry.export(Untold())
    telemetry.close(0)
    assert telemetry.share == 0
