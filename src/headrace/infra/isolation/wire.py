"""What do a server and a model's process say to each other? Messages in msgpack, each behind its length; no pickle."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from headrace.domain.errors import EngineError, ModelFailure
from headrace.domain.memory import out_of_memory
from headrace.domain.tensors import TensorSpec

_LENGTH: Final = struct.Struct("<Q")
_FIRST_READ: Final = 65_536
_ARRAY, _OBJECTS, _SCALAR = 1, 2, 3


class Broken(Exception):
    """The other side is gone, or said something that makes no sense."""


class Silent(Exception):
    """The other side said nothing for too long."""


class Start(msgspec.Struct, array_like=True, tag=True):
    """To the process: load this."""

    sys_path: list[str]
    runtime: str
    model_path: str
    config: dict[str, Any]


class Loaded(msgspec.Struct, array_like=True, tag=True):
    """From the process: what was loaded. *code* is a digest of the workspace's Python files that loading read."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    facts: dict[str, Any]
    generates: bool
    device: str = "cpu"
    code: str = ""


class Failed(msgspec.Struct, array_like=True, tag=True):
    """From the process: an error, which the server raises as its own. *memory*: a smaller batch may work."""

    code: str
    message: str
    memory: bool = False
    retry_after_s: float | None = None
    details: Any = None


class Packed(msgspec.Struct, array_like=True):
    """A column: numbers of *dtype* and *shape* at *offset* of the shared memory, or without a dtype its *values*."""

    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    offset: int = 0
    values: Any = None


class Room(msgspec.Struct, array_like=True):
    """Where an answer may be written: *size* bytes at *start*, or everything from *tail* on."""

    start: int
    size: int
    tail: int


class Call(msgspec.Struct, array_like=True, tag=True):
    """To the process: run this batch. *memory* is the size of the shared memory that holds its columns."""

    columns: list[Packed]
    memory: int
    room: Room
    deadline: float | None = None
    generate: bool = False
    trace: dict[str, str] | None = None
    """The headers that tell another service which trace it belongs to, if it is traced."""


class Next(msgspec.Struct, array_like=True, tag=True):
    """To the process: the next chunk, please; or, without room, no more."""

    room: Room | None


class Answer(msgspec.Struct, array_like=True, tag=True):
    """From the process: columns in *size* bytes at *start* of a shared memory of *memory* bytes."""

    columns: list[Packed]
    memory: int
    start: int = 0
    size: int = 0


class End(msgspec.Struct, array_like=True, tag=True):
    """From the process: there are no more chunks."""


ToProcess = Start | Call | Next
FromProcess = Loaded | Failed | Answer | End


def _encoded(value: Any) -> Any:
    """What msgpack has no word for: arrays inside lists, NumPy's scalars."""
    if isinstance(value, np.ndarray):
        shape = list(value.shape)
        if value.dtype.hasobject:
            return msgspec.msgpack.Ext(_OBJECTS, encode([shape, value.ravel().tolist()]))
        return msgspec.msgpack.Ext(_ARRAY, encode([value.dtype.str, shape, value.tobytes()]))
    if isinstance(value, np.generic):
        return msgspec.msgpack.Ext(_SCALAR, encode([value.dtype.str, value.tobytes()]))
    raise TypeError(f"a {type(value).__name__} cannot travel between a server and a model's own process")


def _decoded(code: int, data: memoryview) -> Any:
    content = _ANYTHING.decode(data)
    if code == _ARRAY:
        dtype, shape, raw = content
        return np.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)
    if code == _SCALAR:
        return np.frombuffer(content[1], dtype=content[0])[0]
    shape, values = content
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encoded)
_ANYTHING: Final = msgspec.msgpack.Decoder(ext_hook=_decoded)
TO_PROCESS: Final = msgspec.msgpack.Decoder(ToProcess, ext_hook=_decoded)
FROM_PROCESS: Final = msgspec.msgpack.Decoder(FromProcess, ext_hook=_decoded)


