"""Which files and fields does a multipart body hold?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from headrace.domain.errors import InvalidRequest, TooLarge, UnsupportedMedia

MAX_FILES: Final = 256
MAX_FIELDS: Final = 64


@dataclass(slots=True)
class Part:
    """A file or a field of a form. Without a *filename* it is a field."""

    name: str = ""
    filename: str | None = None
    content_type: str = ""
    content: bytes = b""


@dataclass(slots=True)
class Form:
    """The files of a form in the order sent, and its fields; of a repeated field the last one counts."""

    files: list[Part] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


def boundary_of(content_type: bytes) -> bytes:
    """What separates the parts. Raises UnsupportedMedia for another type than multipart/form-data."""
    media, options = parse_options_header(content_type)
    if media != b"multipart/form-data":
        raise UnsupportedMedia(
            f"this call reads multipart/form-data with a file, not {media.decode('latin-1')[:80] or 'nothing'!r}"
        )
    boundary: bytes = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidRequest("the Content-Type names no boundary between the parts")
    return boundary


def parse_form(boundary: bytes, body: bytes) -> Form:
    """Take *body*, bounded already, apart.

    Raises InvalidRequest for a body that does not hold, and TooLarge for more than `MAX_FILES` files.
    """
    reader = _Reader()
    try:
        reader.read(boundary, body)
    except MultipartParseError as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from None
    if not reader.ended:
        raise InvalidRequest("the form ends early: its last boundary is missing")
    return reader.form


class _Reader:
    """Collects the parts as the parser finds them."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._part = Part()
        self._content: list[bytes] = []
        self._header: tuple[list[bytes], list[bytes]] = ([], [])

    def read(self, boundary: bytes, body: bytes) -> None:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].append(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].append(data[start:end]),
                "on_header_end": self._header_end,
                "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )
        parser.write(body)
        parser.finalize()

    def _begin(self) -> None:
        self._part = Part()
        self._content = []
        self._header = ([], [])

    def _header_end(self) -> None:
        name, value = (b"".join(pieces) for pieces in self._header)
        self._header = ([], [])
        if name.lower() == b"content-disposition":
            _, options = parse_options_header(value)
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if (filename := options.get(b"filename")) is not None:
                self._part.filename = filename.decode("utf-8", "replace")
        elif name.lower() == b"content-type":
            self._part.content_type = value.decode("latin-1").strip()

    def _end(self) -> None:
        part = self._part
        part.content = b"".join(self._content)
        if part.filename is None:
            self.form.fields[part.name] = part.content.decode("utf-8", "replace")
            if len(self.form.fields) > MAX_FIELDS:
                raise TooLarge(f"a form may have {MAX_FIELDS} fields")
            return
        self.form.files.append(part)
        if len(self.form.files) > MAX_FILES:
            raise TooLarge(f"a form may bring {MAX_FILES} files", details={"limit_files": MAX_FILES})

    def _finish(self) -> None:
        self.ended = True
