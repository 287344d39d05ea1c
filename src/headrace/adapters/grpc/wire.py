"""Where in an encoded inference request do its tensors lie? Found without decoding the rest of it.

Requests of one client differ in their id and in the bytes of their tensors; all else in them, the *head*, is the same
every time, and what was learned from it once need not be read again. Encoding: protobuf's documentation, "Encoding".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

# Tags of length-delimited fields: the field's number times eight, plus two.
_ID: Final = 3 << 3 | 2
_VALUES: Final = 7 << 3 | 2
_VARYING: Final = (_ID, _VALUES)
_HEAD: Final = frozenset(number << 3 | 2 for number in (1, 2, 4, 5, 6))

ANSWER_ID: Final = 3
ANSWER_VALUES: Final = 6

Parts = tuple[bytes, bytes, list[memoryview]]


def split(message: bytes) -> Parts | None:
    """The head, the id and the raw tensors of an encoded ModelInferRequest.

    None for what protobuf itself has to read: unknown fields, or bytes that are no message at all.
    """
    heads: list[bytes] = []
    request_id = b""
    values: list[memoryview] = []
    view = memoryview(message)
    position, kept, end = 0, 0, len(message)
    try:
        while position < end:
            tag, length, start = message[position], message[position + 1], position + 2
            if length > 127:
                length, start = _varint(message, position + 1)
            stop = start + length
            if tag in _VARYING:
                if position > kept:
                    heads.append(message[kept:position])
                if tag == _VALUES:
                    values.append(view[start:stop])
                else:
                    request_id = message[start:stop]
                kept = stop
            elif tag not in _HEAD:
                return None
            position = stop
    except IndexError:
        return None
    if position != end or not request_id.isascii():
        return None
    if end > kept:
        heads.append(message[kept:end])
    return heads[0] if len(heads) == 1 else b"".join(heads), request_id, values


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at *position* and where it ends. Raises IndexError if it does not."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
        shift += 7
        if shift > 35:
            raise IndexError("longer than any length")


@lru_cache(maxsize=4096)
def opening(number: int, length: int) -> bytes:
    """What stands before the *length* bytes of the field *number*."""
    found = bytearray([number << 3 | 2])
    while length > 127:
        found.append(length & 127 | 128)
        length >>= 7
    found.append(length)
    return bytes(found)


def field(number: int, content: bytes) -> bytes:
    """A field with its content."""
    return opening(number, len(content)) + content
