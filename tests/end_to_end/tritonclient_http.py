"""What a user of tritonclient's HTTP client does, sync and aio; run by the Python of its own environment.

The address of the server is the only argument. Any difference is an AssertionError, or the client's own exception.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.http as sync
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

DTYPES = {
    "bool": "bool", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "float16": "float16", "float32": "float32", "float64": "float64", "string": "object",
}  # fmt: skip
ADDRESS = sys.argv[1]


def values(name: str, shape: Sequence[int]) -> np.ndarray:
    """Some values of a dtype, the least and the greatest among them."""
    if name == "string":
        texts = np.array(["a", "Zürich", "", "snow ☃"] * 8, dtype=object)
        return texts[: np.prod(shape)].reshape(shape)
    dtype = np.dtype(DTYPES[name])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.resize(np.array([limits.min, limits.max, 7], dtype), shape)
    return np.resize(np.array([0, 1, 1.5, 0.1]).astype(dtype), shape)


def given(tensor: type, name: str, array: np.ndarray, *, binary: bool) -> Any:
    """An input of the client's own kind."""
    found = tensor(name, list(array.shape), np_to_triton_dtype(array.dtype))
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def same(found: np.ndarray, array: np.ndarray) -> None:
    """The answer of an echo is its input."""
    if array.dtype == object:
        read = [item.decode() if isinstance(item, bytes) else item for item in found.ravel()]
        assert read == array.ravel().tolist(), (read, array)
        assert found.shape == array.shape, found.shape
        return
    assert found.dtype == array.dtype, (found.dtype, array.dtype)
    np.testing.assert_array_equal(found, array)


def every_dtype(client: Any) -> None:
    for name in DTYPES:
        for into, out in ((True, True), (True, False), (False, True), (False, False)):
            if name == "float16" and not into:
                continue  # FP16 has no form in JSON
            array = values(name, (2, 3))
            tensor = given(sync.InferInput, f"x_{name}", array, binary=into)
            wanted = sync.InferRequestedOutput(f"x_{name}", binary_data=out)
            answer = client.infer("every", [tensor], outputs=[wanted], request_id="q1")
            same(answer.as_numpy(f"x_{name}"), array)
            head = answer.get_response()
            assert (head["id"], head["model_name"], head["model_version"]) == ("q1", "every", "1"), head


def shapes(client: Any) -> None:
    """With and without a batch axis, no rows at all, and no outputs named: all come, binary."""
    for model, shape in (("every", (1, 3)), ("every", (5, 3)), ("every", (0, 3)), ("whole", (2, 5))):
        array = values("float32", shape)
        answer = client.infer(model, [given(sync.InferInput, "x_float32", array, binary=True)])
        same(answer.as_numpy("x_float32"), array)
    mixed = [
        given(sync.InferInput, "x_int64", values("int64", (2, 3)), binary=False),
        given(sync.InferInput, "x_float32", values("float32", (2, 3)), binary=True),
        given(sync.InferInput, "x_string", values("string", (2, 3)), binary=True),
    ]
    answer = client.infer("every", mixed)
    for name in ("int64", "float32", "string"):
        same(answer.as_numpy(f"x_{name}"), values(name, (2, 3)))


def compressed(client: Any) -> None:
    array = np.zeros((64, 3), np.float32)
    tensor = given(sync.InferInput, "x_float32", array, binary=True)
    for way in ("gzip", "deflate"):
        answer = client.infer("every", [tensor], request_compression_algorithm=way, response_compression_algorithm=way)
        same(answer.as_numpy("x_float32"), array)


def classification(client: Any) -> None:
    array = np.array([[0.1, 0.7, 0.2]], np.float32)
    tensor = given(sync.InferInput, "x_float32", array, binary=True)
    for binary in (True, False):
        wanted = sync.InferRequestedOutput("x_float32", binary_data=binary, class_count=2)
        found = client.infer("every", [tensor], outputs=[wanted]).as_numpy("x_float32")
        read = [item.decode() if isinstance(item, bytes) else item for item in found.ravel()]
        assert read == ["0.7:1", "0.2:2"], read


