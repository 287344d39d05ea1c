"""How do handlers of the framework answer?"""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.errors import WrongMethod, failure_at, headers_at, status_of
from headrace.adapters.http.framework import call_of
from headrace.adapters.http.native import success
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.schemas import FAILURE
from headrace.domain.errors import EngineError, InvalidRequest, NotFound

FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "A failure", "content": {"application/json": {"schema": FAILURE}}}
}


def reply(request: Request, data: Any) -> Response:
    """A successful answer with *data*."""
    return Response(to_json(success(call_of(request.scope), data)), media_type="application/json")


async def failed(request: Request, error: Exception) -> Response:
    """The answer to a call that raised *error*."""
    call = call_of(request.scope)
    meaning = _meaning(request, error)
    content = to_json(failure_at(call.path, meaning, call.request_id))
    answer = Response(content, status_of(meaning), media_type="application/json")
    answer.raw_headers.extend(headers_at(call.path, meaning))
    return answer


def _meaning(request: Request, error: Exception) -> EngineError:
    if isinstance(error, RequestValidationError):
        return InvalidRequest("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()))
    if not isinstance(error, HTTPException):
        return meaning_of(error)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").replace(" ", "").split(",")
        return WrongMethod(request.method, sorted(filter(None, allowed)))
    if error.status_code == 404:
        return NotFound("nothing answers at this path; /docs shows what there is")
    return InvalidRequest(str(error.detail))
