"""Ask the gRPC server on port ARGV[1] one question: the message comes in, and goes out, as plain bytes."""

import sys

import grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def main(port: str) -> int:
    """0 with the answer on the output; 1 with the status on the error output."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = channel.unary_unary(METHOD)(sys.stdin.buffer.read(), timeout=5)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
