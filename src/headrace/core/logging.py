"""Where do log lines go, in which form, and what stands in every one of them?

All lines, those of libraries too, pass the standard library's root logger and are rendered by the one handler that
`configure` puts there. Without `configure`, as in a notebook, they reach whatever handlers the application has.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

import orjson
import structlog

from headrace.core.masking import masked

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being worked on; `configure` puts it into every line."""
traced: ContextVar[tuple[str | None, int] | None] = ContextVar("traced", default=None)
"""A request that is traced, by its `request_id`, and the id of its trace, which goes into the lines of that request.

Both, because a context may be one that began for another request: what that one left here concerns nobody else.
"""

_FIELDS = "headrace_fields"  # where a LogRecord carries the keys of one of our lines
_OWN_HANDLER = "headrace"
# uvicorn brings handlers of its own, which would print each line twice.
_REROUTED = ("uvicorn", "uvicorn.error", "uvicorn.access")
# These describe every file they open or every wait; nobody asks for that by saying DEBUG.
_TALKATIVE = ("PIL", "asyncio")

EventDict = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """``logging:`` in the main file."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = field(
        default="INFO", metadata={"doc": "lines below it are not written"}
    )
    format: Literal["console", "json"] = field(
        default="console", metadata={"doc": "for people, or one JSON object a line"}
    )
    requests: Literal["none", "errors", "all"] = field(
        default="none", metadata={"doc": "a line for every request, for those that fail, or for none"}
    )


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines are an event and its keys: ``logger(__name__).info("model loaded", name=ref)``."""
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _to_record,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return bound


def configure(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Write every line, warnings included, to *stream* (standard error) as *settings* say. May be called again."""
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.set_name(_OWN_HANDLER)
    handler.setFormatter(_formatter(settings, colors=target.isatty()))
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _OWN_HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level)
    for name in _REROUTED:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)


def _to_record(_logger: Any, _method: str, event: EventDict) -> EventDict:
    # The keys travel in one attribute: given singly, a key named `name` or `args` would clash with the record's own.
    given = {key: event.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event}
    return {"msg": event.pop("event", ""), "extra": {_FIELDS: event}, **given}


def _formatter(settings: LoggingSettings, *, colors: bool) -> logging.Formatter:
    render: Any = structlog.processors.JSONRenderer(serializer=_json)
    if settings.format == "console":
        # The plain formatter: the fancy one prints the values of local variables, and some of those are secrets.
        plain = structlog.dev.plain_traceback
        render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            _from_record,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_ids,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _mask,
            render,
        ],
    )


def _from_record(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**getattr(event["_record"], _FIELDS, {}), **event}


def _add_ids(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if (current := request_id.get()) is not None:
        event.setdefault("request_id", current)
    if (found := traced.get()) is not None and event.get("request_id") == found[0]:
        event.setdefault("trace_id", f"{found[1]:032x}")
    return event


def _mask(_logger: Any, _method: str, event: EventDict) -> EventDict:
    clean: EventDict = masked(event)
    return clean


def _json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # an integer past 64 bits, a lone surrogate: rare, and no reason to lose the line
        return json.dumps({str(key): str(value) for key, value in event.items()})
