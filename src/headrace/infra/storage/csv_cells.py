"""What does the text in the cells of a CSV column mean, given what the pipeline wants there?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np

from headrace.domain.tensors import GROUPS, Array, Column, TensorSpec

TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False, "1": True, "0": False}
INTEGERS: Final = GROUPS["integer"]
FLOATS: Final = GROUPS["float"]
MOST_DIGITS: Final = 25
"""More digits than any integer of 64 bits has: what is longer is out of range, and slow to convert."""

Problems = dict[int, str]


def typed(cells: Sequence[str], spec: TensorSpec) -> tuple[Column, Problems]:
    """The column that *spec* wants, and what is wrong with which cells (by position; their values mean nothing).

    Numbers are read strictly: ASCII digits, a point, an exponent, spaces around; ``nan`` and ``inf`` where a float
    is wanted; ``1.0`` where an integer is. Booleans are true, false, 1 and 0. Bytes are base64, rows with a shape
    are JSON lists. An empty cell is the default of an optional column, an empty text, or a problem.
    """
    if (fast := _whole_column(cells, spec)) is not None:
        return fast, {}
    read = _reader(spec)
    values: list[Any] = []
    problems: Problems = {}
    for position, cell in enumerate(cells):
        try:
            values.append(spec.default if spec.optional and cell == "" else read(cell))
        except ValueError as error:
            problems[position] = str(error)
            values.append(None)
    return values, problems


def _whole_column(cells: Sequence[str], spec: TensorSpec) -> Array | None:
    """All cells converted at once; None where a closer look is due."""
    if spec.row_shape != () or spec.dtype not in (*FLOATS, *INTEGERS):
        return None
    # Python's own conversions also take underscores and the digits of every script.
    text = "".join(cells)
    if not text.isascii() or "_" in text:
        return None
    try:
        if spec.dtype in FLOATS:
            return np.array(list(map(float, cells)))
        return np.array(list(map(int, cells)), dtype=np.int64)
    except (ValueError, OverflowError):
        return None


def _reader(spec: TensorSpec) -> Callable[[str], Any]:
    """How one cell is read; it raises ValueError with what is wrong."""
    if spec.row_shape not in ((), None):
        return _from_json
    scalars: Mapping[str, Callable[[str], Any]] = {
        "string": _text,
        "bytes": _bytes,
        "bool": _boolean,
        "number": _number,
        **{name: partial(_integer, wanted=name) for name in ("integer", *INTEGERS)},
        **{name: partial(_float, wanted=name) for name in ("float", *FLOATS)},
    }
    read = scalars.get(spec.dtype, _text)
    if spec.row_shape is None and read is not _text:
        return lambda cell: _from_json(cell) if cell.startswith("[") else read(cell)
    return read


def _text(cell: str) -> str:
    return cell


def _bytes(cell: str) -> bytes:
    try:
        return base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not valid base64") from None


def _boolean(cell: str) -> bool:
    value = TRUTH.get(cell.strip().lower())
    if value is None:
        raise ValueError(_unlike(cell, "bool (true, false, 1 or 0)"))
    return value


def _number(cell: str) -> int | float:
    try:
        return _integer(cell, "number") if "." not in cell else _float(cell, "number")
    except ValueError:
        return _float(cell, "number")


def _integer(cell: str, wanted: str) -> int:
    try:
        exact = Decimal(_plain(cell, wanted))
    except InvalidOperation:
        raise ValueError(_unlike(cell, wanted)) from None
    if not exact.is_finite() or (exact and exact.adjusted() > MOST_DIGITS):
        raise ValueError(_unlike(cell, wanted))
    if exact != exact.to_integral_value():
        raise ValueError(f"is the fraction {_shown(cell)} where {wanted} is wanted")
    return int(exact)


def _float(cell: str, wanted: str) -> float:
    try:
        return float(_plain(cell, wanted))
    except ValueError:
        raise ValueError(_unlike(cell, wanted)) from None


def _plain(cell: str, wanted: str) -> str:
    if not cell.isascii() or "_" in cell:
        raise ValueError(_unlike(cell, wanted))
    return cell.strip()


def _from_json(cell: str) -> Any:
    try:
        return msgspec.json.decode(cell)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise ValueError(f"is {_shown(cell)}, which is no JSON list") from None


def _unlike(cell: str, wanted: str) -> str:
    if cell.strip() == "":
        return f"is empty, and {wanted} is wanted"
    return f"is {_shown(cell)} where {wanted} is wanted"


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}...")


def no_utf8(cells: Sequence[str]) -> list[int]:
    """The positions of cells that held bytes which are no UTF-8."""
    if _encodable("".join(cells)):
        return []
    return [position for position, cell in enumerate(cells) if not _encodable(cell)]


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
