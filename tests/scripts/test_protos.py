"""Do the generated messages of the gRPC door say what the .proto file says?"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

SCRIPT = Path(__file__).parents[2] / "scripts" / "protos.py"


@pytest.fixture(scope="module")
def protos() -> ModuleType:
    spec = importlib.util.spec_from_file_location("protos", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_messages_are_current(protos: ModuleType) -> None:
    declared, generated = (FileDescriptorProto.FromString(one) for one in (protos.compiled(), protos.generated()))

    assert generated == declared, "run: python scripts/protos.py"


def test_a_stale_file_is_noticed(protos: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protos, "generated", lambda: b"")

    assert protos.main(["--check"]) == 1


def test_the_messages_stay_out_of_the_pool_that_all_share() -> None:
    from google.protobuf import descriptor_pool

    from headrace.adapters.grpc.generated import open_inference_pb2 as messages

    assert messages.DESCRIPTOR.pool is not descriptor_pool.Default()
