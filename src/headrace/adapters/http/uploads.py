"""Inference on uploaded files: ``predict/image|audio|video|text`` and ``predict/batch``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from headrace.adapters.http.body import decode, media_type, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.errors import shown
from headrace.adapters.http.multipart import Form, Part, boundary_of, parse_form
from headrace.adapters.http.native import NativeCalls, success
from headrace.adapters.http.rendering import combined, one_row
from headrace.domain.errors import EngineError, InvalidInput, InvalidRequest, UnsupportedMedia
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.choice import Choice
from headrace.services.inputs import rows_to_inputs

Kind = Literal["image", "audio", "video", "text"]
KINDS: Final[Sequence[Kind]] = ("image", "audio", "video", "text")

# What clients send when they do not know, and what stands for its kind without saying so.
_UNSAID: Final = ("", "application/octet-stream", "binary/octet-stream")
_ALSO: Final[dict[str, tuple[str, ...]]] = {
    "image": (),
    "audio": ("video/", "application/ogg"),
    "video": ("application/ogg", "application/mp4"),
    "text": ("application/json", "application/xml", "application/x-ndjson"),
}
_FIELDS: Final = ("pipeline", "version")


class TextEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The JSON form of ``POST predict/text``."""

    text: str
    pipeline: str | None = None
    version: str | int | None = None
    options: dict[str, Any] | None = None


_TEXT: Final = msgspec.json.Decoder(TextEnvelope)


class UploadCalls:
    """Answers calls that bring files."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def one(self, call: Call, kind: Kind, version: str | None = None) -> None:
        """``POST predict/{kind}`` and ``POST predict/image/{version}``: one file."""
        call.uncounted = True
        if kind == "text" and media_type(call) != b"multipart/form-data":
            await self._text(call)
            return
        form = await self._form(call)
        if len(form.files) != 1 or form.files[0].name not in ("file", "files", "files[]"):
            raise InvalidRequest(f"the form must bring one file under the name 'file'; {_brought(form)}")
        part = form.files[0]
        _require_kind(part, kind)
        choice = self._native.choose(call, self._asked(call, form, version))
        data = await self._infer(call, choice, part, kind)
        await call.answer_json(success(call, data))

    async def batch(self, call: Call) -> None:
        """``POST predict/batch``: several files to one pipeline; a file that fails has its error in its place."""
        call.uncounted = True
        form = await self._form(call)
        if not form.files or any(part.name not in ("files", "files[]", "file") for part in form.files):
            raise InvalidRequest(f"the form must bring files under the name 'files'; {_brought(form)}")
        choice = self._native.choose(call, self._asked(call, form, None))
        self._native.departures.join(call)
        answers = await asyncio.gather(*(self._outcome(call, choice, part) for part in form.files))
        errors = [answer for answer in answers if isinstance(answer, EngineError)]
        if len(errors) == len(answers):
            raise combined(errors)
        data = [
            {"error": shown(answer), "metadata": _metadata(part)} if isinstance(answer, EngineError) else answer
            for part, answer in zip(form.files, answers, strict=True)
        ]
        await call.answer_json(success(call, data))

    async def _text(self, call: Call) -> None:
        require_json(call)
        body = await read_body(call, self._native.max_body)
        given = decode(body, _TEXT, TextEnvelope.__struct_fields__)
        version = str(given.version) if given.version is not None else None
        request = self._native.request(call, given.options or {})
        choice = self._native.choose(call, Asked(given.pipeline or "", version, request.headers, request.routing_key))
        pipeline = choice.pipeline
        column = upload_column(pipeline, "text")
        inputs = rows_to_inputs(pipeline, [{column: _as_column(pipeline, column, given.text)}])
        result = await self._native.run(call, choice, inputs, request, call.stopwatch)
        await call.answer_json(self._native.envelope(call, result, one_row(result), watch=call.stopwatch))

    async def _form(self, call: Call) -> Form:
        boundary = boundary_of(call.headers.get(b"content-type", b""))
        form = parse_form(boundary, await read_body(call, self._native.max_body))
        for name in form.fields:
            if name not in _FIELDS:
                raise InvalidRequest(
                    f"unknown field {name[:80]!r}{nearest(name, _FIELDS)}; beside files there are: {', '.join(_FIELDS)}"
                )
        return form

    def _asked(self, call: Call, form: Form, version: str | None) -> Asked:
        request = self._native.request(call)
        chosen = version or form.fields.get("version") or None
        return Asked(form.fields.get("pipeline", ""), chosen, request.headers, request.routing_key)

    async def _outcome(self, call: Call, choice: Choice, part: Part) -> dict[str, Any] | EngineError:
        try:
            return await self._infer(call, choice, part, None)
        except EngineError as error:
            return error

    async def _infer(self, call: Call, choice: Choice, part: Part, kind: Kind | None) -> dict[str, Any]:
        pipeline = choice.pipeline
        column = upload_column(pipeline, kind)
        value = _value(pipeline, column, part)
        request = self._native.request(call)
        inputs = rows_to_inputs(pipeline, [{column: value}])
        watch = None if call.stopwatch is None else call.stopwatch.fork()  # files of one call run side by side
        result = await self._native.run(call, choice, inputs, request, watch)
        return self._native.data(result, one_row(result), metadata=_metadata(part), watch=watch)


def upload_column(pipeline: Pipeline, kind: Kind | None) -> str:
    """The input that takes the file: the only required one of bytes, or of texts where a text is sent.

    Raises InvalidInput, which lists what the pipeline takes, when none or several could be meant.
    """
    dtypes = ("string", "bytes") if kind == "text" else ("bytes", "string") if kind is None else ("bytes",)
    required = {name: spec.dtype for name, spec in pipeline.inputs.items() if not spec.optional}
    for dtype in dtypes:
        fitting = [name for name, found in required.items() if found == dtype]
        if len(fitting) == 1 and len(required) == 1:
            return fitting[0]
    listed = ", ".join(f"{name} ({spec.dtype})" for name, spec in pipeline.inputs.items()) or "nothing"
    raise InvalidInput(
        f"pipeline {pipeline.ref} does not take one {'text' if kind == 'text' else 'file'} and nothing else; "
        f"it takes: {listed}; send these as JSON to POST /api/v1/inference"
    )


def _value(pipeline: Pipeline, column: str, part: Part) -> Any:
    if pipeline.inputs[column].dtype != "string":
        return part.content
    try:
        return part.content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the file {part.filename!r:.100} is not UTF-8 text (byte {error.start})", details={"column": column}
        ) from None


def _as_column(pipeline: Pipeline, column: str, text: str) -> str | bytes:
    return text if pipeline.inputs[column].dtype == "string" else text.encode()


def _require_kind(part: Part, kind: Kind) -> None:
    media = part.content_type.partition(";")[0].strip().lower()
    if media in _UNSAID or media.startswith((f"{kind}/", *_ALSO[kind])):
        return
    raise UnsupportedMedia(
        f"the file {part.filename!r:.100} is declared as {media[:80]}, and predict/{kind} takes {kind}/*"
    )


def _metadata(part: Part) -> dict[str, Any]:
    return {"filename": part.filename, "content_type": part.content_type or None}


def _brought(form: Form) -> str:
    names = [part.name for part in form.files]
    if not names:
        return f"it brought none, and the fields {', '.join(form.fields)}" if form.fields else "it brought none"
    return f"it brought: {', '.join(name[:80] or '(unnamed)' for name in names[:5])}"
