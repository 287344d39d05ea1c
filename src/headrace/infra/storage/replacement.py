"""How does a file appear under its name only once it is complete? Written beside it, synced, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.domain.errors import Conflict, DependencyFailure, EngineError, InvalidRequest, NotFound

try:
    import fcntl
except ImportError:  # no such locks on Windows: there two runs with one output are not told from each other
    fcntl = None  # type: ignore[assignment]


class Replacement:
    """A file on its way to *path*.

    It is written at `partial`, a hidden name in the same folder, which is locked meanwhile: a second run with the
    same output is refused, and what a killed run left there is written over by the next. Raises Conflict,
    InvalidRequest, NotFound or DependencyFailure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.part")
        with storage_errors(path, "written"):
            if path.is_dir():
                raise InvalidRequest(f"{path} is a folder; name a file in it")
            if not path.parent.is_dir():
                raise NotFound(f"there is no folder {path.parent} to write {path.name} into")
            self._lock = _locked(self.partial, path)

    def finish(self) -> None:
        """Bring what was written at `partial` to the disk."""
        with storage_errors(self.path, "written"):
            os.fsync(self._lock)

    def publish(self) -> None:
        """Rename it to its name, for good."""
        with storage_errors(self.path, "written"):
            self.partial.replace(self.path)
            self._release()
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def abandon(self) -> None:
        """Remove it, unless it was published."""
        if self._lock >= 0:
            with suppress(OSError):
                self.partial.unlink(missing_ok=True)
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, -1
        os.close(lock)


def _locked(partial: Path, path: Path) -> int:
    """An empty file at *partial*, open and locked."""
    while True:
        lock = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have renamed it in between: then this is the finished file, and not to be emptied.
            if partial.exists() and os.path.samestat(os.fstat(lock), partial.stat()):
                os.ftruncate(lock, 0)
                return lock
        except BlockingIOError:
            os.close(lock)
            raise Conflict(f"another run is writing {path}; wait for it, or name another output") from None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


@contextmanager
def storage_errors(path: Path, done: str) -> Iterator[None]:
    """Give failures of the file system at *path*, which is being *done* ("read", "written"), their meaning."""
    try:
        yield
    except EngineError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise InvalidRequest(f"{path} cannot be {done}: {reason(error)}") from error
    except OSError as error:
        raise DependencyFailure(f"{path} cannot be {done}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """What the system says about *error*, without the path and the number."""
    told = error.strerror or (os.strerror(error.errno) if error.errno else str(error).splitlines()[0])
    return told.rpartition("[errno ")[2].partition("] ")[2] or told[:200]  # Arrow puts its own words around it
