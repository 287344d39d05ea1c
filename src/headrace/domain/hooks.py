"""What may an object of the user be told about, and does it fit?"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.domain.parameters import nearest

EVENTS: Final[Mapping[str, Sequence[str]]] = {
    "on_startup": (),
    "on_pipeline_loaded": ("ref",),
    "before_batch": ("ref", "size"),
    "after_batch": ("ref", "size", "seconds"),
    "on_error": ("ref", "error"),
    "on_shutdown": (),
}
"""The methods that a hook may have, and what each is given."""


def why_no_hook(listener: object) -> str | None:
    """What is wrong with *listener* as a hook; None if it has one of the methods of `EVENTS`, or several."""
    known = [event for event in EVENTS if hasattr(listener, event)]
    public = [name for name in dir(listener) if not name.startswith("_") and callable(getattr(listener, name, None))]
    for name in public:
        if name not in EVENTS and name.startswith(("on_", "before_", "after_")):
            return f"it has a method {name!r}{nearest(name, list(EVENTS))}; there are: {', '.join(EVENTS)}"
    if not known:
        return f"it has none of the methods {', '.join(EVENTS)}"
    return next((why for event in known if (why := _why_not_callable(listener, event)) is not None), None)


def _why_not_callable(listener: object, event: str) -> str | None:
    wanted = f"{event}({', '.join(EVENTS[event])})"
    method = getattr(listener, event)
    if not callable(method):
        return f"its {event} is no method, wanted is {wanted}"
    try:
        inspect.signature(method).bind(*EVENTS[event])
    except TypeError as error:
        return f"its {event} cannot be called as {wanted}: {error}"
    except ValueError:
        return None  # something built in, which does not tell
    return None
