"""What does each form of the Open Inference Protocol cost? `python -m bench.protocols`

Three figures, each from two sides that are asked by turns, in several rounds, 64 at a time:

- `vector`: binary tensors beside JSON, rows of 784 numbers. Both go to one server, so that nothing but the body
  differs; the load is wrk's, one thread of C.
- `image`: the same with float images of 224 x 224 x 3.
- `grpc`: Headrace beside a bare grpc.aio echo of messages of the same size, each in a process of its own. It is asked
  twice: by h2load, which takes next to nothing of the machine and leaves the server as the limit; and by a grpc.aio
  client on one connection, as a service that calls another one is: it takes about as much of the machine as the echo
  does, so on two cores client and server are the limit together.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bench import grpc_messages
from bench.asking import Asking
from bench.cells import CELLS
from bench.load import LoadFailed, grpc_loop, missing_tools
from bench.running import NotServing, Question, Running, call, free_port, running
from bench.servers import BINARY, SERVERS, lay_out
from bench.tables import table
from bench.turns import Load, Outcome, Pair, Side, as_rows, by_turns
from bench.venvs import ROOT
from bench.work import work

CALLS = CELLS["c64"].connections
LOGS = ROOT / "build" / "bench" / "logs"
MIRROR = Path(__file__).parent / "workspaces" / "mirror"
ECHO = Path(__file__).with_name("grpc_echo.py")
ROW = np.random.default_rng(7).random(784).round(4).tolist()
MESSAGE = grpc_messages.request("mirror", "x", ROW)
HEAD = ("compared", "answers/s", "of the other", "at least", "measured", "CPU us", "of the other", "verdict")


def serve(main: Path, *doors: str) -> list[str]:
    """What starts Headrace as it comes, in this very environment."""
    return [sys.executable, "-m", "headrace", "serve", "--config", str(main), *doors]


@contextmanager
def forms(name: str, at_least: float) -> Iterator[Sequence[Pair]]:
    """Binary tensors beside JSON, both to one server of the work called *name*."""
    asked, port = work(name), free_port()
    command = serve(lay_out(asked) / "config" / "main.yaml", "--port", str(port))
    json, binary = Asking(SERVERS["headrace"], asked), Asking(BINARY, asked)

    def load(asking: Asking, seconds: int) -> float:
        asking.question().ask(port)  # answered once what the last load left behind is done
        seen = asking.load(port, CELLS["c64"], rate=0.0, seconds=seconds)
        if seen.errors:
            raise LoadFailed(f"{asking.server.title}: {seen.errors} requests failed")
        return seen.per_second

    with running(command, {}, port, binary.question(), log=LOGS / f"protocols-{name}.log") as server:
        ours = Side("binary", server, functools.partial(load, binary))
        theirs = Side("JSON", server, functools.partial(load, json))
        yield [Pair(f"{name}: binary beside JSON", at_least, ours, theirs)]


def from_grpc_aio(port: int, seconds: int) -> float:
    """Answers a second, all calls on one connection of a grpc.aio client."""
    command = [sys.executable, "-m", "bench.grpc_client", str(port), str(CALLS), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, input=MESSAGE, capture_output=True, timeout=seconds + 30, check=True)
    return float(done.stdout)


def from_h2load(port: int, seconds: int) -> float:
    """Answers a second, each call on a connection of its own."""
    url = f"http://127.0.0.1:{port}{grpc_messages.METHOD}"
    return grpc_loop(url, grpc_messages.framed(MESSAGE), connections=CALLS, seconds=seconds).per_second


CLIENTS: Mapping[str, Callable[[int, int], float]] = {"h2load": from_h2load, "grpc.aio": from_grpc_aio}


def mirrored(answer: bytes) -> bool:
    """Whether *answer* holds the row that was sent."""
    return bool(np.allclose(grpc_messages.answer(answer), ROW))


@contextmanager
def grpc(at_least: float) -> Iterator[Sequence[Pair]]:
    """Headrace with a model that answers with its input beside the echo, asked by each client."""
    with ExitStack() as stack:

        def start(name: str, command: Callable[[int], list[str]], is_right: Callable[[bytes], bool]) -> Running:
            port, log = free_port(), LOGS / f"protocols-{name}.log"
            question = Question(lambda at: call("bench.grpc_client", at, MESSAGE), is_right)
            return stack.enter_context(running(command(port), {}, port, question, log=log))

        main = MIRROR / "config" / "main.yaml"
        ours = start("grpc", lambda port: serve(main, "--port", "0", "--grpc-port", str(port)), mirrored)
        echo = start("grpc-echo", lambda port: [sys.executable, str(ECHO), str(port)], MESSAGE.__eq__)

        def side(title: str, server: Running, client: Callable[[int, int], float]) -> Side:
            load: Load = functools.partial(client, server.port)
            return Side(title, server, load)

        yield [
            Pair(f"gRPC beside a bare echo, {name}", at_least, side("gRPC", ours, client), side("echo", echo, client))
            for name, client in CLIENTS.items()
        ]


FIGURES: Mapping[str, Callable[[], AbstractContextManager[Sequence[Pair]]]] = {
    "vector": lambda: forms("medium", 1.0),
    "image": lambda: forms("image", 4.0),
    "grpc": lambda: grpc(0.9),
}
"""How each figure is set up, with how many times the other side the first one must answer."""


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Every pair and how it compares, as Markdown."""
    return table(HEAD, as_rows(outcomes, {True: "holds", False: "FALLS SHORT"}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when every goal holds, 1 when not, 2 when it cannot be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.protocols", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES), help="these figures only")
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides are measured")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    chosen = parser.parse_args(arguments)
    if missing := missing_tools():
        print(f"The load comes from {' and '.join(missing)}: please install it.", file=sys.stderr)
        return 2
    rounds, seconds = (1, 1) if chosen.quick else (chosen.rounds, chosen.seconds)
    outcomes: list[Outcome] = []
    for name in chosen.figures:
        try:
            with FIGURES[name]() as pairs:
                outcomes += by_turns(pairs, rounds, seconds, functools.partial(print, flush=True))
        except (NotServing, LoadFailed) as error:
            print(f"{name} is not measured: {error}", file=sys.stderr)
            return 2
    print("\n" + as_text(outcomes))
    return 0 if all(one.holds for one in outcomes) else 1


if __name__ == "__main__":
    raise SystemExit(main())
