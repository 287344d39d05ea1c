"""Which of the requests that wait make the next batch: by rows, cost, padding, objective, priority and age."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.pipelines import Held, batching, pipeline, request

from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.step import step
from headrace.domain.tensors import TensorSpec
from headrace.services.context import Inputs
from headrace.services.entries import Entry
from headrace.services.picking import AGEING_S, MARGIN, Picking
from headrace.services.placement import Placement
from headrace.services.sharing import sharing_key

IDS = {"ids": TensorSpec("int64", (-1, -1), "ids")}
TEXT = {"text": TensorSpec("string", (-1,), "text")}
NUMBER = {"tokens": TensorSpec("int64", (-1,), "tokens")}
Y = {"y": TensorSpec("float32", (-1,), "y")}


class Answer:
    """The future of a request that nobody awaits here."""

    def __init__(self, done: bool = False) -> None:
        self._done = done

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return self._done


class Desk:
    """A pipeline's queue and the picking from it; *line* is what its batches take: a + b*n."""

    def __init__(self, takes: Any = IDS, *, line: tuple[float, float] | None = None, **settings: Any) -> None:
        self.pipeline: Pipeline = pipeline(Held(takes=takes, gives=Y), batching=batching(**settings))
        self.placement = Placement(settings.get("max_size", "auto"), self.pipeline.cap)
        for rows in (1, 4, 16, 64) if line else ():
            self.placement.observe(rows, line[0] + line[1] * rows)
        self.picking = Picking(self.pipeline, self.placement)
        self.pending: deque[Entry] = deque()

    def ask(self, *values: Any, at: float = 0.0, priority: int = 0, deadline: float = 1e9, left: bool = False) -> Entry:
        inputs = Inputs({name: list(values) for name in self.pipeline.inputs}, len(values))
        scales = self.picking.scales
        key = sharing_key(inputs, request(), {} if scales is None else scales.filled)
        entry = Entry(inputs, request(priority=priority), key, Answer(left), at, deadline)  # type: ignore[arg-type]
        if scales is not None:
            entry.weight = scales.weigh(inputs)
        self.pending.append(entry)
        return entry

    def batches(self, now: float = 0.0) -> list[list[Entry]]:
        picked = []
        while self.pending:
            picked.append(self.picking.take(self.pending, now).entries)
        return picked

    def sizes(self, now: float = 0.0) -> list[int]:
        return [sum(entry.inputs.rows for entry in entries) for entries in self.batches(now)]


def long(*lengths: int) -> list[list[int]]:
    return [[1] * length for length in lengths]


def test_the_departed_and_the_expired_are_taken_out_and_told_apart() -> None:
    desk = Desk(NUMBER)
    staying, expired = desk.ask(1), desk.ask(2, 2, deadline=5)
    desk.ask(3, 3, 3, left=True)

    picked = desk.picking.take(desk.pending, now=6)

    assert picked.entries == [staying]
    assert picked.expired == [expired]
    assert (picked.departed, picked.rows) == (1, 6)


def test_without_a_declaration_only_rows_of_one_length_share() -> None:
    desk = Desk()
    for row in long(3, 5, 3, 5, 3):
        desk.ask(row)

    assert desk.sizes() == [3, 2]
    assert desk.picking.scales is None


def test_rows_of_one_bucket_share_and_those_of_another_wait_for_the_next_batch() -> None:
    desk = Desk(pad={"ids": 0}, buckets=(16, 128), max_waste=0)
    for row in long(3, 100, 16, 120, 1):
        desk.ask(row)

    assert desk.sizes() == [3, 2]


def test_buckets_share_where_little_is_wasted() -> None:
    desk = Desk(pad={"ids": 0}, buckets=(16, 20, 128))
    for row in long(15, 20, 100):
        desk.ask(row)

    assert desk.sizes() == [2, 1]


def test_who_is_left_over_is_the_first_of_the_next_batch() -> None:
    desk = Desk(pad={"ids": 0}, max_size=2)
    desk.ask(*long(100))
    left = desk.ask(*long(3))
    for row in long(100, 3, 100):
        desk.ask(row)

    first, second, *_ = desk.batches()

    assert [len(entry.inputs.columns["ids"][0]) for entry in first] == [100, 100]
    assert second[0] is left


