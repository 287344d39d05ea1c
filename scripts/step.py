"""How does a command say what it is doing and how long that took?

Usage: ``step.py "what it does" COMMAND [ARGUMENT...]``; exits as the command did.
"""

import subprocess
import sys
import time


def main(arguments: list[str]) -> int:
    """Announce, run and time one command; return its exit code, or 128 + n when signal n ended it."""
    title, *command = arguments
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    code = run(command)
    elapsed = f"{time.monotonic() - started:.1f} s"
    verdict = f"done in {elapsed}" if code == 0 else f"failed after {elapsed} (exit code {code}): {title}"
    print(f"==> {verdict}", flush=True)
    return code


def run(command: list[str]) -> int:
    """Run *command* to its end; Ctrl-C reaches it directly, so here it only ends the wait."""
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
    except FileNotFoundError:
        print(f"there is no {command[0]}; `make clean` and start again", file=sys.stderr)
        return 127
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
