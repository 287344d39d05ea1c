"""Which exact versions does a fresh installation of everything choose today?

Resolves ``pyproject.toml`` in a throw-away environment and writes ``constraints.txt``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Exact versions of everything that `make demo`, `make test`, `make check` and `make docs` install.
# Remade by `make pins`, which resolves pyproject.toml afresh; do not edit by hand.
"""


def main() -> None:
    """Write ``constraints.txt``; raises ``CalledProcessError`` when pip cannot resolve or install."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(Path(folder) / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--editable", f"{ROOT}[bench,dev,docs]"], check=True)
        frozen = subprocess.run([*pip, "freeze", "--exclude-editable"], check=True, stdout=subprocess.PIPE, text=True)
    (ROOT / "constraints.txt").write_text(HEADER + frozen.stdout)
    print(f"constraints.txt now pins {len(frozen.stdout.splitlines())} packages")


if __name__ == "__main__":
    main()
