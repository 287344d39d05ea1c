"""Where does a peer live? In an environment of its own under build/bench/venvs, made with venv and pip alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / "build" / "bench" / "venvs"
PEERS = ROOT / "bench" / "peers"
EXPORT = ROOT / "bench" / "export"
INSTALL_S = 900


class NotInstalled(Exception):
    """An environment could not be made; the message is the last thing that its installation said."""


def peer(name: str) -> Path:
    """The Python of the peer called *name*, installed at the versions that its requirements.txt pins."""
    requirements = PEERS / name / "requirements.txt"
    return _installed(name, ["-r", str(requirements)], requirements.read_bytes())


def headrace() -> Path:
    """A Python with this checkout of Headrace and nothing else, made again when its sources have changed."""
    sources = [ROOT / "pyproject.toml", ROOT / "constraints.txt", *sorted((ROOT / "src").rglob("*.py"))]
    content = b"".join(path.read_bytes() for path in sources)
    return _installed("headrace", ["--constraint", str(ROOT / "constraints.txt"), str(ROOT)], content)


def export() -> Path:
    """A Python with torch, to export a model with."""
    requirements = EXPORT / "requirements.txt"
    return _installed("export", ["-r", str(requirements)], requirements.read_bytes())


def versions(python: Path, wanted: Iterable[str]) -> dict[str, str]:
    """The versions of the *wanted* distributions in the environment of *python*, of those that are there."""
    code = (
        "import json, sys; from importlib.metadata import distributions as all;"
        "print(json.dumps({d.name.lower(): d.version for d in all()}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found[name] for name in wanted if name in found}


def _installed(name: str, wishes: Sequence[str], content: bytes) -> Path:
    folder = HOME / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    digest = hashlib.sha256(content + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    stamp.unlink(missing_ok=True)
    ours = name == "headrace"
    if not ours or not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], name)
    pip = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, *wishes], name)
    if ours:
        # The version stays the same while the sources change, and pip would keep what it has.
        _run([*pip, "--force-reinstall", "--no-deps", str(ROOT)], name)
    stamp.write_text(digest)
    return python


def _run(command: Sequence[str], name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name}: not installed within {INSTALL_S} s") from None
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise NotInstalled(f"{name}: {' '.join(errors[-2:])}")
