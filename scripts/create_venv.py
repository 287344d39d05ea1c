"""Can this Python carry Headrace, and if so, where is its virtual environment?

Usage: ``create_venv.py FOLDER``. Kept to syntax that Python 3.6 reads: an old one must get the message, not a
SyntaxError.
"""

import subprocess
import sys
import time

OLDEST = (3, 11)


def complaint(version, whole):
    """What is wrong with an interpreter of this version and what would help; None when nothing is wrong."""
    found = f"{version[0]}.{version[1]}"
    if tuple(version[:2]) < OLDEST:
        return (
            f"Headrace needs Python {OLDEST[0]}.{OLDEST[1]} or newer; {sys.executable} is Python {found}.\n"
            "Name a newer one, as in: make demo PYTHON=python3.12"
        )
    if not whole:
        return (
            f"{sys.executable} cannot make virtual environments: its venv or ensurepip module is missing.\n"
            f"On Debian or Ubuntu: apt install python{found}-venv"
        )
    return None


def has_venv():
    """Whether the standard library here is whole; some distributions ship these two modules apart."""
    try:
        import ensurepip
        import venv
    except ImportError:
        return False
    return bool(ensurepip and venv)


def main(folder):
    """Create *folder*, or make a half-made one whole; return an exit code."""
    problem = complaint(sys.version_info, has_venv())
    if problem:
        sys.stderr.write(problem + "\n")
        return 1
    print(f"==> creating {folder} with Python {sys.version_info[0]}.{sys.version_info[1]}", flush=True)
    started = time.time()
    code = subprocess.call([sys.executable, "-m", "venv", folder])
    print(f"==> {'done' if code == 0 else 'failed'} in {time.time() - started:.1f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
