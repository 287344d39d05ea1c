"""What every body of the protocol must look like, in a form that a test can hold an answer against.

Written after the text of the Open Inference Protocol (REST) and of the extensions that are announced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.adapters.open_inference.datatypes import NAMES

Rule = Any
"""A function that says whether a value holds, or `Fields`, or `Many`."""


@dataclass(frozen=True)
class Fields:
    """An object with these fields and no others."""

    required: Mapping[str, Rule]
    optional: Mapping[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True)
class Many:
    """A list, each of whose items follows one rule."""

    item: Rule
    least: int = 0


def text(value: Any) -> bool:
    return isinstance(value, str)


def truth(value: Any) -> bool:
    return isinstance(value, bool)


def count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def axis(value: Any) -> bool:
    return count(value) or value == -1


def datatype(value: Any) -> bool:
    return value in NAMES


def parameters(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str | int | float | bool) for one in value.values())


def data(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str | int | float | bool | list) for one in value)


LIVE = Fields({"live": truth})
READY = Fields({"ready": truth})
SERVER = Fields({"name": text, "version": text, "extensions": Many(text)})
TENSOR = Fields({"name": text, "datatype": datatype, "shape": Many(axis, 1)})
MODEL = Fields({"name": text, "platform": text, "inputs": Many(TENSOR), "outputs": Many(TENSOR, 1)},
               {"versions": Many(text, 1)})  # fmt: skip
MODEL_READY = Fields({"name": text, "ready": truth})
OUTPUT = Fields({"name": text, "datatype": datatype, "shape": Many(count)}, {"parameters": parameters, "data": data})
ANSWER = Fields({"model_name": text, "outputs": Many(OUTPUT)},
                {"model_version": text, "id": text, "parameters": parameters})  # fmt: skip
ERROR = Fields({"error": text, "code": text, "request_id": text})
"""``error`` alone is the protocol's; our code and the request's id stand beside it."""
INDEX = Many(Fields({"name": text, "state": text}, {"version": text, "reason": text}), 1)
DURATION = Fields({"count": count, "ns": count})
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit")
BATCH = Fields({"batch_size": count} | dict.fromkeys(DURATIONS[3:6], DURATION))
STATISTICS = Fields({"model_stats": Many(Fields({
    "name": text, "last_inference": count, "inference_count": count, "execution_count": count,
    "inference_stats": Fields(dict.fromkeys(DURATIONS, DURATION), {"cache_miss": DURATION}),
    "batch_stats": Many(BATCH),
}, {"version": text}))})  # fmt: skip
GENERATED = Fields({"model_name": text, "model_version": text, "text_output": text}, {"id": text})


def breaches(value: Any, rule: Rule, where: str = "body") -> list[str]:
    """Where *value* breaks *rule*; nothing if it holds."""
    if isinstance(rule, Many):
        if not isinstance(value, list) or len(value) < rule.least:
            return [f"{where}: a list of at least {rule.least} is wanted, not {value!r:.60}"]
        return [found for place, one in enumerate(value) for found in breaches(one, rule.item, f"{where}[{place}]")]
    if isinstance(rule, Fields):
        return _fields(value, rule, where)
    return [] if rule(value) else [f"{where}: {rule.__name__} is wanted, not {value!r:.60}"]


def _fields(value: Any, rule: Fields, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: an object is wanted, not {value!r:.60}"]
    known = {**rule.required, **rule.optional}
    found = [f"{where} lacks {name}" for name in rule.required if name not in value]
    found += [f"{where} has {name}, which the protocol does not know" for name in value if name not in known]
    for name, one in value.items():
        if name in known:
            found += breaches(one, known[name], f"{where}.{name}")
    return found
