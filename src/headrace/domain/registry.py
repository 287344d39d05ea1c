"""Which pipelines are loaded, by (name, version), and when one may be closed: leases keep what is in use alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, Protocol, TypeVar

from headrace.domain.errors import AmbiguousVersion, Conflict, NotFound


class PipelineRef(NamedTuple):
    """The identity of a pipeline. A tuple, because it is hashed several times for every request."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Registered(Protocol):
    """What can stand in a registry."""

    @property
    def ref(self) -> PipelineRef:
        """Its identity."""


T = TypeVar("T", bound=Registered)


class Lease(Generic[T]):
    """A loaded pipeline, how many users it has, and what to do when the last one leaves after its removal."""

    __slots__ = ("_on_idle", "_users", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self._users = 0
        self._on_idle: Callable[[T], None] | None = None

    def take(self) -> T:
        """Hold the pipeline; every `take` wants one `give`."""
        self._users += 1
        return self.value

    def give(self) -> None:
        """Let go of it."""
        self._users -= 1
        self._settle()

    def retire(self, on_idle: Callable[[T], None]) -> None:
        """Call *on_idle* once nobody holds it any more, which may be now."""
        self._on_idle = on_idle
        self._settle()

    def _settle(self) -> None:
        if self._users == 0 and self._on_idle is not None:
            done, self._on_idle = self._on_idle, None
            done(self.value)


class Registry(Generic[T]):
    """Loaded pipelines by (name, version). A swap or a removal never pulls one from under a request."""

    def __init__(self) -> None:
        self._leases: dict[PipelineRef, Lease[T]] = {}

    def __iter__(self) -> Iterator[PipelineRef]:
        return iter(sorted(self._leases))

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, ref: PipelineRef) -> bool:
        return ref in self._leases

    def add(self, value: T, lease: Lease[T] | None = None) -> None:
        """Register *value*; raises Conflict if its reference is taken. *lease* is its own, where it has one."""
        if value.ref in self._leases:
            raise Conflict(f"pipeline {value.ref} is loaded already")
        self._leases[value.ref] = lease or Lease(value)

    def swap(self, value: T, on_idle: Callable[[T], None], lease: Lease[T] | None = None) -> None:
        """Put *value* in the place of the one with its reference; *on_idle* gets the old one once it is unused."""
        old = self._leases.get(value.ref)
        self._leases[value.ref] = lease or Lease(value)
        if old is not None:
            old.retire(on_idle)

    def remove(self, ref: PipelineRef, on_idle: Callable[[T], None]) -> None:
        """Take *ref* out; *on_idle* gets it once it is unused. Raises NotFound."""
        self.lease(ref)
        self._leases.pop(ref).retire(on_idle)

    def get(self, ref: PipelineRef) -> T:
        """The pipeline itself, for a look that holds nothing. Raises NotFound."""
        return self.lease(ref).value

    def lease(self, ref: PipelineRef) -> Lease[T]:
        """The lease of *ref*. Raises NotFound, which lists what is there."""
        if (lease := self._leases.get(ref)) is not None:
            return lease
        versions = self.versions(ref.name)
        if versions:
            raise NotFound(f"pipeline {ref.name!r} has no version {ref.version!r}; loaded: {', '.join(versions)}")
        raise NotFound(f"no pipeline {ref.name!r}; loaded: {', '.join(map(str, self)) or 'none'}")

    @contextmanager
    def use(self, ref: PipelineRef) -> Iterator[T]:
        """Hold *ref* for the length of a with block."""
        lease = self.lease(ref)
        try:
            yield lease.take()
        finally:
            lease.give()

    def versions(self, name: str) -> list[str]:
        """The loaded versions of *name*, sorted."""
        return [ref.version for ref in self if ref.name == name]

    def names(self) -> list[str]:
        """The names of which some version is loaded, sorted."""
        return sorted({ref.name for ref in self._leases})

    def only(self, name: str) -> PipelineRef:
        """The reference of *name* when exactly one version is loaded.

        Raises NotFound when there is none and AmbiguousVersion, with the list, when there are several.
        """
        versions = self.versions(name)
        if not versions:
            raise NotFound(f"no pipeline {name!r}; loaded: {', '.join(self.names()) or 'none'}")
        if len(versions) > 1:
            raise AmbiguousVersion(
                f"pipeline {name!r} has versions {', '.join(versions)} and no route; name one of them",
                details={"versions": versions},
            )
        return PipelineRef(name, versions[0])
