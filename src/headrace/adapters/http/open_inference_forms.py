"""Has a request of this form come before? Then only its data need to be read.

A client sends the same JSON again and again, but for the values in it. What stands around them is a hundred bytes that
say the same each time: it is compared with what was read, and found right, before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.adapters.http.open_inference_requests import LONG, LongInput, LongRequest, Request, RequestInput, Wanted
from headrace.adapters.http.open_inference_tensors import LIST, column_of
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Inputs

LONGEST: Final = 1024
"""Bytes of a form that is remembered."""
MOST: Final = 512
"""Forms that are remembered. Clients choose them, so there must be an end to it."""
_DATA: Final = b'"data":'


class Form:
    """What one form of request asks for: its only *tensor*, without the data, and the outputs that it *wants*."""

    __slots__ = ("_spec", "_specs", "_tensor", "wants")

    def __init__(self, pipeline: Pipeline, tensor: RequestInput | LongInput, wants: Sequence[Wanted]) -> None:
        self._specs = pipeline.inputs  # no pipeline has those of another, and they keep no model in memory
        self._spec = pipeline.inputs[tensor.name]
        self._tensor = RequestInput(tensor.name, tensor.shape, tensor.datatype)
        self.wants = wants

    def of(self, pipeline: Pipeline) -> bool:
        """Whether it was read for *pipeline*."""
        return self._specs is pipeline.inputs

    def filled(self, text: bytes, *, long: bool) -> Inputs | None:
        """The inputs of a request of this form with *text* for its data; None if that is not right."""
        tensor = self._tensor
        try:
            column = column_of(text if long else LIST.decode(text), tensor, self._spec)
        except (EngineError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Inputs({tensor.name: column}, tensor.shape[0])


class Forms:
    """Forms of requests with one tensor, by the bytes that stand around its data.

    Those bytes alone say what the rest of a request means if `data` is named in them once, and without an escape that
    might name it a second time.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Form] = {}

    def __len__(self) -> int:
        return len(self._known)

    def read(self, body: bytes, pipeline: Pipeline) -> tuple[Inputs, Sequence[Wanted]] | None:
        """What *body* gives and asks for; None where its form is new, or its data are wrong: read it as a whole."""
        begin, end = _data_in(body)
        form = self._known.get(body[:begin] + body[end:])
        if form is None or not form.of(pipeline):
            return None
        inputs = form.filled(body[begin:end], long=len(body) >= LONG)
        return None if inputs is None else (inputs, form.wants)

    def remember(
        self, body: bytes, request: Request | LongRequest, pipeline: Pipeline, wants: Sequence[Wanted]
    ) -> None:
        """*body* is *request*, which is right, and *wants* these outputs of *pipeline*."""
        if len(request.inputs) != 1 or not pipeline.batched or _says_more(request):
            return
        begin, end = _data_in(body)
        around = body[:begin] + body[end:]
        if begin == end or len(around) > LONGEST or around.count(b'"data"') != 1 or b"\\" in around:
            return
        form = Form(pipeline, request.inputs[0], wants)
        if form.filled(body[begin:end], long=len(body) >= LONG) is None:  # a bracket in a text ended them too early
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[around] = form


def _says_more(request: Request | LongRequest) -> bool:
    """Whether there is more in *request* than a tensor: what differs from one to the next, or from path to path."""
    return (
        request.id is not None
        or request.parameters is not None
        or request.model_name is not None
        or request.model_version is not None
        or any(tensor.parameters is not None for tensor in request.inputs)
    )


def _data_in(body: bytes) -> tuple[int, int]:
    """Where the data of *body* begin and end, flat or in rows; an empty range if they do not stand as usual.

    What stands there may be no list at all, or end elsewhere: whoever reads it finds out.
    """
    begin = body.find(_DATA) + len(_DATA)
    begin += body[begin : begin + 1] == b" "  # as Python's own JSON has it
    if begin < len(_DATA) or body[begin : begin + 1] != b"[":
        return 0, 0
    closing = b"]]" if body[begin + 1 : begin + 2] == b"[" else b"]"
    end = body.find(closing, begin)
    return (begin, end + len(closing)) if end >= 0 else (0, 0)