def encode(message: Any) -> bytes:
    """*message* as msgpack. Raises ValueError or TypeError for what cannot travel."""
    try:
        return _ENCODER.encode(message)
    except UnicodeError:
        raise ValueError("text that cannot be written as UTF-8: there is a lone surrogate in it") from None
    except OverflowError:
        raise ValueError("an integer beyond 64 bits cannot travel between a server and a model's own process") from None


def send(channel: socket.socket, message: Any) -> None:
    """Say *message*. Raises Broken when nobody is there, and what `encode` raises."""
    content = encode(message)
    try:
        channel.sendall(_LENGTH.pack(len(content)) + content)
    except OSError as error:
        raise Broken(str(error)) from error


def receive(channel: socket.socket, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    """The next message. Raises Broken when there will be none, Silent when the channel's time is over.

    The two sides speak in turn, so that what has arrived is never more than one message.
    """
    content: bytes | bytearray = _read(channel, _FIRST_READ)
    while len(content) < _LENGTH.size:
        content += _read(channel, _FIRST_READ)
    (length,) = _LENGTH.unpack_from(content)
    if len(content) < _LENGTH.size + length:
        content = _filled(channel, content, _LENGTH.size + length)
    try:
        return decoder.decode(memoryview(content)[_LENGTH.size :])
    except msgspec.MsgspecError as error:
        raise Broken(f"a message that makes no sense: {error}") from error


def _filled(channel: socket.socket, start: bytes | bytearray, size: int) -> bytearray:
    try:
        whole = bytearray(size)
    except (MemoryError, OverflowError):
        raise Broken(f"a message of {size} bytes") from None
    whole[: len(start)] = start
    view = memoryview(whole)[len(start) :]
    while view:
        try:
            count = channel.recv_into(view)
        except BlockingIOError:
            raise Silent from None
        except OSError as error:
            raise Broken(str(error)) from error
        if count == 0:
            raise Broken("the channel was closed")
        view = view[count:]
    return whole


def _read(channel: socket.socket, size: int) -> bytes:
    try:
        content = channel.recv(size)
    except BlockingIOError:
        raise Silent from None
    except OSError as error:
        raise Broken(str(error)) from error
    if not content:
        raise Broken("the channel was closed")
    return content


def wait_at_most(channel: socket.socket, seconds: float) -> None:
    """Let `receive` raise Silent, and `send` Broken, after *seconds*, which the kernel counts: no call costs more."""
    whole = int(seconds)
    limit = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        channel.setsockopt(socket.SOL_SOCKET, option, limit)


def failed(error: BaseException, what: str) -> Failed:
    """*error* as a message; one without a meaning of its own is a ModelFailure that says *what* raised it."""
    if isinstance(error, EngineError):
        after = getattr(error, "retry_after_s", None)
        return Failed(error.code, error.message, retry_after_s=after, details=_plain(error.details))
    said = f"{what} raised {type(error).__name__}: {str(error)[:500]}"
    return Failed(ModelFailure.code, said, memory=out_of_memory(error))


def _plain(details: Any) -> Any:
    try:
        encode(details)
    except (TypeError, ValueError):
        return None
    return details


def error_of(failure: Failed) -> Exception:
    """The exception that *failure* stands for."""
    if failure.memory:
        return MemoryError(failure.message)
    kind = _KINDS.get(failure.code, ModelFailure)
    more: dict[str, Any] = {} if failure.retry_after_s is None else {"retry_after_s": failure.retry_after_s}
    try:
        return kind(failure.message, details=failure.details, **more)
    except TypeError:  # a class of the user's own that has another constructor, but one of our codes
        return ModelFailure(failure.message, details=failure.details)


_KINDS: Final[Mapping[str, type[EngineError]]] = {kind.code: kind for kind in EngineError.__subclasses__()}
