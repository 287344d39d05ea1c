"""Do both doors of the protocol tell the same of the server, its models, their state and what they have done?"""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from tests.adapters.grpc.calls import Failure
from tests.contracts.open_inference.doors import DOORS
from tests.contracts.open_inference.echoes import Served, kinds, model_of, rows_of

from headrace.adapters.grpc.generated import open_inference_pb2 as messages

pytestmark = pytest.mark.asyncio(loop_scope="module")

REST_ALONE = {"binary_tensor_data", "generate"}
"""Extensions that say something of REST: by gRPC tensors are binary anyway, and texts come in a stream."""
CHANGED = "int16-vector"


def plain(message: Any) -> Any:
    """A message as JSON: its numbers of 64 bits are texts there, and not here."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: read(one) for name, one in value.items()}
        if isinstance(value, list):
            return [read(one) for one in value]
        return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value

    return read(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


async def by_grpc(served: Served, method: str, /, **asked: Any) -> Any:
    return await served.grpc.call(method, getattr(messages, f"{method}Request")(**asked))


async def by_rest(served: Served, path: str) -> Any:
    return (await served.http.get(path)).json()


def numbered(told: Any) -> Any:
    """What REST tells with version numbers as numbers, as *plain* has them."""
    return [{**one, "version": int(one["version"])} for one in told]


async def test_the_server_and_its_extensions(served: Served) -> None:
    told, rest = await by_grpc(served, "ServerMetadata"), await by_rest(served, "/v2")

    assert (told.name, told.version) == (rest["name"], rest["version"])
    assert set(rest["extensions"]) - set(told.extensions) == REST_ALONE
    assert set(told.extensions) < set(rest["extensions"])


async def test_live_and_ready(served: Served) -> None:
    assert plain(await by_grpc(served, "ServerLive")) == await by_rest(served, "/v2/health/live")
    assert plain(await by_grpc(served, "ServerReady")) == await by_rest(served, "/v2/health/ready")


@pytest.mark.parametrize("version", ["", "1"])
async def test_the_columns_of_every_model(served: Served, version: str) -> None:
    for dtype, shape in kinds():
        name = model_of(dtype, shape)
        rest = await by_rest(served, f"/v2/models/{name}" + (f"/versions/{version}" if version else ""))
        told = plain(await by_grpc(served, "ModelMetadata", name=name, version=version))

        assert told == {**rest, "versions": [int(one) for one in rest["versions"]]}


async def test_statistics_count_all_doors_together(served: Served) -> None:
    array, model = rows_of("int32", "scalar", 3), model_of("int32", "scalar")
    for ask in DOORS.values():
        await ask(served, model, array)

    told = plain(await by_grpc(served, "ModelStatistics", name=model))
    rest = await by_rest(served, f"/v2/models/{model}/stats")

    (found,) = told["model_stats"]
    assert told["model_stats"] == numbered(rest["model_stats"])
    assert found["inference_stats"]["success"]["count"] == len(DOORS)
    assert found["inference_count"] == 3 * len(DOORS)
    assert [(one["batch_size"], one["compute_infer"]["count"]) for one in found["batch_stats"]] == [(3, len(DOORS))]
    assert found["last_inference"] > 1_700_000_000_000


@pytest.mark.parametrize("asked", [{}, {"ready": True}])
async def test_the_index_and_what_is_unloaded(served: Served, asked: dict[str, Any]) -> None:
    await served.workspace.deployments.unload(CHANGED)

    told = plain(await by_grpc(served, "RepositoryIndex", **asked))["models"]
    rest = (await served.http.post("/v2/repository/index", json=asked)).json()

    await served.workspace.deployments.load(CHANGED)
    assert told == numbered(rest)
    assert (CHANGED in {one["name"] for one in told}) is not asked.get("ready", False)


@pytest.mark.parametrize(
    ("verb", "parameters"),
    [
        ("Load", {"config": "{}"}),
        ("Load", {"file:1/model.onnx": "AAAA"}),
        ("Unload", {"unload_dependents": True}),
    ],
)
async def test_parameters_of_the_repository_are_refused_alike(served: Served, verb: str, parameters: Any) -> None:
    asked = getattr(messages, f"RepositoryModel{verb}Request")(model_name=CHANGED)
    for key, value in parameters.items():
        setattr(asked.parameters[key], "bool_param" if isinstance(value, bool) else "string_param", value)

    told = await served.grpc.call(f"RepositoryModel{verb}", asked)
    rest = await served.http.post(f"/v2/repository/models/{CHANGED}/{verb.lower()}", json={"parameters": parameters})

    assert isinstance(told, Failure)
    assert (told.code, told.told) == (rest.json()["code"], rest.json()["error"])
    assert told.code == "invalid_request"
    assert (await served.http.get(f"/v2/models/{CHANGED}/ready")).status_code == 200


@pytest.mark.parametrize("verb", ["Load", "Unload"])
async def test_parameters_that_ask_for_nothing_more_are_taken(served: Served, verb: str) -> None:
    asked = getattr(messages, f"RepositoryModel{verb}Request")(model_name=CHANGED)
    asked.parameters["unload_dependents"].bool_param = False

    told = await served.grpc.call(f"RepositoryModel{verb}", asked)
    rest = await served.http.post(
        f"/v2/repository/models/{CHANGED}/{verb.lower()}", json={"parameters": {"unload_dependents": False}}
    )

    await served.workspace.deployments.load(CHANGED)
    assert not isinstance(told, Failure)
    assert rest.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "name", "version"),
    [
        ("ModelMetadata", "/v2/models/nothing", "nothing", ""),
        ("ModelMetadata", "/v2/models/bool-vector/versions/9", "bool-vector", "9"),
        ("ModelStatistics", "/v2/models/nothing/stats", "nothing", ""),
        ("ModelStatistics", "/v2/models/bool-vector/versions/9/stats", "bool-vector", "9"),
    ],
)
async def test_what_is_not_there_is_told_alike(served: Served, method: str, path: str, name: str, version: str) -> None:
    told, rest = await by_grpc(served, method, name=name, version=version), await by_rest(served, path)

    assert isinstance(told, Failure)
    assert told.code == rest["code"]
    assert rest["error"].startswith(told.told.removesuffix(" ..."))  # gRPC's trailers have a limit
    assert len(told.told) > 20


async def test_an_answer_may_have_an_id_a_version_and_classes(served: Served) -> None:
    asked = messages.ModelInferRequest(model_name="float64-vector", model_version="1", id="q-1")
    asked.inputs.add(name="x", datatype="FP64", shape=[1, 3]).contents.fp64_contents.extend([0.1, 0.7, 0.2])
    asked.outputs.add(name="x").parameters["classification"].int64_param = 2
    given = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": [0.1, 0.7, 0.2]}
    wanted = [{"name": "x", "parameters": {"classification": 2}}]

    told = await served.grpc.infer(asked)
    rest = await served.http.post(
        "/v2/models/float64-vector/versions/1/infer", json={"id": "q-1", "inputs": [given], "outputs": wanted}
    )

    (output,), (other,) = told.outputs, rest.json()["outputs"]
    assert (told.id, told.model_name, told.model_version) == ("q-1", "float64-vector", "1")
    assert (output.name, output.datatype, list(output.shape)) == (other["name"], other["datatype"], other["shape"])
    assert [one.decode() for one in output.contents.bytes_contents] == other["data"] == ["0.7:1", "0.2:2"]
