"""Is this model in memory already? Pipelines over the same bytes share one, and the last to leave closes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.domain.model import Model


@dataclass(slots=True)
class _Entry:
    users: int = 0
    model: Model | None = None
    loading: threading.Lock = field(default_factory=threading.Lock)


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


class ModelPool:
    """Loaded models by what they were made of. May be used from several threads."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, key: str, load: Callable[[], Model]) -> Held:
        """The model under *key*, loaded now unless somebody holds it. Raises what *load* raises."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.users += 1
        try:
            with entry.loading:
                if entry.model is None:
                    entry.model = load()
                model = entry.model
        except BaseException:
            self._leave(key, entry)
            raise
        return Held(model, lambda: self._leave(key, entry))

    def _leave(self, key: str, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.users:
                return
            del self._entries[key]
        if entry.model is not None:
            entry.model.close()
