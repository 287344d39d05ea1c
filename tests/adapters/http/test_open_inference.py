"""Does /v2 speak the Open Inference Protocol?"""

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.adapters.http.open_inference_tensors import to_output
from headrace.adapters.open_inference.datatypes import DATATYPES, metadata_of
from headrace.domain.routing import Router
from headrace.domain.spec import RouteSpec
from headrace.domain.tensors import TensorSpec


def tensor(shape: list[int], data: list[Any], datatype: str = "FP32", name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


async def infer(client: Any, *tensors: Mapping[str, Any], model: str = "double", **more: Any) -> Any:
    return await client.post(f"/v2/models/{model}/infer", json={"inputs": list(tensors), **more})


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
async def test_flat_and_nested_data_mean_the_same(client: Any, data: list[Any]) -> None:
    answer = await infer(client, tensor([2, 2], data), id="q-1")

    assert answer.status_code == 200
    assert answer.json() == {
        "model_name": "double",
        "model_version": "1",
        "id": "q-1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 8.0]}],
    }


async def test_a_request_without_an_id_gets_none(client: Any) -> None:
    assert "id" not in (await infer(client, tensor([1, 2], [1, 2]))).json()


async def test_a_version_stands_in_the_path(client: Any) -> None:
    answer = await infer(client, tensor([1, 2], [1, 2]), model="two/versions/2")

    assert answer.json()["model_version"] == "2"
    assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]


async def test_a_tensor_without_rows_gets_one(client: Any) -> None:
    answer = await infer(client, tensor([0, 2], []))

    assert answer.json()["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [0, 2], "data": []}]


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
async def test_without_a_batch_axis_the_tensor_is_one_row(client: Any, data: list[Any]) -> None:
    answer = await infer(client, tensor([2, 3], data, name="m"), model="transpose")

    assert answer.json()["outputs"] == [
        {"name": "t", "datatype": "FP32", "shape": [3, 2], "data": [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]}
    ]


async def test_texts_travel_as_bytes(client: Any) -> None:
    answer = await infer(client, tensor([2], ["a", "ö"], "BYTES", name="text"), model="shout")

    assert answer.json()["outputs"] == [{"name": "loud", "datatype": "BYTES", "shape": [2], "data": ["A", "Ö"]}]


@pytest.mark.parametrize(
    "given",
    [
        tensor([1], ["hi"], "BYTES", "image"),
        tensor([1], ["aGk="], "BYTES", "image", parameters={"content_type": "base64"}),
        tensor([1], ['{"base64": "aGk="}'], "BYTES", "image"),
    ],
    ids=["text", "base64", "JSON"],
)
async def test_bytes_come_as_text_or_as_base64(client: Any, given: dict[str, Any]) -> None:
    answer = await infer(client, given, model="measure", outputs=[{"name": "copy"}])

    (copy,) = answer.json()["outputs"]
    assert base64.b64decode(copy["data"][0]) == b"hi"
    assert copy["parameters"] == {"content_type": "base64"}


async def test_what_is_no_tensor_travels_as_json(client: Any) -> None:
    answer = await infer(client, tensor([1], ["hi"], "BYTES", "image"), model="measure")

    prediction = answer.json()["outputs"][2]
    assert prediction["datatype"] == "BYTES"
    assert json.loads(prediction["data"][0]) == {"class_name": "dog", "confidence": 0.5}


async def test_outputs_are_chosen_and_ordered_by_the_request(client: Any) -> None:
    given = tensor([1], ["hi"], "BYTES", "image")

    answer = await infer(client, given, model="measure", outputs=[{"name": "prediction"}, {"name": "size"}])

    assert [output["name"] for output in answer.json()["outputs"]] == ["prediction", "size"]


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (tensor([2, 2], [1, 2, 3]), 422, "3 values"),
        (tensor([2, 2], [[1, 2]]), 422, "4 values"),
        (tensor([2, 2], [[1, 2], [3]]), 422, "nested"),
        (tensor([2, 2], [[1, 2], 3]), 422, "nested"),
        (tensor([-1, 2], [1, 2]), 422, "impossible"),
        (tensor([2**40, 2**40], [1]), 422, "impossible"),
        (tensor([1] * 40, [1]), 422, "impossible"),
        (tensor([], [1]), 422, "axis"),
        (tensor([1, 3], [1, 2, 3]), 422, "[2]"),
        (tensor([2], [1, 2]), 422, "shape"),
        (tensor([1, 2], [1, "a"]), 422, "'a'"),
        (tensor([1, 2], ["a", "b"], "BYTES"), 422, "FP32, not BYTES"),
        (tensor([1, 2], [1, 2], "FLOAT32"), 422, "datatype"),
        (tensor([1, 2], [1, 2], name="z"), 422, "unknown input 'z'"),
        (tensor([1, 2], [1, 2], colour="red"), 400, "unknown field 'colour'"),
        ({"name": "x"}, 400, "shape"),
    ],
)
async def test_a_tensor_that_does_not_hold(client: Any, given: Any, status: int, told: str) -> None:
    answer = await infer(client, given)

    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert told in answer.json()["error"]
    assert answer.json()["code"] in ("invalid_input", "invalid_request")


async def test_inputs_must_agree_about_their_rows(open_house: Any, connect: Any, add: Any) -> None:
    async with open_house([add]) as house, connect(house.app) as client:
        answer = await infer(client, tensor([2], [1, 2], name="a"), tensor([1], [1], name="b"), model="add")

    assert answer.status_code == 422
    assert "axis 0 is the row" in answer.json()["error"]


