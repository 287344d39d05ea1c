"""Which port does a server of the tests get?

The system gives the ports from 32,768 to whoever asks for any, and to every client for its own end. One that was free
a moment ago may be gone when the server binds it, so the ports here lie below: nobody gets one without asking for it.
"""

import itertools
import os
import socket

FIRST, LAST = 12_000, 32_000
WORKERS = 16
"""Each of so many processes of one test session has ports of its own."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_begin = FIRST + os.getpid() * 101 % (LAST - FIRST)  # elsewhere than a session that runs at the same time
_ports = itertools.cycle([port for port in (*range(_begin, LAST), *range(FIRST, _begin)) if port % WORKERS == _worker])


def free_port() -> int:
    """A port of the loopback interface that nobody uses, and that none of our own servers was given lately."""
    return next(port for port in itertools.islice(_ports, LAST - FIRST) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
