"""What do the parameters of a request steer?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from headrace.domain.errors import InvalidRequest
from headrace.services.context import RequestContext

_LONGEST_US: Final = 10**18
"""Some 30,000 years: what is longer is no limit either, and may be no number for a clock."""
_RESERVED: Final = ("sequence_", "triton_", "binary_data_output", "headers", "priority", "timeout")


def take_parameters(request: RequestContext, parameters: Mapping[str, Any]) -> None:
    """``priority`` and ``timeout`` (microseconds) steer the queue; keys that the protocol leaves free are options.

    Raises InvalidRequest for a value that is no text, number or boolean, and for what is not served here.
    """
    for key, value in parameters.items():
        if not isinstance(value, str | int | float | bool):
            raise InvalidRequest(f"parameter {key!r} wants a text, a number or a boolean")
    if (priority := parameters.get("priority")) is not None:
        request.priority = whole_number(priority, "priority")
    if timeout_us := whole_number(parameters.get("timeout", 0), "timeout"):
        until = time.monotonic() + min(timeout_us, _LONGEST_US) / 1e6
        request.deadline = until if request.deadline is None else min(until, request.deadline)
    for key in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(key) not in (None, 0, "", False):
            raise InvalidRequest(f"parameter {key!r}: the sequence extension is not served here")
    options = {key: value for key, value in parameters.items() if not key.startswith(_RESERVED)}
    if options:
        request.options = options


def refuse_shared_memory(parameters: Mapping[str, Any], tensor: str) -> None:
    """Raises InvalidRequest for a tensor that lies in shared memory."""
    if "shared_memory_region" in parameters:
        raise InvalidRequest(f"tensor {tensor!r}: shared memory is not served here; send the values in the request")


def classes_wanted(parameters: Mapping[str, Any], tensor: str) -> int:
    """How many classes of an output are wanted in its place (``classification``); 0: the output itself."""
    if (wanted := parameters.get("classification")) is None:
        return 0
    if (count := whole_number(wanted, "classification")) == 0:
        raise InvalidRequest(f"output {tensor!r}: parameter 'classification' wants at least 1 class")
    return count


def whole_number(value: Any, name: str) -> int:
    """*value* if it is an integer that is not negative. Raises InvalidRequest."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"parameter {name!r} wants an integer that is not negative, not {value!r:.40}")
    return value