async def test_versions_on_a_split_may_differ_in_their_outputs(open_house: Any, connect: Any, add: Any) -> None:
    other = replace(
        add, version="2", gives={"total": add.gives["sum"]}, predict=lambda given: {"total": given["a"] + given["b"]}
    )
    async with open_house([add, other]) as house, connect(house.app) as client:
        points = itertools.cycle((0.2, 0.7, 0.4))
        split = RouteSpec("add", split={"1": 1, "2": 1})
        house.inference.router = Router(house.inference.engine.registry, [split], chance=lambda: next(points))
        house.inference.forget_choices()
        answers = [(await infer(client, tensor([1], [1], name="a"), model="add")).json() for _ in range(6)]

    found = [(answer["model_version"], answer["outputs"][0]["name"]) for answer in answers]
    assert found == [("1", "sum"), ("2", "total"), ("1", "sum")] * 2


async def test_an_input_given_twice_is_refused(client: Any) -> None:
    answer = await infer(client, tensor([1, 2], [1, 2]), tensor([1, 2], [1, 2]))

    assert "twice" in answer.json()["error"]


async def test_a_missing_input_is_named(client: Any) -> None:
    answer = await infer(client)

    assert answer.status_code == 422
    assert "'x'" in answer.json()["error"]


async def test_an_unknown_output_is_refused_before_anything_runs(client: Any) -> None:
    answer = await infer(client, tensor([1, 2], [1, 2]), outputs=[{"name": "z"}])

    assert answer.status_code == 400
    assert "unknown output 'z'" in answer.json()["error"]


async def test_a_failed_row_fails_the_request(client: Any) -> None:
    answer = await infer(client, tensor([2, 2], [1, 2, 13, 2]))

    assert answer.status_code == 500
    assert answer.json()["code"] == "model_failure"


async def test_an_unknown_model_has_the_error_form_of_the_protocol(client: Any) -> None:
    answer = await infer(client, tensor([1, 2], [1, 2]), model="duoble")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "did you mean 'double'?" in answer.json()["error"]


async def test_an_unloaded_model_is_not_ready(house: Any, client: Any) -> None:
    await house.deployments.unload("double")

    answer = await infer(client, tensor([1, 2], [1, 2]))
    ready = await client.get("/v2/models/double/ready")

    assert (answer.status_code, ready.status_code) == (503, 503)


async def test_the_timeout_parameter_is_a_deadline(open_house: Any, connect: Any, blocker: Any) -> None:
    async with open_house([blocker.recipe]) as house, connect(house.app) as client:
        answer = await infer(client, tensor([1, 2], [1, 2]), model="slow", parameters={"timeout": 20_000})

        blocker.let_go.set()
    assert answer.status_code == 504


@pytest.mark.parametrize("timeout", [2**63, 10**18, 10**400])
async def test_a_timeout_beyond_any_clock_is_no_limit(client: Any, timeout: int) -> None:
    body = json.dumps({"inputs": [tensor([1, 2], [1, 2])], "parameters": {"timeout": timeout}})

    answer = await client.post("/v2/models/double/infer", content=body)

    assert answer.status_code == 200


@pytest.mark.parametrize("parameters", [{"timeout": -1}, {"priority": "high"}, {"a": [1]}, {"sequence_id": 7}])
async def test_parameters_that_mean_nothing_are_refused(client: Any, parameters: dict[str, Any]) -> None:
    assert (await infer(client, tensor([1, 2], [1, 2]), parameters=parameters)).status_code == 400


async def test_free_parameters_are_allowed(client: Any) -> None:
    answer = await infer(client, tensor([1, 2], [1, 2]), parameters={"priority": 1, "colour": "red"})

    assert answer.status_code == 200


async def test_metadata_names_columns_and_leaves_free_axes_free(client: Any) -> None:
    double = (await client.get("/v2/models/double")).json()
    transpose = (await client.get("/v2/models/transpose/versions/1")).json()

    assert double == {
        "name": "double",
        "versions": ["1"],
        "platform": "test_function",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert transpose["inputs"] == [{"name": "m", "datatype": "FP32", "shape": [-1, -1]}]


async def test_the_server_and_its_health(client: Any) -> None:
    server = (await client.get("/v2")).json()

    assert server["name"] == "headrace"
    assert set(server) == {"name", "version", "extensions"}
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2/models/double/ready")).json() == {"name": "double", "ready": True}


async def test_readiness_goes_before_the_server_does(house: Any, client: Any) -> None:
    house.app.drain()

    assert (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("dtype", sorted(DATATYPES))
def test_every_dtype_has_its_datatype(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]]).astype(dtype)

    output = to_output("y", values, batched=True)

    assert output["datatype"] == DATATYPES[dtype]
    assert list(output["shape"]) == [2, 2]
    assert np.array_equal(output["data"], values.ravel())


def test_columns_come_as_lists_strided_or_big_endian() -> None:
    columns: dict[str, Any] = {
        "list": [np.array([1, 2], dtype=np.float32), np.array([3, 4], dtype=np.float32)],
        "strided": np.array([[1, 3], [2, 4]], dtype=np.float32).T,
        "big": np.array([[1, 2], [3, 4]], dtype=">f4"),
    }

    for column in columns.values():
        output = to_output("y", column, batched=True)
        assert output["datatype"] == "FP32"
        assert list(output["data"]) == [1, 2, 3, 4]


def test_rows_of_differing_length_are_no_tensor() -> None:
    output = to_output("y", [np.array([1]), np.array([1, 2])], batched=True)

    assert output["datatype"] == "BYTES"
    assert output["data"] == ["[1]", "[1,2]"]


def test_specs_without_a_shape_are_announced_as_free() -> None:
    assert metadata_of("a", TensorSpec("any", None), batched=True) == {"name": "a", "datatype": "BYTES", "shape": [-1]}
