"""Which Python does the .proto file of the gRPC door become?

Writes src/headrace/adapters/grpc/generated/ with the compiler of the package grpcio-tools; ``--check`` only tells
whether what lies there says the same as the .proto file, and fails if it does not.

The compiler's own Python would bind us to its version of protobuf, and would put the messages into the pool that a
whole process shares, where a client of the same protocol (Triton's, KServe's) puts its own under the same names.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "src" / "headrace" / "adapters" / "grpc"
SOURCE = FOLDER / "open_inference.proto"
GENERATED = FOLDER / "generated"
MODULE = '''\
"""The messages of open_inference.proto. Made by scripts/protos.py; not written by hand."""

from google.protobuf import descriptor_pool, message_factory

DESCRIPTOR = descriptor_pool.DescriptorPool().AddSerializedFile(
    {content}
)

for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_message)
'''


def main(arguments: Sequence[str]) -> int:
    """Write the generated files, or with ``--check`` tell whether they are stale; return an exit code."""
    if "--check" in arguments:
        if compiled() != generated():
            print("stale: adapters/grpc/generated; run: python scripts/protos.py", file=sys.stderr)
            return 1
        return 0
    run_compiler(f"--pyi_out={GENERATED}")  # the types, for editors and mypy
    (GENERATED / "open_inference_pb2.py").write_text(MODULE.format(content=compiled()))
    return 0


def run_compiler(output: str) -> None:
    """Compile the .proto file. Raises RuntimeError if it does not hold."""
    if protoc.main(["protoc", f"--proto_path={FOLDER}", output, str(SOURCE)]) != 0:
        raise RuntimeError(f"{SOURCE.name} does not compile")


def compiled() -> bytes:
    """What the .proto file says, as its serialised descriptor."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors"
        run_compiler(f"--descriptor_set_out={target}")
        file = FileDescriptorSet.FromString(target.read_bytes()).file[0]
    return file.SerializeToString(deterministic=True)


def generated() -> bytes:
    """What the generated module says, likewise."""
    from headrace.adapters.grpc.generated.open_inference_pb2 import DESCRIPTOR

    return DESCRIPTOR.serialized_pb


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
