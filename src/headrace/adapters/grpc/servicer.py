"""Which method of the service is answered by what, and what is told of those that are not served?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from headrace.adapters.grpc.door import Call, Door
from headrace.adapters.grpc.errors import CODE_KEY
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.generated.open_inference_pb2 import DESCRIPTOR
from headrace.adapters.grpc.idempotency import KeyedCalls, has_key
from headrace.adapters.grpc.inference import InferenceCalls
from headrace.adapters.grpc.models import ModelCalls
from headrace.adapters.grpc.requests import require_known
from headrace.domain.errors import InvalidRequest
from headrace.services.deployments import Deployments
from headrace.services.idempotency import Idempotency
from headrace.services.inference import Inference

SERVICE: Final[str] = DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

_INFER: Final = f"/{SERVICE}/ModelInfer"

NOT_SERVED: Final[Mapping[str, str]] = {
    "ModelConfig": "model configurations are not served here; ModelMetadata tells the inputs and outputs",
    **dict.fromkeys(
        (f"{kind}SharedMemory{verb}" for kind in ("System", "Cuda") for verb in ("Status", "Register", "Unregister")),
        "shared memory is not served here; send tensors in the request",
    ),
    "TraceSetting": "trace settings are not served here",
    "LogSettings": "log settings are not served here; the workspace's configuration has them under `logging`",
}
"""Why a method that clients of other servers know is not answered."""


class Methods(grpc.GenericRpcHandler):
    """The methods of the service, by path."""

    def __init__(
        self,
        inference: Inference,
        deployments: Deployments,
        door: Door,
        max_rows: int,
        idempotency: Idempotency | None = None,
    ) -> None:
        """*max_rows* is how many rows of single values a request may bring. Without *idempotency* keys mean nothing."""
        calls = InferenceCalls(inference, deployments, door, max_rows)
        models = ModelCalls(inference, deployments, door)
        self._keyed: Any = None
        if idempotency is not None:
            keyed = KeyedCalls(idempotency, door, _INFER, calls.infer)
            self._keyed = grpc.unary_unary_rpc_method_handler(keyed.answer)
        # Messages of inference are not decoded by gRPC: most of one is known from the request before.
        handlers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(calls.infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(door.streaming(calls.stream)),
        }
        told: Mapping[str, tuple[type[Message], Callable[[Any, Call], Awaitable[Message]]]] = {
            "ServerLive": (messages.ServerLiveRequest, models.server_live),
            "ServerReady": (messages.ServerReadyRequest, models.server_ready),
            "ModelReady": (messages.ModelReadyRequest, models.model_ready),
            "ServerMetadata": (messages.ServerMetadataRequest, models.server_metadata),
            "ModelMetadata": (messages.ModelMetadataRequest, models.model_metadata),
            "ModelStatistics": (messages.ModelStatisticsRequest, models.model_statistics),
            "RepositoryIndex": (messages.RepositoryIndexRequest, models.repository_index),
            "RepositoryModelLoad": (messages.RepositoryModelLoadRequest, models.load),
            "RepositoryModelUnload": (messages.RepositoryModelUnloadRequest, models.unload),
        }
        for name, (kind, method) in told.items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(door.unary(_decoding(kind, method)))
        for name, why in NOT_SERVED.items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(_refusing(why))
        self._handlers = {f"/{SERVICE}/{name}": handler for name, handler in handlers.items()}

    def service(self, details: Any) -> Any:
        """The handler of a call; None for a method that nobody knows."""
        if self._keyed is not None and details.method == _INFER and has_key(details.invocation_metadata):
            return self._keyed
        return self._handlers.get(details.method)


def _decoding(
    kind: type[Message], method: Callable[[Any, Call], Awaitable[Message]]
) -> Callable[[bytes, Call], Awaitable[bytes]]:
    """*method* of decoded messages as one of bytes. It raises InvalidRequest for bytes that are no such message."""

    async def answer(message: bytes, call: Call) -> bytes:
        try:
            asked = kind.FromString(message)
        except DecodeError:
            raise InvalidRequest(f"the message is no {kind.__name__}: it ends early or is garbled") from None
        require_known(asked)
        return (await method(asked, call)).SerializeToString()

    return answer


def _refusing(why: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def answer(message: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, why, ((CODE_KEY, InvalidRequest.code),))
        raise AssertionError("abort raises")

    return answer
