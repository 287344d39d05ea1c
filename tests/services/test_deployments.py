"""What is loaded follows what is declared: a bad change never takes away what serves."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.services.pipelines import Held, pipeline, request, settled, turns, x

from headrace.domain.errors import EngineError, InvalidConfig, ModelFailure, NotFound
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked, Router
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec
from headrace.domain.tensors import TensorSpec
from headrace.services.deployments import Deployments
from headrace.services.engine import Engine
from headrace.services.inference import Inference


class Shelf:
    """A Workspace in memory: files are specs, and a model multiplies by the number that is its path."""

    root = Path("/nowhere")

    def __init__(self, *specs: PipelineSpec) -> None:
        self.declared = Declared()
        self.models: list[tuple[str, Held]] = []
        self.edits = 0
        self.mistakes: InvalidConfig | None = None
        self.broken: dict[str, EngineError] = {}
        self.rows: dict[str, Sequence[Mapping[str, Any]]] = {}
        self.write(*specs)

    def write(self, *specs: PipelineSpec, **more: Any) -> None:
        """Replace the whole folder."""
        pipelines = {PipelineRef(spec.name, spec.version): spec for spec in specs}
        models = {(spec.name, spec.version): ModelSpec(spec.name, spec.version) for spec in specs}
        self.declared = Declared(**{"pipelines": pipelines, "models": models, **more})
        self.edits += 1

    def read(self) -> Declared:
        if self.mistakes is not None:
            raise self.mistakes
        return self.declared

    def build(self, spec: PipelineSpec) -> Pipeline:
        factor = int(spec.description or 2)
        if spec.description in self.broken:
            raise self.broken[spec.description]
        held = Held(lambda inputs: {"y": np.asarray(inputs["x"]) * factor})
        self.models.append((f"{spec.name}@{spec.version} x{factor}", held))
        return pipeline(held, **{name: getattr(spec, name) for name in ("name", "version", "description", "required")})

    def examples(self, spec: PipelineSpec) -> Sequence[Mapping[str, Any]]:
        return self.rows.get(spec.name, ())

    def fingerprint(self) -> int:
        return self.edits

    def closed(self) -> list[str]:
        return [name for name, model in self.models if model.closed]


def declared(name: str = "a", factor: int = 2, version: str = "1", **more: Any) -> PipelineSpec:
    return PipelineSpec(name=name, version=version, model=name, description=str(factor), **more)


class House:
    def __init__(self, engine: Engine, shelf: Shelf) -> None:
        self.engine, self.shelf = engine, shelf
        self.inference = Inference(engine, Router(engine.registry))
        self.deployments = Deployments(self.inference, shelf)

    async def answer(self, name: str = "a", version: str | None = None) -> float:
        result = await self.inference.infer(self.inference.choose(Asked(name, version)), x(1), request())
        return float(result.column("y")[0])

    def states(self) -> dict[str, str]:
        return {str(one.ref): one.state for one in self.deployments.status()}

    def reason(self, name: str = "a") -> str:
        return " ".join(one.reason for one in self.deployments.find(name))


async def started(engine: Engine, *specs: PipelineSpec) -> House:
    house = House(engine, Shelf(*specs))
    await house.deployments.start()
    return house


BROKEN = ModelFailure("the bytes are no model")


async def test_everything_declared_is_loaded_warmed_up_and_ready(engine: Engine) -> None:
    house = House(engine, Shelf(declared("a", 2), declared("b", 3)))
    before = house.deployments.ready

    await house.deployments.start()

    assert (before, house.deployments.ready) == (False, True)
    assert house.states() == {"a@1": "ready", "b@1": "ready"}
    assert (await house.answer("a"), await house.answer("b")) == (2.0, 3.0)
    assert house.shelf.models[0][1].calls[0] == 1, "zeros warm up a model of numbers"
    assert engine.registry.get(PipelineRef("a", "1")).batcher.placement.measured
    assert all(one.loaded_at for one in house.deployments.status())


async def test_mistakes_in_the_folder_stop_the_start(engine: Engine) -> None:
    house = House(engine, Shelf())
    house.shelf.mistakes = InvalidConfig("a.yaml:3: no")

    with pytest.raises(InvalidConfig):
        await house.deployments.start()


async def test_a_required_pipeline_that_cannot_be_loaded_stops_the_start(engine: Engine) -> None:
    house = House(engine, Shelf(declared("a", 13)))
    house.shelf.broken["13"] = BROKEN

    with pytest.raises(ModelFailure):
        await house.deployments.start()

    assert not house.deployments.ready
    assert house.states() == {"a@1": "failed"}


async def test_an_optional_one_that_cannot_be_loaded_is_reported_and_the_others_serve(engine: Engine) -> None:
    house = House(engine, Shelf(declared("a", 13, required=False), declared("b", 3)))
    house.shelf.broken["13"] = BROKEN

    await house.deployments.start()

    assert house.deployments.ready
    assert house.states() == {"a@1": "failed", "b@1": "ready"}
    assert "no model" in house.reason("a")
    assert await house.answer("b") == 3.0
    with pytest.raises(NotFound):
        await house.answer("a")


async def test_an_example_that_does_not_fit_is_an_error_and_the_model_is_let_go(engine: Engine) -> None:
    house = House(engine, Shelf(declared("a", 2)))
    house.shelf.rows["a"] = [{"y": 1}]

    with pytest.raises(EngineError, match="a@1: example 1: unknown input 'y'"):
        await house.deployments.start()

    assert house.shelf.closed() == ["a@1 x2"]


async def test_a_reload_swaps_and_closes_the_old_model(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("b", 3))
    house.shelf.write(declared("a", 5), declared("b", 7), declared("c", 9))

    refs = await house.deployments.reload("a")
    await settled(engine)

    assert [str(ref) for ref in refs] == ["a@1"]
    assert (await house.answer("a"), await house.answer("b")) == (5.0, 3.0)
    assert house.shelf.closed() == ["a@1 x2"]
    assert house.deployments.ready, "what nobody asked to load is not waited for"


async def test_what_a_reload_did_not_follow_a_refresh_does(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("b", 3))
    house.shelf.write(declared("a", 5), declared("b", 7), declared("c", 9))
    await house.deployments.reload("a")

    assert await house.deployments.refresh()

    assert [await house.answer(name) for name in "abc"] == [5.0, 7.0, 9.0]


@pytest.mark.parametrize("how", ["file", "artefact"])
async def test_a_reload_that_fails_raises_and_the_old_one_goes_on(engine: Engine, how: str) -> None:
    house = await started(engine, declared("a", 2))
    if how == "file":
        house.shelf.mistakes = InvalidConfig("a.yaml:3: no")
    else:
        house.shelf.write(declared("a", 13))
        house.shelf.broken["13"] = BROKEN

    with pytest.raises(EngineError):
        await house.deployments.reload("a")

    assert await house.answer("a") == 2.0
    assert house.states() == {"a@1": "ready"}
    assert house.deployments.ready
    if how == "artefact":
        assert "no model" in house.reason()
        house.shelf.broken.clear()
        await house.deployments.reload("a")
        assert (await house.answer("a"), house.reason()) == (13.0, "")


async def test_a_reload_of_what_is_not_there_says_so(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))

    with pytest.raises(NotFound, match="declared: a"):
        await house.deployments.reload("b")
    with pytest.raises(NotFound, match="no version '9'; declared: 1"):
        await house.deployments.reload("a", "9")
    house.shelf.write()
    with pytest.raises(NotFound, match="no longer declared: a@1"):
        await house.deployments.reload("a")
    assert await house.answer("a") == 2.0


async def test_a_refresh_of_an_unchanged_folder_does_nothing(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))

    assert not await house.deployments.refresh()

    assert len(house.shelf.models) == 1


async def test_a_refresh_loads_what_is_new_swaps_what_changed_and_drops_what_is_gone(engine: Engine) -> None:
    house = await started(engine, declared("same", 2), declared("changed", 3), declared("gone", 4))
    house.shelf.write(declared("same", 2), declared("changed", 5), declared("new", 6))

    assert await house.deployments.refresh()
    await settled(engine)

    assert house.states() == {"changed@1": "ready", "new@1": "ready", "same@1": "ready"}
    assert [await house.answer(name) for name in ("same", "changed", "new")] == [2.0, 5.0, 6.0]
    with pytest.raises(NotFound):
        await house.answer("gone")
    assert sorted(house.shelf.closed()) == ["changed@1 x3", "gone@1 x4"]


async def test_a_changed_model_file_reloads_the_pipelines_over_it(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("b", 3))
    models = house.shelf.declared.models
    house.shelf.declared = replace(
        house.shelf.declared, models={**models, ("a", "1"): replace(models["a", "1"], device="cuda")}
    )
    house.shelf.edits += 1

    await house.deployments.refresh()

    assert [name for name, _ in house.shelf.models] == ["a@1 x2", "b@1 x3", "a@1 x2"]


async def test_an_edit_beside_the_declarations_reloads_everything(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("b", 3))
    house.shelf.edits += 1  # a step's code, or the environment

    await house.deployments.refresh()

    assert len(house.shelf.models) == 4


async def test_a_folder_with_mistakes_changes_nothing_and_they_are_kept_until_mended(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))
    mistake = {"file": "a.yaml", "line": 3, "message": "no"}
    house.shelf.edits += 1
    house.shelf.mistakes = InvalidConfig("a.yaml:3: no", details={"mistakes": [mistake]})

    followed = await house.deployments.refresh()
    kept = house.deployments.mistakes
    house.shelf.mistakes = None
    house.shelf.write(declared("a", 5))
    await house.deployments.refresh()

    assert not followed
    assert (list(kept), list(house.deployments.mistakes)) == ([mistake], [])
    assert await house.answer("a") == 5.0


async def test_a_changed_pipeline_that_cannot_be_loaded_keeps_the_old_one_and_is_reported(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("b", 3))
    house.shelf.broken["13"] = BROKEN
    house.shelf.write(declared("a", 13), declared("b", 5))

    assert await house.deployments.refresh()

    assert (await house.answer("a"), await house.answer("b")) == (2.0, 5.0)
    assert house.states() == {"a@1": "ready", "b@1": "ready"}
    assert "no model" in house.reason("a")


async def test_a_new_required_one_that_cannot_be_loaded_stops_nothing_and_is_tried_again(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))
    house.shelf.broken["13"] = BROKEN
    house.shelf.write(declared("a", 2), declared("b", 13), declared("c", 7))

    await house.deployments.refresh()
    first = house.states()
    house.shelf.broken.clear()
    house.shelf.edits += 1
    house.shelf.write(declared("a", 2), declared("b", 13), declared("c", 7))
    await house.deployments.refresh()

    assert first == {"a@1": "ready", "b@1": "failed", "c@1": "ready"}
    assert set(house.states().values()) == {"ready"}


async def test_a_bumped_version_takes_over_without_a_gap_or_a_doubt(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("z", 3))
    answers: list[float] = []
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            house.inference.forget_choices()  # the hardest case: every request decides anew
            answers.append(await house.answer("a"))
            await asyncio.sleep(0)

    reading = asyncio.ensure_future(client())
    await turns()
    house.shelf.write(declared("a", 5, version="2"), declared("z", 4))

    await house.deployments.refresh()
    done.set()
    await reading

    assert set(answers) <= {2.0, 5.0}
    assert await house.answer("a") == 5.0
    assert house.states() == {"a@2": "ready", "z@1": "ready"}


async def test_a_bumped_version_that_cannot_be_loaded_leaves_the_old_one_and_its_route(engine: Engine) -> None:
    house = House(engine, Shelf())
    house.shelf.write(declared("a", 2), routes=(RouteSpec("a", default="1", aliases={"stable": "1"}),))
    await house.deployments.start()
    house.shelf.broken["13"] = BROKEN
    house.shelf.write(declared("a", 13, version="2"), routes=(RouteSpec("a", default="2", aliases={"stable": "2"}),))

    await house.deployments.refresh()
    meanwhile = (await house.answer("a"), await house.answer("a", "stable"), house.states())
    house.shelf.broken.clear()
    house.shelf.edits += 1
    await house.deployments.refresh()

    assert meanwhile == (2.0, 2.0, {"a@1": "ready", "a@2": "failed"})
    assert (await house.answer("a"), await house.answer("a", "stable")) == (13.0, 13.0)
    assert house.states() == {"a@2": "ready"}


async def test_routes_aliases_and_the_default_follow_the_folder(engine: Engine) -> None:
    house = await started(engine, declared("a", 2), declared("a", 3, version="2"))
    house.shelf.write(
        declared("a", 2),
        declared("a", 3, version="2"),
        routes=(RouteSpec("a", default="2"),),
        aliases={"stem": "a"},
        default="a",
    )

    await house.deployments.refresh()

    assert [await house.answer(name) for name in ("a", "stem", "")] == [3.0, 3.0, 3.0]


async def test_unloading_takes_out_of_service_and_loading_brings_back(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))

    unloaded = await house.deployments.unload("a")
    with pytest.raises(NotFound):
        await house.answer("a")
    states = house.states()
    again = await house.deployments.unload("a")
    loaded = await house.deployments.load("a")

    assert ([str(ref) for ref in unloaded], states, again) == (["a@1"], {"a@1": "unloaded"}, [])
    assert [str(ref) for ref in loaded] == ["a@1"]
    assert await house.deployments.load("a") == []
    assert await house.answer("a") == 2.0


async def test_what_somebody_unloaded_stays_so_when_its_file_changes(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))
    await house.deployments.unload("a")
    house.shelf.write(declared("a", 5))

    await house.deployments.refresh()
    states = house.states()
    await house.deployments.load("a")

    assert states == {"a@1": "unloaded"}
    assert house.deployments.ready
    assert await house.answer("a") == 5.0


async def test_a_load_that_fails_raises_and_says_why_in_the_status(engine: Engine) -> None:
    house = await started(engine, declared("a", 2))
    await house.deployments.unload("a")
    house.shelf.broken["2"] = BROKEN

    with pytest.raises(ModelFailure):
        await house.deployments.load("a")

    assert house.states() == {"a@1": "failed"}
    assert "no model" in house.reason()


async def test_requests_are_answered_while_a_slow_reload_is_under_way(engine: Engine) -> None:
    import threading

    house = await started(engine, declared("a", 2))
    building, go = threading.Event(), threading.Event()
    build = house.shelf.build

    def slowly(spec: PipelineSpec) -> Pipeline:
        building.set()
        assert go.wait(5)
        return build(spec)

    house.shelf.build = slowly  # type: ignore[method-assign]
    house.shelf.write(declared("a", 5))
    reloading = asyncio.ensure_future(house.deployments.reload("a"))
    assert await asyncio.to_thread(building.wait, 5)

    meanwhile = await house.answer("a")
    go.set()
    await reloading

    assert (meanwhile, await house.answer("a")) == (2.0, 5.0)


async def test_a_pipeline_of_texts_without_examples_is_served_unwarmed(engine: Engine) -> None:
    house = House(engine, Shelf(declared("a", 2)))
    model = Held(lambda inputs: {"y": [1.0] * len(inputs["x"])}, takes={"x": TensorSpec("string", (-1,), "x")})
    house.shelf.build = lambda spec: pipeline(model, name="a")  # type: ignore[method-assign]

    await house.deployments.start()

    assert model.calls == []
    assert house.deployments.ready
