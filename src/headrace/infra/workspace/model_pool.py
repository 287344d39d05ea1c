"""Is this model in memory already? Pipelines over the same bytes share one, and the last to leave closes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace.domain.model import Model, ModelAdapter
from headrace.infra.runtimes.resident import give_back

_STRIPES: Final = 64


class Held:
    """A loaded model and this holder's share in it."""

    def __init__(self, model: Model, release: Callable[[], None]) -> None:
        self.model = model
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Let go; the last holder closes the model. A second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


@dataclass(slots=True)
class _Entry:
    model: Model
    users: int = 0


class ModelPool:
    """Loaded models by what they were made of. May be used from several threads."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self._loading = tuple(threading.Lock() for _ in range(_STRIPES))

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, key: str, load: Callable[[], Model]) -> Held:
        """The model under *key*, loaded now unless somebody holds it. Raises what *load* raises.

        A model that several threads must not enter is never shared: each pipeline limits its own calls, and knows
        nothing of those of another.
        """
        with self._loading[hash(key) % _STRIPES]:
            if (held := self._join(key)) is not None:
                return held
            model = load()
            if not (isinstance(model, ModelAdapter) and model.concurrent):
                return Held(model, lambda: close(model))
            with self._lock:
                self._entries[key] = _Entry(model)
            return self._join(key) or Held(model, lambda: close(model))

    def _join(self, key: str) -> Held | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.users += 1
            return Held(entry.model, lambda: self._leave(key, entry))

    def _leave(self, key: str, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.users:
                return
            del self._entries[key]
        close(entry.model)


def close(model: Model) -> None:
    """Close *model* and give back its memory."""
    model.close()
    give_back()
