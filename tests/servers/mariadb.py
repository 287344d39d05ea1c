"""A MariaDB server that a test starts for itself."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.processes import program, running

USER, PASSWORD = "headrace", "s3cret"
UNPRIVILEGED = "mysql"


@contextmanager
def mariadb() -> Iterator[str]:
    """The URL, without a database, of a server that runs until the block ends."""
    with tempfile.TemporaryDirectory(prefix="headrace-mariadb-") as name:
        folder, port = Path(name), free_port()
        user = UNPRIVILEGED if os.geteuid() == 0 else None  # it refuses to run as root
        if user is not None:
            shutil.chown(folder, user)
        options = [f"--datadir={folder}/data", "--skip-test-db", "--auth-root-authentication-method=normal"]
        made = [program("mariadb-install-db"), "--no-defaults", *options]
        subprocess.run(made, cwd=folder, check=True, capture_output=True, user=user)
        command = [
            program("mariadbd"), "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/socket",
            f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid",
            "--innodb-flush-log-at-trx-commit=0",
        ]  # fmt: skip
        grant = f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"
        root = [program("mariadb"), "--no-defaults", f"--socket={folder}/socket", "--user=root", "-e", grant]
        ready = lambda: subprocess.run(root, check=False, capture_output=True).returncode == 0  # noqa: E731
        with running(command, folder, ready, user=user):
            yield f"mysql://{USER}:{PASSWORD}@127.0.0.1:{port}"


def new_database(server: str, name: str) -> str:
    """The URL of an empty database *name* of *server*."""
    port = server.rpartition(":")[2]
    client = [program("mariadb"), "--no-defaults", "--host=127.0.0.1", f"--port={port}", f"--user={USER}"]
    subprocess.run([*client, f"--password={PASSWORD}", "-e", f"CREATE DATABASE {name}"], check=True)
    return f"{server}/{name}"