def test_a_request_whose_own_rows_differ_in_length_shares_where_they_are_filled_up() -> None:
    desk = Desk(pad={"ids": 0})
    desk.ask(*long(5, 4))
    desk.ask(*long(5))

    assert desk.sizes() == [3]


def test_an_input_that_a_step_reads_first_shares_by_its_length_alone() -> None:
    @step(reads=["ids"], writes=["ids"])
    def read(ids: Any) -> Any:
        return ids

    made = pipeline(Held(takes=IDS, gives=Y), before=[read], batching=batching(pad={"ids": 0}))

    assert Picking(made, Placement()).scales is None


@pytest.mark.parametrize(
    ("takes", "value"), [(NUMBER, 30), (TEXT, "x" * 30), (IDS, [1] * 30)], ids=["number", "text", "list"]
)
def test_a_batch_costs_no_more_than_declared(takes: Any, value: Any) -> None:
    desk = Desk(takes, cost=next(iter(takes)), max_cost=100)
    for _ in range(7):
        desk.ask(value)

    assert desk.sizes() == [3, 3, 1]


def test_a_request_dearer_than_a_batch_runs_alone() -> None:
    desk = Desk(NUMBER, cost="tokens", max_cost=100)
    for value in (10, 1000, 10):
        desk.ask(value)

    assert [[entry.weight.cost for entry in entries] for entries in desk.batches()] == [[10, 10], [1000]]


def test_what_is_filled_up_costs_its_longest_row_for_every_row() -> None:
    desk = Desk(cost="ids", max_cost=100, pad={"ids": 0}, max_waste=0.9)
    for row in long(10, 40, 10, 10):
        desk.ask(row)

    assert desk.sizes() == [2, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_a_cost_beyond_any_limit_is_alone_in_its_batch(value: Any) -> None:
    desk = Desk(NUMBER, cost="tokens", max_cost=100)
    for one in (value, value, value):
        desk.ask(one)

    assert desk.sizes() == [1, 1, 1]


@pytest.mark.parametrize("value", [-5, None, True, "7"])
def test_a_cost_that_makes_no_sense_is_none(value: Any) -> None:
    desk = Desk(NUMBER, cost="tokens", max_cost=100)

    assert 0 <= desk.ask(value).weight.cost <= 1


def test_arrays_cost_what_their_lists_do() -> None:
    scales = Desk(cost="ids", max_cost=100).picking.scales
    assert scales is not None

    assert scales.weigh(Inputs({"ids": np.ones((2, 30), "int64")}, 2)).cost == 60


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 12), st.booleans())
def test_every_request_is_in_exactly_one_batch_within_every_limit(
    lengths: list[int], most: int, rows: int, filled: bool
) -> None:
    desk = Desk(max_size=rows, cost="ids", max_cost=most, **({"pad": {"ids": 0}} if filled else {}))
    asked = [desk.ask(*long(length, length)) for length in lengths]

    batches = desk.batches()

    assert {id(entry) for entries in batches for entry in entries} == {id(entry) for entry in asked}
    assert sum(map(len, batches)) == len(asked)
    for entries in batches:
        longest = max(len(entry.inputs.columns["ids"][0]) for entry in entries)
        real = [2 * len(entry.inputs.columns["ids"][0]) for entry in entries]
        cost = 2 * len(entries) * longest if filled else sum(real)
        assert len(entries) == 1 or (cost <= most and 2 * len(entries) <= rows)
        assert sum(real) >= 0.75 * 2 * len(entries) * longest or not filled


def test_bulk_work_is_sliced_by_its_cost_too() -> None:
    desk = Desk(NUMBER, cost="tokens", max_cost=100)
    whole = Batch({"tokens": [60, 30, 30, 500, 1]})

    assert [desk.picking.slice_rows(whole, start) for start in (0, 2, 3, 4)] == [2, 1, 1, 1]


