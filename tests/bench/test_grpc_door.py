"""Is the gRPC door compared with an echo of equal messages, and is a wrong answer noticed?"""

import numpy as np
from bench.grpc_door import ECHO, MESSAGE, OURS, ROW, commands, question

from bench import grpc_messages


def answered(row: list[float]) -> bytes:
    values = np.asarray(row, "<f4").tobytes()
    return bytes([6 << 3 | 2, 0xC0, 0x18]) + values


def test_both_servers_stand_on_their_own_ports() -> None:
    found = commands(1, 2)

    assert found[OURS][0][-2:] == ["--grpc-port", "1"]
    assert (found[ECHO][1], found[ECHO][2]) == (2, {"BENCH_PORT": "2"})


def test_an_answer_is_right_when_it_holds_the_row() -> None:
    assert len(answered(ROW)) == 3 + 4 * 784
    assert question(OURS).is_right(answered(ROW))
    assert not question(OURS).is_right(answered([0.0] * 784))
    assert question(ECHO).is_right(MESSAGE)
    assert not question(ECHO).is_right(MESSAGE[:-1])


def test_the_message_is_one_row_for_the_mirror() -> None:
    assert grpc_messages.request("mirror", "x", ROW) == MESSAGE
