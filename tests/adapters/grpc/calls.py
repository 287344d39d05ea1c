"""The pipelines of the HTTP door's tests behind the gRPC door, on a real port, and a client of our own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tests.adapters.http.conftest import RECIPES, House, Recipe, opened

from headrace.adapters.credentials import Credentials
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.serve import serve
from headrace.adapters.http.settings import ApiSettings
from headrace.adapters.open_inference.datatypes import DATATYPES
from headrace.services.idempotency import Idempotency

SERVICE = "inference.GRPCInferenceService"
WAIT_S = 10


@dataclass
class Failure:
    """How a call failed."""

    status: grpc.StatusCode
    told: str
    trailers: dict[str, str]

    @property
    def code(self) -> str | None:
        """Our own code."""
        return self.trailers.get("headrace-code")


@dataclass
class Client:
    """Calls methods by name; what comes back is the answer, or how the call failed."""

    channel: grpc.aio.Channel

    async def call(self, name: str, request: Any, **more: Any) -> Any:
        """Call *name* with a message, or with bytes as they are."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        method = self.channel.unary_unary(f"/{SERVICE}/{name}")
        try:
            answer = await method(raw, **{"timeout": WAIT_S, **more})
        except grpc.aio.AioRpcError as error:
            return failure(error)
        kind = f"{name}Response"
        return getattr(messages, kind).FromString(answer)

    async def infer(self, request: Any, **more: Any) -> Any:
        """Call ModelInfer."""
        return await self.call("ModelInfer", request, **more)

    def stream(self, **more: Any) -> Any:
        """Open ModelStreamInfer."""
        return self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=messages.ModelStreamInferResponse.FromString,
        )(**{"timeout": WAIT_S, **more})


def failure(error: grpc.aio.AioRpcError) -> Failure:
    """What a client is told."""
    return Failure(error.code(), error.details() or "", {key: str(value) for key, value in error.trailing_metadata()})


@dataclass
class Running:
    """A server on a free port, and a client of it."""

    house: House
    address: str
    stop: asyncio.Event
    done: "asyncio.Task[int]"
    client: Client


@asynccontextmanager
async def connected(inference: Any, deployments: Any, settings: ApiSettings | None = None) -> AsyncIterator[Client]:
    """A client of a door on a free port of this machine."""
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = serve(inference, deployments, settings or ApiSettings(), stop, listening.set_result, port=0)
    done = asyncio.create_task(serving)
    try:
        address = await asyncio.wait_for(listening, WAIT_S)
        async with grpc.aio.insecure_channel(address) as channel:
            yield Client(channel)
    finally:
        stop.set()
        await done


@asynccontextmanager
async def running(
    recipes: Sequence[Recipe] = RECIPES,
    settings: ApiSettings | None = None,
    *,
    token: Credentials | str | None = None,
    idempotency: Idempotency | None = None,
    start: bool = True,
    channel: Sequence[tuple[str, Any]] = (),
) -> AsyncIterator[Running]:
    """The door on a free port of this machine."""
    settings = settings or ApiSettings()
    async with opened(recipes, settings, start=start) as house:
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = serve(
            house.inference, house.deployments, settings, stop, listening.set_result,
            token=token, idempotency=idempotency, port=0,
        )  # fmt: skip
        done = asyncio.create_task(serving)
        try:
            address = await asyncio.wait_for(listening, WAIT_S)
            async with grpc.aio.insecure_channel(address, options=list(channel)) as opened_channel:
                yield Running(house, address, stop, done, Client(opened_channel))
        finally:
            stop.set()
            await done


def request(model: str = "double", *tensors: Any, raw: Sequence[bytes] | None = None, **more: Any) -> Any:
    """A request; without tensors, two rows for `double`."""
    given = list(tensors) or [tensor("x", np.array([[1, 2], [3, 4]], np.float32))]
    asked = messages.ModelInferRequest(model_name=model, **more)
    for one, values in given:
        asked.inputs.append(one)
        if values is not None:
            asked.raw_input_contents.append(values)
    if raw is not None:
        del asked.raw_input_contents[:]
        asked.raw_input_contents.extend(raw)
    return asked


def tensor(name: str, array: np.ndarray | list[bytes], **changes: Any) -> tuple[Any, bytes]:
    """An input and its bytes."""
    if isinstance(array, list):
        values = b"".join(len(one).to_bytes(4, "little") + one for one in array)
        about: dict[str, Any] = {"datatype": "BYTES", "shape": [len(array)]}
    else:
        values = array.tobytes()
        about = {"datatype": DATATYPES[array.dtype.name], "shape": array.shape}
    return messages.ModelInferRequest.InferInputTensor(**{"name": name, **about, **changes}), values


def typed(name: str, datatype: str, shape: Sequence[int], **contents: Sequence[Any]) -> tuple[Any, None]:
    """An input with typed contents."""
    found = messages.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    found.contents.CopyFrom(messages.InferTensorContents(**contents))
    return found, None
