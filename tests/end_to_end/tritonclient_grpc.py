"""What a user of tritonclient's gRPC client does, sync and aio; run by the Python of its own environment.

The arguments are the address of the server and our own messages (a Python file). Any difference is an AssertionError,
or the client's own exception.
"""

import asyncio
import importlib.util
import json
import queue
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as sync
import tritonclient.grpc.aio as aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

DTYPES = {
    "bool": "bool", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "float16": "float16", "float32": "float32", "float64": "float64", "string": "object",
}  # fmt: skip
ADDRESS, MESSAGES = sys.argv[1:]
HANDLE = b"bm8gaGFuZGxl"
"""What stands for a place in a device's memory: base64, as the client wants it."""


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


def given(name: str, array: np.ndarray) -> sync.InferInput:
    """An input of the client's own kind."""
    found = sync.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    found.set_data_from_numpy(array)
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


ROW = given("x_float32", values("float32", (1, 3)))


def the_same_numbers(client: Any) -> None:
    """Every field and method of ours has the number and the type that it has in the client's own copy."""
    spec = importlib.util.spec_from_file_location("ours", MESSAGES)
    assert spec is not None and spec.loader is not None
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    theirs = service_pb2.DESCRIPTOR
    for name, message in ours.DESCRIPTOR.message_types_by_name.items():
        wanted = dict(fields(name, theirs.message_types_by_name[name]))
        found = dict(fields(name, message))
        assert found.items() <= wanted.items(), (name, found.items() - wanted.items())
    [service], [other] = ours.DESCRIPTOR.services_by_name.values(), theirs.services_by_name.values()
    assert service.full_name == other.full_name
    for method in service.methods:
        known = other.methods_by_name[method.name]
        assert method.input_type.full_name == known.input_type.full_name, method.name
        assert method.output_type.full_name == known.output_type.full_name, method.name


def fields(name: str, message: Any) -> Iterator[tuple[str, tuple[int, int, str | None]]]:
    for field in message.fields:
        oneof = field.containing_oneof.name if field.containing_oneof else None
        yield f"{name}.{field.name}", (field.number, field.type, oneof)
    for inner in message.nested_types:
        yield from fields(f"{name}.{inner.name}", inner)


def every_dtype(client: Any) -> None:
    for name in DTYPES:
        for shape in ((2, 3), (1, 3), (0, 3)):
            array = values(name, shape)
            wanted = sync.InferRequestedOutput(f"x_{name}")
            answer = client.infer("every", [given(f"x_{name}", array)], outputs=[wanted], request_id="q1")
            same(answer.as_numpy(f"x_{name}"), array)
            told = answer.get_response()
            assert (told.id, told.model_name, told.model_version) == ("q1", "every", "1"), told


def shapes(client: Any) -> None:
    """Without a batch axis, several inputs at once, and no outputs named: all come."""
    array = values("float32", (2, 5))
    same(client.infer("whole", [given("x_float32", array)]).as_numpy("x_float32"), array)
    names = ("int64", "string", "bool")
    answer = client.infer("every", [given(f"x_{name}", values(name, (2, 3))) for name in names], model_version="1")
    for name in names:
        same(answer.as_numpy(f"x_{name}"), values(name, (2, 3)))
    assert len(answer.get_response().outputs) == len(DTYPES)


def compressed(client: Any) -> None:
    array = np.zeros((64, 3), np.float32)
    for way in ("gzip", "deflate"):
        answer = client.infer("every", [given("x_float32", array)], compression_algorithm=way)
        same(answer.as_numpy("x_float32"), array)


def classification(client: Any) -> None:
    array = np.array([[0.1, 0.7, 0.2]], np.float32)
    wanted = sync.InferRequestedOutput("x_float32", class_count=2)
    found = client.infer("every", [given("x_float32", array)], outputs=[wanted]).as_numpy("x_float32")
    assert found.ravel().tolist() == [b"0.7:1", b"0.2:2"], found


