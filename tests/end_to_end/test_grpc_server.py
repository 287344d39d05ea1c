"""Does a server in a process of its own speak gRPC as a user configures it, and lose nothing when it is stopped?"""

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.end_to_end.servers import Server, serving
from tests.servers.ports import free_port

from headrace.adapters.grpc.generated import open_inference_pb2 as messages

METHOD = "/inference.GRPCInferenceService/ModelInfer"
ROW = np.array([[1, 2, 3]], np.float32)
CALLS = 32

pytestmark = pytest.mark.slow


def lay_out(folder: Path, api: str) -> Path:
    (folder / "config" / "models").mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text(f"api: {api}\n")
    columns = "[{name: x, shape: [-1, 3], dtype: float32}]"
    mirror = f"type: echo\ninput_spec: {columns}\noutput_spec: {columns}\n"
    (folder / "config" / "models" / "mirror.yaml").write_text(mirror)
    return folder


def question() -> bytes:
    asked = messages.ModelInferRequest(model_name="mirror", raw_input_contents=[ROW.tobytes()])
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    return asked.SerializeToString()


async def ask_until_it_ends(port: int, server: Server) -> Counter[str]:
    """Ask with many calls at a time, and stop the server meanwhile; how often each status came."""
    seen: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(METHOD, response_deserializer=messages.ModelInferResponse.FromString)

        async def one() -> None:
            while not seen["UNAVAILABLE"]:
                try:
                    answer = await ask(question(), timeout=10)
                except grpc.aio.AioRpcError as error:
                    seen[error.code().name] += 1
                    continue
                assert answer.raw_output_contents[0] == ROW.tobytes()
                seen["OK"] += 1

        callers = [asyncio.create_task(one()) for _ in range(CALLS)]
        while seen["OK"] < 500:
            await asyncio.sleep(0.01)
        server.process.terminate()
        await asyncio.gather(*callers)
    return seen


@pytest.mark.parametrize("workers", [1, 2])
async def test_whoever_was_accepted_is_answered_when_the_server_stops(tmp_path: Path, workers: int) -> None:
    port = free_port()

    with serving(lay_out(tmp_path, f"{{grpc_port: {port}, workers: {workers}}}")) as server:
        seen = await ask_until_it_ends(port, server)
        code = await asyncio.to_thread(server.stop)

    assert set(seen) == {"OK", "UNAVAILABLE"}, (seen, server.log.read_text())
    assert code == 0
    assert "Traceback" not in server.log.read_text()


async def test_port_0_leaves_the_door_out(tmp_path: Path) -> None:
    with serving(lay_out(tmp_path, "{grpc_port: 0}")) as server:
        assert await asyncio.to_thread(server.stop) == 0

    assert "gRPC" not in server.log.read_text()


async def test_a_key_is_answered_once_by_all_workers(tmp_path: Path) -> None:
    port = free_port()
    answers, replayed = [], 0

    with serving(lay_out(tmp_path, f"{{grpc_port: {port}, workers: 2}}")):
        for _ in range(8):
            alone = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, which either worker may get
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=alone) as channel:
                call = channel.unary_unary(METHOD)(question(), metadata=(("idempotency-key", "once"),), timeout=10)
                answers.append(await call)
                replayed += ("idempotent-replayed", "true") in tuple(await call.trailing_metadata())

    assert set(answers) == {answers[0]}
    assert replayed == len(answers) - 1
