"""How does a clone become a server that classifies a picture?

``demo.py serve`` makes the workspace, trains its model, and serves in the foreground until Ctrl-C. ``demo.py check``
does the same in a temporary folder on a free port, asks once, stops the server, and fails unless all of it worked.
"""

import argparse
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
PICTURE = Path("examples/three.png")  # within the workspace; shows the digit that the check expects
DIGIT = "3"
READY_LIMIT_S = 60.0
STOP_LIMIT_S = 45.0  # longer than the server's own limit for draining
POLL_S = 0.05
HEADRACE = str(Path(sys.executable).with_name("headrace"))  # the command as users have it


class Failure(Exception):
    """The demo cannot go on; the message says what happened and what would help."""


def main() -> int:
    """Read the command line, run it, and turn a failure into one clear line and an exit code."""
    parser = argparse.ArgumentParser(description="Serve the digits example.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="serve in the foreground until Ctrl-C")
    serving.add_argument("--workspace", type=Path, default=Path("demo"))
    serving.add_argument("--port", type=int, default=8000)
    commands.add_parser("check", help="serve, ask once, stop; fail unless all went well")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `finally` ends the server
    try:
        return check() if arguments.command == "check" else serve(arguments.workspace, arguments.port)
    except Failure as failure:
        print(f"==> the demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def serve(workspace: Path, port: int) -> int:
    """Prepare *workspace* and serve it on *port* until somebody stops it; return the server's exit code."""
    require_free(port)
    prepare(workspace)
    with server(workspace, port) as process:
        # Ctrl-C reaches the server as well, which drains and exits; here it must only not end the wait.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        wait_until_ready(process, port)
        print(invitation(workspace, port), flush=True)
        return process.wait()


def check() -> int:
    """Run the whole demo once without a person; return 0, or raise ``Failure`` saying which part did not work."""
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        workspace, port = Path(folder) / "demo", free_port()
        prepare(workspace)
        with server(workspace, port) as process:
            wait_until_ready(process, port)
            answer = post_file(port, "/predict/image", workspace / PICTURE)
            print(json.dumps(answer, indent=2))
            require_digit(answer)
            stop(process)
    print(f"==> {PICTURE.name} was classified as {DIGIT}, and the server stopped with exit code 0")
    return 0


def prepare(workspace: Path) -> None:
    """Make the workspace unless it is there, and train the model in it."""
    if (workspace / "train.py").exists():
        print(f"==> using the workspace {workspace}/ that is already here (remove it to start afresh)", flush=True)
    else:
        timed(f"making the workspace {workspace}/", [HEADRACE, "init", str(workspace), "--example", "digits"])
    timed("training a small classifier and exporting it", [sys.executable, "train.py"], cwd=workspace)


def timed(title: str, command: list[str], cwd: Path | None = None) -> None:
    """Run *command* with its output in view; raise ``Failure`` when it does not exit with 0."""
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, cwd=cwd, check=False).returncode
    if code != 0:
        raise Failure(f"{title} ended with exit code {code}")
    print(f"==> done in {time.monotonic() - started:.1f} s", flush=True)


@contextmanager
def server(workspace: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process for *workspace*, which does not outlive the block, however that ends."""
    print(f"==> starting the server on http://{HOST}:{port}", flush=True)
    process = subprocess.Popen([HEADRACE, "serve", "--port", str(port)], cwd=workspace)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, limit_s: float = READY_LIMIT_S) -> None:
    """Return once ``/readyz`` answers 200; raise ``Failure`` when the server dies or *limit_s* passes first."""
    started = time.monotonic()
    while not answers_ready(port):
        if (code := process.poll()) is not None:
            raise Failure(f"the server ended with exit code {code} before it was ready; its output is above")
        if time.monotonic() - started > limit_s:
            raise Failure(f"the server was not ready after {limit_s:.0f} s; its output is above")
        time.sleep(POLL_S)
    print(f"==> ready in {time.monotonic() - started:.1f} s", flush=True)


def answers_ready(port: int) -> bool:
    """Whether a server on *port* calls itself ready now."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def post_file(port: int, path: str, file: Path) -> dict[str, Any]:
    """What ``curl -F file=@FILE`` would print, decoded; raises ``Failure`` unless it has status 200."""
    boundary = "headrace-demo"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"POST {path} got no answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Failure(f"POST {path} answered {response.status}: {text}")
    answer: dict[str, Any] = json.loads(text)
    return answer


def require_digit(answer: dict[str, Any]) -> None:
    """Raise ``Failure`` unless *answer* names the digit that the picture shows."""
    outputs = answer.get("data", {}).get("outputs", {})
    found = outputs.get("prediction", {}).get("class_name")
    if found != DIGIT:
        raise Failure(f"{PICTURE.name} shows a {DIGIT}, but the answer says {found!r}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end as an orchestrator would; raise ``Failure`` unless it exits with 0 in time."""
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failure(f"the server did not end within {STOP_LIMIT_S:.0f} s of SIGTERM") from None
    if code != 0:
        raise Failure(f"the server answered SIGTERM with exit code {code}, not 0")


def invitation(workspace: Path, port: int) -> str:
    """What to type next, and how to stop."""
    return (
        "\n  Ready. In another terminal, classify a picture:\n\n"
        f"    curl -F file=@{workspace / PICTURE} http://{HOST}:{port}/predict/image\n\n"
        f"  Every call, with a form to try it: http://{HOST}:{port}/docs\n"
        "  Stop with Ctrl-C.\n"
    )


def require_free(port: int) -> None:
    """Raise ``Failure`` when *port* is taken; a stranger's server there would look like ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Failure(
                f"port {port} cannot be used ({error.strerror}); try: make demo DEMO_PORT={port + 1}"
            ) from error


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