def administration(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("every", "1")
    assert not client.is_model_ready("nothing")
    extensions = client.get_server_metadata().extensions
    assert {"model_repository", "statistics", "classification"} <= set(extensions), extensions
    metadata = client.get_model_metadata("every", as_json=True)
    assert {"name": "x_float32", "datatype": "FP32", "shape": ["-1", "3"]} in metadata["inputs"], metadata
    client.unload_model("whole")
    assert not client.is_model_ready("whole")
    states = {one.name: one.state for one in client.get_model_repository_index().models}
    assert states["whole"] == "UNAVAILABLE" and states["every"] == "READY", states
    client.load_model("whole")
    assert client.is_model_ready("whole")
    (told,) = client.get_inference_statistics("every", "1").model_stats
    assert told.inference_stats.success.count >= 10 and told.inference_stats.success.ns > 0, told
    assert len(client.get_inference_statistics().model_stats) >= 2


def scheduling(client: Any) -> None:
    client.infer(
        "every", [ROW], priority=1, timeout=10_000_000, client_timeout=10, parameters={"colour": "red"},
        headers={"x-request-id": "mine"},
    )  # fmt: skip


def pending(client: Any) -> None:
    done: queue.Queue[Any] = queue.Queue()
    for number in range(20):
        tensor = given("x_float32", np.full((1, 3), number, np.float32))
        client.async_infer("every", [tensor], lambda result, error: done.put((result, error)), request_id=str(number))
    for _ in range(20):
        result, error = done.get(timeout=30)
        assert error is None, error
        same(result.as_numpy("x_float32"), np.full((1, 3), int(result.get_response().id), np.float32))


def streamed(client: Any) -> None:
    """Requests on a stream, one of which fails; then an answer that comes in chunks."""
    done: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: done.put((result, error)))
    for number in range(5):
        client.async_stream_infer("whole", [given("x_float32", np.full((1, 5), number, np.float32))])
    for number in range(5):
        result, error = done.get(timeout=30)
        assert error is None, error
        same(result.as_numpy("x_float32"), np.full((1, 5), number, np.float32))
    client.async_stream_infer("nothing", [ROW])
    result, error = done.get(timeout=30)
    assert result is None and "no pipeline" in str(error), error
    text = np.array(["one two three"], dtype=object)
    client.async_stream_infer("writer", [given("text", text)], enable_empty_final_response=True)
    words, final = [], False
    while not final:
        result, error = done.get(timeout=30)
        assert error is None, error
        told = result.get_response()
        final = told.parameters["triton_final_response"].bool_param
        words += [] if final else [result.as_numpy("text")[0].decode()]
    assert "".join(words) == "one two three", words
    client.stop_stream()


def refused(client: Any) -> None:
    """Everything that the contract excludes, and mistakes: the client's own exception, and the client goes on."""
    shared = sync.InferInput("x_float32", [1, 3], "FP32")
    shared.set_shared_memory("region", 12)
    calls = (
        ("shared memory is not", lambda: client.infer("every", [shared])),
        ("shared memory is not", client.get_system_shared_memory_status),
        ("shared memory is not", lambda: client.register_system_shared_memory("region", "/key", 64)),
        ("shared memory is not", client.unregister_system_shared_memory),
        ("shared memory is not", client.get_cuda_shared_memory_status),
        ("shared memory is not", lambda: client.register_cuda_shared_memory("region", HANDLE, 0, 64)),
        ("shared memory is not", client.unregister_cuda_shared_memory),
        ("trace settings", client.get_trace_settings),
        ("trace settings", lambda: client.update_trace_settings("every", {"trace_level": ["OFF"]})),
        ("log settings", client.get_log_settings),
        ("log settings", lambda: client.update_log_settings({"log_info": False})),
        ("model configurations", lambda: client.get_model_config("every")),
        ("sequence", lambda: client.infer("every", [ROW], sequence_id=7, sequence_start=True)),
        ("'config'", lambda: client.load_model("every", config=json.dumps({}))),
        ("models are not uploaded", lambda: client.load_model("every", config="{}", files={"file:1/m.onnx": b"x"})),
        ("unload_dependents", lambda: client.unload_model("every", unload_dependents=True)),
        ("no pipeline", lambda: client.infer("nothing", [ROW])),
        ("unknown output", lambda: client.infer("every", [ROW], outputs=[sync.InferRequestedOutput("z")])),
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
    """Many at a time, and a stream."""
    async with aio.InferenceServerClient(ADDRESS) as client:
        arrays = [np.full((1, 3), number, np.float32) for number in range(50)]
        asked = [client.infer("every", [given("x_float32", one)]) for one in arrays]
        for answer, array in zip(await asyncio.gather(*asked), arrays, strict=True):
            same(answer.as_numpy("x_float32"), array)

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for number in range(3):
                yield {"model_name": "whole", "inputs": [given("x_float32", np.full((1, 5), number, np.float32))]}

        found = [one async for one in client.stream_infer(requests())]
        for number, (result, error) in enumerate(found):
            assert error is None, error
            same(result.as_numpy("x_float32"), np.full((1, 5), number, np.float32))
        assert len(found) == 3


def main() -> None:
    checks = (every_dtype, shapes, compressed, classification, administration, scheduling, refused)
    with sync.InferenceServerClient(ADDRESS) as client:
        for check in (the_same_numbers, *checks, pending, streamed):
            check(client)
            sys.stdout.write(check.__name__ + "\n")
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
