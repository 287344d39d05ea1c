"""Are the programs there that the tests or the benchmarks start? Installs those that are missing, where it may.

`make test` and `make bench` call this: on Debian and Ubuntu, as root, what is missing is installed; anywhere else it
is named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES: Mapping[str, Mapping[str, str]] = {
    "tests": {
        "redis-server": "redis-server",
        "mariadbd": "mariadb-server",
        "haproxy": "haproxy",
        "promtool": "prometheus",
        "initdb": "postgresql",
    },
    "benchmarks": {"wrk": "wrk", "h2load": "nghttp2-client"},
}
"""The Debian package of each program that is started, by what starts it."""
INSTALL = ("apt-get", "install", "-qq", "--no-install-recommends")
POLICY = Path("/usr/sbin/policy-rc.d")
"""A package asks here whether it may start its server at once; the tests start their own."""
POSTGRESQL = Path("/usr/lib/postgresql")
"""Where Debian keeps PostgreSQL's programs: a folder per version, none of them on the path."""


def missing(whose: str) -> list[str]:
    """The packages whose program is not to be found, of those that *whose* programs come from."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, POSTGRESQL.glob("*/bin"))]
    path = os.pathsep.join(places)
    return [package for program, package in PACKAGES[whose].items() if shutil.which(program, path=path) is None]


def main(whose: str) -> int:
    """0 when every program is there in the end."""
    if not (wanted := missing(whose)):
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write(
            f"The {whose} start programs of their own, and these are missing: {', '.join(wanted)}.\n"
            f"Please install them; on Debian or Ubuntu: sudo apt-get install {' '.join(wanted)}\n"
        )
        return 1
    _install(wanted)
    if left := missing(whose):
        sys.stderr.write(f"Installed, but their programs are not to be found: {', '.join(left)}\n")
    return 1 if left else 0


def _install(packages: Sequence[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _nothing_started():
        for command in (["apt-get", "update", "-qq"], [*INSTALL, *packages]):
            done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                sys.stderr.write(done.stdout + done.stderr)


@contextmanager
def _nothing_started() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["tests"])))
