"""Have our messages the names, numbers and types of the protocol's proto? Another number would be another field."""

import pytest
from google.protobuf.descriptor import FieldDescriptor

from headrace.adapters.grpc.generated.open_inference_pb2 import DESCRIPTOR

TENSOR = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")}
"""What every tensor begins with; a star is a repeated field."""
CALLED = {"name": (1, "string"), "version": (2, "string")}
MESSAGES = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": CALLED,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**CALLED, "extensions": (3, "string*")},
    "ModelMetadataRequest": CALLED,
    "ModelMetadataResponse": {
        "name": (1, "string"), "versions": (2, "string*"), "platform": (3, "string"),
        "inputs": (4, "TensorMetadata*"), "outputs": (5, "TensorMetadata*"),
    },
    "ModelMetadataResponse.TensorMetadata": TENSOR,
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "ParametersEntry*"), "inputs": (5, "InferInputTensor*"),
        "outputs": (6, "InferRequestedOutputTensor*"), "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferRequest.InferInputTensor": {
        **TENSOR, "parameters": (4, "ParametersEntry*"), "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "ParametersEntry*")},
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"),
        "parameters": (4, "ParametersEntry*"), "outputs": (5, "InferOutputTensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "ModelInferResponse.InferOutputTensor": {
        **TENSOR, "parameters": (4, "ParametersEntry*"), "contents": (5, "InferTensorContents"),
    },
    "InferParameter": {
        "bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string"),
        "double_param": (4, "double"), "uint64_param": (5, "uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "bool*"), "int_contents": (2, "int32*"), "int64_contents": (3, "int64*"),
        "uint_contents": (4, "uint32*"), "uint64_contents": (5, "uint64*"), "fp32_contents": (6, "float*"),
        "fp64_contents": (7, "double*"), "bytes_contents": (8, "bytes*"),
    },
}  # fmt: skip
"""Every message of the protocol itself. Those of extensions are held against another server's own copy
(tests/end_to_end/tritonclient_grpc.py)."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
KINDS = {
    FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes", FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32", FieldDescriptor.TYPE_INT64: "int64", FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64", FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double",
}  # fmt: skip


def shown(field: FieldDescriptor) -> tuple[int, str]:
    kind = field.message_type.name if field.message_type else KINDS[field.type]
    return field.number, kind + ("*" if field.is_repeated else "")


@pytest.mark.parametrize("name", MESSAGES)
def test_the_fields_of_a_message(name: str) -> None:
    outer, _, inner = name.partition(".")
    message = DESCRIPTOR.message_types_by_name[outer]
    message = message.nested_types_by_name[inner] if inner else message

    assert {field.name: shown(field) for field in message.fields} == MESSAGES[name]


def test_the_package_the_service_and_its_methods() -> None:
    service = DESCRIPTOR.services_by_name["GRPCInferenceService"]

    assert service.full_name == "inference.GRPCInferenceService"
    for name in METHODS:
        method = service.methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == (f"{name}Request", f"{name}Response")
        assert not (method.client_streaming or method.server_streaming)


def test_a_parameter_has_one_value() -> None:
    (choice,) = DESCRIPTOR.message_types_by_name["InferParameter"].oneofs

    assert choice.name == "parameter_choice"
    assert {field.name for field in choice.fields} == set(MESSAGES["InferParameter"])
