"""Who may call? Whoever shows a named key, of which only a digest is remembered.

A key reads ``hr_<id>_<secret>``. The id is no secret: it is stored, listed, and tells under which key to look. The
secret has 256 random bits, so a digest of it, keyed with the id, cannot be turned back and needs no slow hash.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from headrace.core.constraints import Secret
from headrace.domain.errors import BreakerOpen, Conflict, EngineError, InvalidRequest, NotFound, Unauthenticated
from headrace.domain.parameters import nearest
from headrace.domain.ports import KeyStore, StoredKey
from headrace.services.context import ANYBODY, TOKEN_HOLDER, Caller

LOOK_S: Final = 0.5
"""How often the store is asked for keys that were created or revoked elsewhere."""
LONGEST_LIFE_S: Final = 100 * 365 * 86_400.0
PREFIX: Final = b"hr_"
FORM: Final = re.compile(rb"hr_[0-9a-f]{16}_[\w-]{43}")

_ID: Final = 19  # characters of the id, its prefix included
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_RESERVED: Final = (ANYBODY.name, TOKEN_HOLDER.name)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created. *shown* is all of it, and is known to nobody afterwards."""

    stored: StoredKey
    shown: Secret


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    caller: Caller
    stored: StoredKey


class Access:
    """Keys, in the store and at hand. What is at hand is what the last `refresh` found."""

    def __init__(self, store: KeyStore, *, clock: Clock = time.time) -> None:
        """*clock* tells the seconds since the epoch."""
        self._store = store
        self._clock = clock
        self._found: Sequence[StoredKey] = ()
        self._known: Mapping[bytes, _Known] = {}
        self._current = False
        self._following: asyncio.Task[None] | None = None

    def caller(self, shown: bytes) -> Caller:
        """Whose key *shown* is. Takes some microseconds, and waits for nothing.

        Raises Unauthenticated for what is no key, or one that is over; BreakerOpen for one that is not known while the
        store, which may know it, cannot be read. How long that takes tells about the id at most.
        """
        known = self._known.get(shown[:_ID])
        if known is None:
            raise self._unknown(shown)
        if not hmac.compare_digest(_digest(shown), known.digest):
            raise Unauthenticated("the key is not valid")
        key = known.stored
        if key.revoked_at is not None:
            raise Unauthenticated(f"the key {key.name!r} was revoked {_when(key.revoked_at)}")
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise Unauthenticated(f"the key {key.name!r} expired {_when(key.expires_at)}")
        return known.caller

    def follow(self) -> None:
        """Keep what is at hand up to date from now until `close`."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Look no more."""
        if (following := self._following) is not None:
            self._following = None
            following.cancel()
            await asyncio.wait({following})

    async def refresh(self) -> None:
        """Know the keys that are kept now, whoever changed them. When they cannot be read, those known stay so."""
        try:
            found = await self._store.all()
        except EngineError:  # the store has said what is wrong
            self._current = False
            return
        if found != self._found:
            self._found, self._known = found, {key.id.encode(): _known(key) for key in found}
        self._current = True

    async def all(self) -> Sequence[StoredKey]:
        """Every key by name, those that are over included. Raises DependencyFailure."""
        return await self._store.all()

    def holds(self, key: StoredKey) -> bool:
        """Whether *key* lets its caller in."""
        return key.revoked_at is None and (key.expires_at is None or key.expires_at > self._clock())

    async def create(
        self, name: str, roles: Sequence[str] = (), *, lifetime_s: float | None = None, by: str = ""
    ) -> NewKey:
        """A new key for the caller *name*, which holds for *lifetime_s* seconds, or until it is revoked.

        Raises InvalidRequest for a name, a role or a time that is none, Conflict while a key of that name holds,
        DependencyFailure when it cannot be kept.
        """
        _check(name, roles, lifetime_s)
        now, public, secret = self._clock(), f"hr_{secrets.token_hex(8)}", secrets.token_urlsafe(32)
        shown = f"{public}_{secret}"
        expires_at = None if lifetime_s is None else now + lifetime_s
        distinct = tuple(sorted(set(roles)))
        key = StoredKey(name, public, _digest(shown.encode()), distinct, now, by, expires_at)
        if not await self._store.add(key):
            raise Conflict(f"a key named {name!r} holds already; revoke it first, or take another name")
        return NewKey(key, Secret(shown))

    async def revoke(self, name: str, by: str = "") -> StoredKey:
        """Let the key of *name* hold no more; nothing happens to one that was revoked before.

        Raises NotFound for a name that no key has, DependencyFailure when that cannot be kept.
        """
        key = await self._store.revoke(name, by)
        if key is None:
            names = [one.name for one in await self._store.all()]
            told = ", ".join(names) or "none"
            raise NotFound(f"no key is named {name!r:.80}{nearest(name, names)}; there are: {told}")
        return key

    async def _follow(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(LOOK_S)

    def _unknown(self, shown: bytes) -> EngineError:
        if not self._current and FORM.fullmatch(shown):
            return BreakerOpen("this key cannot be looked up: the state database does not answer; ask again")
        return Unauthenticated("the token or key is not valid; one that was just created is known within a second")


def _known(key: StoredKey) -> _Known:
    return _Known(key.digest, Caller(key.name, frozenset(key.roles)), key)


def _digest(shown: bytes) -> str:
    return blake2b(shown[_ID + 1 :], key=shown[:_ID], digest_size=32).hexdigest()


def _when(at: float) -> str:
    return f"at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _check(name: str, roles: Sequence[str], lifetime_s: float | None) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest(
            "a key's name has 1 to 64 letters, digits, '.', '_', '@' and '-', the first a letter or digit, "
            f"not {name!r:.80}"
        )
    if name in _RESERVED:
        raise InvalidRequest(f"{name!r} is what callers without a key are called; take another name")
    for role in roles:
        if _ROLE.fullmatch(role) is None:
            raise InvalidRequest(
                f"a role has 1 to 32 lower-case letters, digits, '_' and '-', the first a letter, not {role!r:.80}"
            )
    if lifetime_s is not None and not 0 < lifetime_s <= LONGEST_LIFE_S:
        raise InvalidRequest("a key holds for at most 100 years; name no time for one that holds until it is revoked")
