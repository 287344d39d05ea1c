"""A batched answer equals the unbatched one, whatever comes together and however it is gathered."""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.pipelines import DOUBLE, Held, batching, pipeline, request, turns

from headrace.domain.errors import EngineError
from headrace.domain.spec import Batching
from headrace.domain.step import Context, step
from headrace.domain.tensors import TensorSpec
from headrace.infra.runtimes.ragged import by_shape
from headrace.services.context import Inputs, Result
from headrace.services.engine import Engine
from headrace.services.executor import Executor

TAKES = {
    "ids": TensorSpec("int64", (-1, -1), "ids"),
    "mask": TensorSpec("int64", (-1, -1), "mask"),
    "scale": TensorSpec("int64", (-1,), "scale", 1, True),
}
GIVES = {"tokens": TensorSpec("int64", (-1, -1), "tokens"), "total": TensorSpec("int64", (-1,), "total")}
PAD = {"ids": 7, "mask": 0}
MOST_AT_ONCE = 12
"""Rows that fit in the memory of the model."""


def scaled(inputs: Any) -> Any:
    """A model that heeds its mask, fails on -1 and has room for a few rows alone."""
    return by_shape(_scaled, inputs)


def _scaled(inputs: Any) -> dict[str, Any]:
    ids, mask = inputs["ids"], inputs["mask"]
    if len(ids) > MOST_AT_ONCE:
        raise MemoryError
    if ((ids == -1) & (mask == 1)).any():
        raise ValueError("minus one")
    scale = np.asarray(inputs["scale"])
    return {"tokens": ids * scale[:, None], "total": (ids * mask).sum(axis=1) * scale}


@step(reads=["total"], writes=["total"])
def shifted(total: Any, context: Context) -> Any:
    return np.asarray(total) + context.options.get("offset", 0)


@dataclass(frozen=True)
class Asked:
    rows: list[Any]
    scale: int | None
    options: dict[str, int]
    priority: int
    outputs: list[str]
    as_arrays: bool
    pause: int

    @property
    def inputs(self) -> Inputs:
        ids: Any = self.rows
        mask: Any = [[1] * len(row) if isinstance(row, list) else row for row in self.rows]
        if self.as_arrays and all(isinstance(row, list) and len(row) == len(self.rows[0]) for row in self.rows):
            ids, mask = np.array(ids, "int64"), np.array(mask, "int32")
        columns = {"ids": ids, "mask": mask}
        if self.scale is not None:
            columns["scale"] = [self.scale] * len(self.rows)
        return Inputs(columns, len(self.rows))


token = st.integers(0, 99)
row = st.one_of(st.lists(token, max_size=9), st.lists(token, max_size=40), st.sampled_from(["no row", [1, -1], [-1]]))
asked = st.builds(
    Asked,
    rows=st.lists(row, min_size=1, max_size=5),
    scale=st.sampled_from([None, 2, 3]),
    options=st.sampled_from([{}, {}, {"offset": 10}, {"offset": 20}]),
    priority=st.sampled_from([0, 0, 1, 9]),
    outputs=st.sampled_from([["tokens"], ["total"], ["tokens", "total"]]),
    as_arrays=st.booleans(),
    pause=st.sampled_from([0, 0, 0, 1, 5]),
)
windows = st.builds(
    lambda pad, more: batching(**(pad | more)),
    st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {
                "pad": st.just(PAD),
                "buckets": st.sampled_from([(), (8, 16, 64), (5,)]),
                "max_waste": st.sampled_from([0.0, 0.25, 0.9]),
            }
        ),
    ),
    st.fixed_dictionaries(
        {
            "max_size": st.sampled_from(["auto", 1, 3, 7]),
            "max_wait_ms": st.sampled_from([0.0, 1.0]),
        },
        optional={"objective_ms": st.sampled_from([5.0, 50.0])},
    ),
).flatmap(
    lambda window: st.sampled_from([{}, {"cost": "ids", "max_cost": 20.0}, {"cost": "scale", "max_cost": 5.0}]).map(
        lambda cost: Batching(**{name: getattr(window, name) for name in Batching.__slots__} | cost)
    )
)


def told(answer: Result | BaseException, outputs: list[str]) -> list[Any]:
    """What a caller sees of each row."""
    if not isinstance(answer, Result):
        raise answer
    return [
        {name: np.asarray(one[name]).tolist() for name in outputs} if not isinstance(one, EngineError) else one.code
        for one in answer.outcomes()
    ]


async def answers(requests: list[Asked], window: Batching, *, together: bool) -> list[Any]:
    engine = Engine(Executor(2), places=2)
    await engine.add(pipeline(Held(scaled, takes=TAKES, gives=GIVES), after=[shifted], batching=window))
    tasks = []
    for one in requests:
        context = request(options=one.options, priority=one.priority)
        tasks.append(asyncio.ensure_future(engine.infer(DOUBLE, one.inputs, context)))
        await turns(one.pause) if together else await asyncio.wait([tasks[-1]])
    given = await asyncio.gather(*tasks, return_exceptions=True)
    await engine.close(5)
    return [told(answer, one.outputs) for answer, one in zip(given, requests, strict=True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(asked, min_size=1, max_size=12), windows)
def test_a_batched_answer_equals_the_unbatched_one(requests: list[Asked], window: Batching) -> None:
    alone = [Asked([row], *_others(one)) for one in requests for row in one.rows]

    together = asyncio.run(answers(requests, window, together=True))
    apart = asyncio.run(answers(alone, Batching(), together=False))

    assert [row for one in together for row in one] == [row for one in apart for row in one]


def _others(one: Asked) -> tuple[Any, ...]:
    return one.scale, one.options, one.priority, one.outputs, one.as_arrays, one.pause