def test_a_pipeline_without_a_batch_axis_takes_one_at_a_time() -> None:
    made = pipeline(Held(takes=NUMBER, gives=Y), batching=False)

    assert Picking(made, Placement(1)).largest() == 1


def test_a_batch_is_no_larger_than_the_objective_of_its_oldest_leaves_time_for() -> None:
    desk = Desk(NUMBER, objective_ms=50, line=(0.010, 0.001))
    for _ in range(60):
        desk.ask(1, at=0.0)

    first = desk.picking.take(desk.pending, now=0.020).entries

    assert len(first) == 14
    assert 0.020 + MARGIN * desk.placement.expected_s(14) <= 0.050 < 0.020 + MARGIN * desk.placement.expected_s(15)


def test_who_misses_its_objective_in_any_case_does_not_make_batches_small() -> None:
    desk = Desk(NUMBER, objective_ms=50, line=(0.010, 0.001))
    for _ in range(60):
        desk.ask(1, at=0.0)

    assert len(desk.picking.take(desk.pending, now=9.0).entries) == 30


bursts = st.lists(st.tuples(st.integers(0, 10), st.integers(1, 30)), min_size=1, max_size=6)
arrival_times = bursts.map(lambda some: sorted(at / 50 for at, count in some for _ in range(count)))


@given(
    st.floats(0.001, 0.04),
    st.floats(0, 0.004),
    st.integers(10, 100),
    arrival_times,
    st.floats(0, 0.9),
)
def test_nothing_is_held_past_its_objective(
    call: float, row: float, objective: int, arrivals: list[float], wait: float
) -> None:
    """Time runs here by the picking alone: a batch starts when it may, and takes as long as was learned."""
    desk = Desk(NUMBER, line=(call, row), objective_ms=objective, max_wait_ms=objective * wait, max_size=64)
    limit, now, free = objective / 1e3, 0.0, 0.0
    coming = deque(arrivals)
    while coming or desk.pending:
        if not desk.pending:
            now = max(now, coming[0])
        while coming and coming[0] <= now:
            desk.ask(1, at=coming.popleft())
        held = desk.picking.hold_s(desk.pending, len(desk.pending), now)
        if held > 0:
            until = now + held
            now = min(until, coming[0]) if coming else until
            continue
        entries = desk.picking.take(desk.pending, now).entries
        oldest = min(entry.queued_at for entry in entries)
        might_have_started = max(oldest, free)
        free = now = now + desk.placement.expected_s(len(entries))
        if might_have_started + MARGIN * desk.placement.expected_s(1) <= oldest + limit:
            assert free <= oldest + limit + 1e-9


def test_an_objective_waits_for_nobody_before_anything_was_measured() -> None:
    desk = Desk(NUMBER, objective_ms=50, max_wait_ms=40)
    desk.ask(1)

    assert desk.picking.hold_s(desk.pending, 1, 0.0) == 0


def test_the_wait_for_company_ends_when_its_cost_is_reached() -> None:
    desk = Desk(NUMBER, cost="tokens", max_cost=100, max_wait_ms=1000)
    desk.ask(60)
    alone = desk.picking.hold_s(desk.pending, 1, 0.0)
    desk.ask(60)

    assert alone == 1.0
    assert desk.picking.hold_s(desk.pending, 2, 0.0) == 0


def test_a_high_priority_goes_first_and_a_low_one_not_last_for_ever() -> None:
    desk = Desk(NUMBER, max_size=1)
    low = desk.ask(0, priority=9)
    served: list[Entry] = []

    now = 0.0
    while low in desk.pending:
        now += 0.1
        desk.ask(1, at=now, priority=1)
        desk.ask(1, at=now, priority=1)  # twice as many come as are served
        served += desk.picking.take(desk.pending, now).entries

    assert served[0] is not low
    assert served[-1] is low
    assert now <= 2 * AGEING_S + 0.3


def test_among_equals_the_oldest_goes_first() -> None:
    desk = Desk(NUMBER, max_size=1)
    asked = [desk.ask(n, at=float(n) / 10, priority=5) for n in range(5)]

    assert [entries[0] for entries in desk.batches(1.0)] == asked
