"""Do health, metadata, repository and statistics say what the protocol asks for?"""

from typing import Any

import grpc
import numpy as np
import pytest
from tests.adapters.grpc.calls import SERVICE, Failure, Running, request, running, tensor
from tests.adapters.http.conftest import DOUBLE

import headrace
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.servicer import NOT_SERVED


async def test_the_server_tells_its_name_version_and_extensions(server: Running) -> None:
    told = await server.client.call("ServerMetadata", messages.ServerMetadataRequest())

    assert (told.name, told.version) == ("headrace", headrace.__version__)
    assert {"classification", "model_repository", "schedule_policy", "statistics"} <= set(told.extensions)


async def test_live_and_ready(server: Running) -> None:
    assert (await server.client.call("ServerLive", messages.ServerLiveRequest())).live
    assert (await server.client.call("ServerReady", messages.ServerReadyRequest())).ready


async def test_a_server_that_still_loads_is_live_and_not_ready() -> None:
    async with running(start=False) as server:
        assert (await server.client.call("ServerLive", messages.ServerLiveRequest())).live
        assert not (await server.client.call("ServerReady", messages.ServerReadyRequest())).ready


async def test_a_model_is_ready_once_it_is_loaded(server: Running) -> None:
    async def ready(name: str, version: str = "") -> Any:
        return await server.client.call("ModelReady", messages.ModelReadyRequest(name=name, version=version))

    await server.house.deployments.unload("shout")

    assert (await ready("double")).ready
    assert (await ready("two", "2")).ready
    assert not (await ready("shout")).ready
    assert not (await ready("nothing")).ready
    assert (await ready("two")).code == "ambiguous_version"


async def test_metadata_name_columns_and_leave_free_axes_free(server: Running) -> None:
    double = await server.client.call("ModelMetadata", messages.ModelMetadataRequest(name="double"))
    transpose = await server.client.call("ModelMetadata", messages.ModelMetadataRequest(name="transpose", version="1"))
    nothing = await server.client.call("ModelMetadata", messages.ModelMetadataRequest(name="nothing"))

    assert (double.name, list(double.versions), double.platform) == ("double", ["1"], "test_function")
    assert [(one.name, one.datatype, list(one.shape)) for one in double.inputs] == [("x", "FP32", [-1, 2])]
    assert [(one.name, one.datatype, list(one.shape)) for one in double.outputs] == [("y", "FP32", [-1, 2])]
    assert [list(one.shape) for one in transpose.inputs] == [[-1, -1]]
    assert (nothing.status, nothing.code) == (grpc.StatusCode.NOT_FOUND, "not_found")


async def test_the_index_lists_what_is_declared_and_its_state(server: Running) -> None:
    await server.house.deployments.unload("shout")

    everything = await server.client.call("RepositoryIndex", messages.RepositoryIndexRequest())
    loaded = await server.client.call("RepositoryIndex", messages.RepositoryIndexRequest(ready=True))

    states = {(one.name, one.version): (one.state, one.reason) for one in everything.models}
    assert states["double", "1"] == ("READY", "")
    assert states["shout", "1"] == ("UNAVAILABLE", "unloaded")
    assert ("two", "2") in states
    assert "shout" not in {one.name for one in loaded.models}


async def test_models_are_unloaded_and_loaded_by_name(server: Running) -> None:
    await server.client.call("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="double"))
    unloaded = await server.client.infer(request())
    await server.client.call("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="double"))
    loaded = await server.client.infer(request())

    assert unloaded.code == "not_ready"
    assert loaded.model_name == "double"


@pytest.mark.parametrize("key", ["config", "file:1/model.onnx"])
async def test_nothing_is_uploaded(server: Running, key: str) -> None:
    asked = messages.RepositoryModelLoadRequest(model_name="double")
    asked.parameters[key].string_param = "{}"

    answer = await server.client.call("RepositoryModelLoad", asked)

    assert (answer.status, answer.code) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
    assert "not uploaded" in answer.told


async def test_loading_what_is_not_declared_is_refused(server: Running) -> None:
    answer = await server.client.call("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="nothing"))

    assert answer.code == "not_found"


async def test_statistics_count_requests_rows_and_batches() -> None:
    async with running([DOUBLE]) as server:
        for _ in range(3):
            await server.client.infer(request())
        await server.client.infer(request("double", tensor("x", np.array([[13, 1]], np.float32))))
        asked = messages.ModelStatisticsRequest(name="double", version="1")
        (told,) = (await server.client.call("ModelStatistics", asked)).model_stats

    assert (told.name, told.version, told.inference_count, told.execution_count) == ("double", "1", 7, 4)
    assert (told.inference_stats.success.count, told.inference_stats.fail.count) == (3, 1)
    assert told.inference_stats.success.ns > told.inference_stats.compute_infer.ns > 0
    assert sum(one.batch_size * one.compute_infer.count for one in told.batch_stats) == 7


async def test_statistics_of_one_name_and_of_all(server: Running) -> None:
    async def told(name: str = "") -> Any:
        return await server.client.call("ModelStatistics", messages.ModelStatisticsRequest(name=name))

    assert [(one.name, one.version) for one in (await told("two")).model_stats] == [("two", "1"), ("two", "2")]
    assert len((await told()).model_stats) == len(list(server.house.inference.engine.registry))
    assert (await told("nothing")).code == "not_found"


@pytest.mark.parametrize("method", NOT_SERVED)
async def test_extensions_that_are_not_served_say_so(server: Running, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.client.channel.unary_unary(f"/{SERVICE}/{method}")(b"")

    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "not served" in str(caught.value.details())


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "RepositoryIndex", "ModelStatistics"])
async def test_garbage_and_unknown_fields_are_refused(server: Running, method: str) -> None:
    garbage = await server.client.call(method, b"\xff\xff")
    unknown = await server.client.call(method, b"\x9a\x06\x01x")

    assert isinstance(garbage, Failure) and garbage.code == "invalid_request"
    assert isinstance(unknown, Failure) and "field number 99" in unknown.told
