"""A PostgreSQL server that a test starts for itself."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.processes import program, running

USER = "postgres"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL, without a database, of a server that runs until the block ends; anybody on this machine is let in."""
    with tempfile.TemporaryDirectory(prefix="headrace-postgresql-") as name:
        folder, port = Path(name), free_port()
        user = USER if os.geteuid() == 0 else None  # it refuses to run as root
        if user is not None:
            shutil.chown(folder, user)
        made = [program("initdb"), "-D", "data", "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True, user=user, env=_environment(user))
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        command = [program("postgres"), "-D", "data", *(f"--{key}={value}" for key, value in options.items())]
        asked = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        ready = lambda: subprocess.run(asked, check=False).returncode == 0  # noqa: E731
        with running(command, folder, ready, user=user) as process:
            yield f"postgresql://{USER}@127.0.0.1:{port}"
            process.send_signal(signal.SIGINT)  # at the default one it would wait for its clients to leave
            process.wait(20)


def new_database(server: str, name: str) -> str:
    """The URL of an empty database *name* of *server*."""
    subprocess.run([program("psql"), "-q", f"{server}/postgres", "-c", f'CREATE DATABASE "{name}"'], check=True)
    return f"{server}/{name}"


def _environment(user: str | None) -> dict[str, str]:
    return {**os.environ, **({"HOME": pwd.getpwnam(user).pw_dir} if user else {})}