def administration(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("every", "1")
    extensions = client.get_server_metadata()["extensions"]
    assert {"binary_tensor_data", "model_repository", "statistics", "classification"} <= set(extensions), extensions
    metadata = client.get_model_metadata("every")
    assert {"name": "x_float32", "datatype": "FP32", "shape": [-1, 3]} in metadata["inputs"], metadata
    client.unload_model("whole")
    assert not client.is_model_ready("whole")
    states = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert states["whole"] == "UNAVAILABLE" and states["every"] == "READY", states
    client.load_model("whole")
    assert client.is_model_ready("whole")
    (told,) = client.get_inference_statistics("every", "1")["model_stats"]
    assert told["inference_stats"]["success"]["count"] > 50 and told["inference_stats"]["success"]["ns"] > 0, told
    assert len(client.get_inference_statistics()["model_stats"]) >= 2


def scheduling(client: Any) -> None:
    tensor = given(sync.InferInput, "x_float32", values("float32", (1, 3)), binary=True)
    client.infer("every", [tensor], priority=1, timeout=10_000_000, parameters={"colour": "red"})


def refused(client: Any) -> None:
    """Everything that the contract excludes, and mistakes: the client's own exception, and the client goes on."""
    tensor = given(sync.InferInput, "x_float32", values("float32", (1, 3)), binary=True)
    shared = sync.InferInput("x_float32", [1, 3], "FP32")
    shared.set_shared_memory("region", 12)
    calls = (
        ("shared memory is not", lambda: client.infer("every", [shared])),
        ("system_shared_memory", client.get_system_shared_memory_status),
        ("system_shared_memory", lambda: client.register_system_shared_memory("region", "/key", 64)),
        ("system_shared_memory", client.unregister_system_shared_memory),
        ("cuda_shared_memory", client.get_cuda_shared_memory_status),
        ("cuda_shared_memory", lambda: client.register_cuda_shared_memory("region", b"handle", 0, 64)),
        ("cuda_shared_memory", client.unregister_cuda_shared_memory),
        ("trace", client.get_trace_settings),
        ("trace", lambda: client.update_trace_settings("every", {"trace_level": ["OFF"]})),
        ("logging", client.get_log_settings),
        ("logging", lambda: client.update_log_settings({"log_info": False})),
        ("model_configuration", lambda: client.get_model_config("every")),
        ("sequence", lambda: client.infer("every", [tensor], sequence_id=7, sequence_start=True)),
        ("'config'", lambda: client.load_model("every", config=json.dumps({}))),
        ("not uploaded", lambda: client.load_model("every", config="{}", files={"file:1/model.onnx": b"x"})),
        ("unload_dependents", lambda: client.unload_model("every", unload_dependents=True)),
        ("no pipeline", lambda: client.infer("nothing", [tensor])),
        ("unknown output", lambda: client.infer("every", [tensor], outputs=[sync.InferRequestedOutput("z")])),
    )
    for told, call in calls:
        try:
            call()
        except InferenceServerException as error:
            assert told in str(error), (told, error)
        else:
            raise AssertionError(f"{told} was not refused")
        assert client.is_model_ready("every")


class Blocking:
    """The aio client, each of whose calls is waited for: it goes through the same checks as the other one."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._client = runner.run(self._opened())

    async def _opened(self) -> Any:
        return aio.InferenceServerClient(ADDRESS)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return lambda *given, **named: self._runner.run(call(*given, **named))


async def together() -> None:
    """Large and many at a time."""
    async with aio.InferenceServerClient(ADDRESS) as client:
        arrays = [np.full((400, 3), number, np.float32) for number in range(20)]
        asked = [client.infer("every", [given(aio.InferInput, "x_float32", one, binary=True)]) for one in arrays]
        for answer, array in zip(await asyncio.gather(*asked), arrays, strict=True):
            same(answer.as_numpy("x_float32"), array)


def main() -> None:
    checks = (every_dtype, shapes, compressed, classification, administration, scheduling, refused)
    with sync.InferenceServerClient(ADDRESS, concurrency=4) as client:
        for check in checks:
            check(client)
            sys.stdout.write(check.__name__ + "\n")
        tensor = given(sync.InferInput, "x_float32", values("float32", (1, 3)), binary=True)
        pending = [client.async_infer("every", [tensor]) for _ in range(8)]
        for one in pending:
            same(one.get_result().as_numpy("x_float32"), values("float32", (1, 3)))
    with asyncio.Runner() as runner:
        client = Blocking(runner)
        for check in checks:
            check(client)
            sys.stdout.write(check.__name__ + ", aio\n")
        client.close()
        runner.run(together())
    sys.stdout.write("asynchronous\n")


if __name__ == "__main__":
    main()
