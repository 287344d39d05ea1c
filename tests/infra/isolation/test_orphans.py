"""Does a model's process end with its server, however that ends, and whatever the model does then?"""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.infra.isolation.models import CODE, SPECS

SERVER = """
import sys, threading
from headrace.infra.isolation.model import load_isolated
config = {"name": "net", "root": sys.argv[1], "path": "net.py:ends", "options": {"how": "hang"}, **SPECS}
model = load_isolated("python", "net.py:ends", config)
if sys.argv[2] == "busy":
    threading.Thread(target=model.predict, args=({"x": [[-1.0]]},), daemon=True).start()
print(model.describe()["processes"][0]["pid"], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("work", ["idle", "busy"])
def test_a_killed_server_leaves_no_process(tmp_path: Path, work: str) -> None:
    (tmp_path / "net.py").write_text(CODE)
    code = SERVER.replace("**SPECS", f"**{SPECS!r}")
    command = [sys.executable, "-c", code, str(tmp_path), work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        child = psutil.Process(int(server.stdout.readline()))

        server.kill()

        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_server_that_forgets_to_close_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    code = SERVER.replace("**SPECS", f"**{SPECS!r}")
    command = [sys.executable, "-c", code, str(tmp_path), "idle"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        child = psutil.Process(int(server.stdout.readline()))
        assert server.stdin is not None

        server.stdin.close()

        assert server.wait(20) == 0
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
