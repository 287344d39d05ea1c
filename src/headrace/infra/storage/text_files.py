"""How is a file of text read and written, compressed or not, and how far has the reading come?"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from headrace.domain.errors import InvalidInput
from headrace.infra.storage.replacement import Replacement, storage_errors

BLOCK = 256 * 1024
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class TextSource:
    """A file of text, read as bytes without its byte order mark; ``.gz`` is unpacked on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path, "read"):
            self._raw = path.open("rb", buffering=BLOCK)
            self._size = path.stat().st_size
        unpacked = gzip.GzipFile(fileobj=self._raw) if path.suffix == ".gz" else self._raw
        self.bytes: IO[bytes] = cast(IO[bytes], unpacked)
        try:
            with self.errors():
                start = self.bytes.read(len(codecs.BOM_UTF8))
                self.bytes.seek(len(start) if start == codecs.BOM_UTF8 else 0)
        except BaseException:
            self.close()
            raise

    def text(self) -> io.TextIOWrapper:
        """The content as text with its own line ends; bytes that are no UTF-8 become lone surrogates."""
        return io.TextIOWrapper(self.bytes, encoding="utf-8", errors="surrogateescape", newline="")

    def position(self) -> int:
        """How many bytes of text have been taken from the file, read ahead included."""
        return self.bytes.tell()

    def read(self) -> float:
        """The part of the file that has been read, from 0 to 1."""
        return min(1.0, self._raw.tell() / self._size) if self._size else 1.0

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Failures of the file system, and of a compressed file that is cut off or damaged."""
        try:
            with storage_errors(self.path, "read"):
                yield
        except DAMAGED as error:
            raise InvalidInput(f"{self.path} is damaged or cut off: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):
            self._raw.close()


class TextSink:
    """A file of text on its way, as the formats made of text extend it; *path* names its compression."""

    def __init__(self, path: Path) -> None:
        self._replacement = Replacement(path)
        self.path = path
        self._raw = self._replacement.partial.open("wb", buffering=BLOCK)
        self._packed = self._gzip() if path.suffix == ".gz" else None
        self._bytes: IO[bytes] = cast(IO[bytes], self._packed or self._raw)

    def _gzip(self) -> gzip.GzipFile:
        """Without a time and a name inside, so that equal tables are equal files."""
        return gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", compresslevel=6, mtime=0)

    def append(self, text: str) -> None:
        """Append *text*."""
        with storage_errors(self.path, "written"):
            self._bytes.write(text.encode())

    def finish(self) -> None:
        """Everything is written: bring it to the disk."""
        with storage_errors(self.path, "written"):
            if self._packed is not None:
                self._packed.close()
            self._raw.close()
        self._replacement.finish()

    def publish(self) -> None:
        """Show the file under its name."""
        self._replacement.publish()

    def abandon(self) -> None:
        """Leave no trace, unless it has been published."""
        for file in (self._packed, self._raw):
            with suppress(OSError, ValueError):  # what is still buffered goes nowhere on a full disk
                if file is not None:
                    file.close()
        self._replacement.abandon()
