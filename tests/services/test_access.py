"""Who may call? Keys are known by what they show, for as long as they hold, whether or not the store can be read."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.domain.errors import (
    BreakerOpen,
    Conflict,
    DependencyFailure,
    EngineError,
    InvalidRequest,
    NotFound,
    Unauthenticated,
)
from headrace.infra.databases import state as state_module
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateKeys
from headrace.infra.databases.url import StateUrl
from headrace.services import access as module
from headrace.services.access import FORM, Access
from headrace.services.context import Caller

NEVER = b"hr_0123456789abcdef_" + b"x" * 43
"""A key that nobody has."""


class Desk:
    """A server's keys over a state file, and those of somebody else over the same file."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000.0
        self.file = folder / "state.db"
        self.states = [State(StateUrl("sqlite:///state.db"), folder) for _ in range(2)]
        self.server, self.elsewhere = (Access(StateKeys(state), clock=lambda: self.now) for state in self.states)

    async def created(self, name: str = "shop", *roles: str, lifetime_s: float | None = None) -> bytes:
        """What the caller *name* shows, which the server knows already."""
        made = await self.elsewhere.create(name, roles, lifetime_s=lifetime_s, by="ann")
        await self.server.refresh()
        return made.shown.reveal().encode()

    def refusal(self, shown: bytes) -> str:
        with pytest.raises(EngineError) as caught:
            self.server.caller(shown)
        return caught.value.message


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "PAUSE_S", 0.0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    found = Desk(tmp_path)
    yield found
    await found.server.close()
    for state in found.states:
        await state.close()


async def test_a_key_tells_who_its_caller_is(desk: Desk) -> None:
    shop, job = await desk.created("shop"), await desk.created("job", "infer", "admin", "infer")

    assert desk.server.caller(shop) == Caller("shop")
    assert desk.server.caller(job) == Caller("job", frozenset({"infer", "admin"}))


async def test_a_key_has_the_form_that_logs_know_as_a_secret(desk: Desk) -> None:
    shown = await desk.created()

    assert FORM.fullmatch(shown)


async def test_only_a_digest_of_the_secret_is_kept(desk: Desk) -> None:
    shown = await desk.created()
    for state in desk.states:
        await state.close()

    secret = shown[20:]
    assert len(secret) == 43
    assert all(secret not in file.read_bytes() for file in desk.file.parent.iterdir())


async def test_a_key_that_was_made_is_not_shown_by_printing_it(desk: Desk) -> None:
    made = await desk.elsewhere.create("shop")

    assert made.shown.reveal() not in repr(made)


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: shown[:-1],
        lambda shown: shown + b"x",
        lambda shown: shown[:-1] + bytes([shown[-1] ^ 1]),
        lambda shown: shown[:19],
        lambda shown: shown.upper(),
        lambda shown: b"hr_",
        lambda shown: b"",
        lambda shown: "é".encode() * 40,
        lambda shown: NEVER,
    ],
)
async def test_what_is_no_key_is_refused(desk: Desk, change: object) -> None:
    shown = await desk.created()

    with pytest.raises(Unauthenticated) as caught:
        desk.server.caller(change(shown))  # type: ignore[operator]

    assert "not valid" in caught.value.message
    assert shown.decode() not in caught.value.message


async def test_an_expired_key_is_refused_and_says_since_when(desk: Desk) -> None:
    shown = await desk.created(lifetime_s=60.0)
    desk.now += 59.9
    before = desk.server.caller(shown)

    desk.now += 0.1

    assert before.name == "shop"
    assert desk.refusal(shown) == "the key 'shop' expired at 2027-01-15 08:01:00 UTC"
    assert [desk.server.holds(key) for key in await desk.server.all()] == [False]


async def test_a_revoked_key_is_refused_once_the_server_has_looked(desk: Desk) -> None:
    shown = await desk.created()

    await desk.elsewhere.revoke("shop", by="ann")
    await desk.server.refresh()

    assert "the key 'shop' was revoked at 20" in desk.refusal(shown)


async def test_a_name_that_is_taken_again_belongs_to_the_new_key(desk: Desk) -> None:
    old = await desk.created()
    await desk.elsewhere.revoke("shop")
    new = await desk.created()

    assert "not valid" in desk.refusal(old)
    assert desk.server.caller(new).name == "shop"


async def test_a_server_that_follows_sees_what_others_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    desk.server.follow()

    shown = (await desk.elsewhere.create("shop")).shown.reveal().encode()
    await eventually(desk, shown, known=True)
    await desk.elsewhere.revoke("shop")
    await eventually(desk, shown, known=False)


async def eventually(desk: Desk, shown: bytes, *, known: bool) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                desk.server.caller(shown)
            except Unauthenticated:
                if not known:
                    return
            else:
                if known:
                    return
            await asyncio.sleep(0.001)


async def test_it_looks_often_enough_for_a_second() -> None:
    assert module.LOOK_S <= 0.5


async def test_while_the_store_cannot_be_read_known_keys_hold_and_others_are_asked_to_come_again(desk: Desk) -> None:
    shown = await desk.created(lifetime_s=60.0)
    for state in desk.states:
        await state.close()
    desk.file.write_bytes(b"no database" * 1000)

    await desk.server.refresh()

    assert desk.server.caller(shown).name == "shop"
    with pytest.raises(BreakerOpen, match="the state database does not answer"):
        desk.server.caller(NEVER)
    with pytest.raises(Unauthenticated, match="not valid"):
        desk.server.caller(b"guessed")
    desk.now += 60
    assert "expired" in desk.refusal(shown)


async def test_a_locked_database_can_be_read(desk: Desk) -> None:
    shown = await desk.created()
    other = sqlite3.connect(desk.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    await desk.server.refresh()

    assert desk.server.caller(shown).name == "shop"
    with pytest.raises(Unauthenticated):
        desk.server.caller(NEVER)
    other.close()


async def test_before_the_first_look_nobody_is_told_that_a_key_is_not_valid(desk: Desk) -> None:
    with pytest.raises(BreakerOpen):
        desk.server.caller(NEVER)


async def test_where_nothing_was_ever_kept_no_file_is_made(desk: Desk) -> None:
    await desk.server.refresh()

    with pytest.raises(Unauthenticated):
        desk.server.caller(NEVER)
    assert await desk.server.all() == ()
    assert not desk.file.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "not ''"), ("a b", "not 'a b'"), ("-x", "letter or digit"), ("x" * 65, "1 to 64"), ("token", "another name"),
     ("anonymous", "another name"), ("grün", "letters"), ("a\n", "letters")],
)  # fmt: skip
async def test_a_name_that_is_none_is_refused(desk: Desk, name: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        await desk.elsewhere.create(name)


@pytest.mark.parametrize("role", ["", "Admin", "a b", "x" * 33, "1st"])
async def test_a_role_that_is_none_is_refused(desk: Desk, role: str) -> None:
    with pytest.raises(InvalidRequest, match="a role has 1 to 32"):
        await desk.elsewhere.create("shop", ["infer", role])


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, 1e12, float("nan"), float("inf")])
async def test_a_time_that_is_none_is_refused(desk: Desk, lifetime_s: float) -> None:
    with pytest.raises(InvalidRequest, match="at most 100 years"):
        await desk.elsewhere.create("shop", lifetime_s=lifetime_s)


async def test_a_second_key_of_a_name_is_a_conflict(desk: Desk) -> None:
    shown = await desk.created()

    with pytest.raises(Conflict, match="a key named 'shop' holds already"):
        await desk.created()

    assert desk.server.caller(shown).name == "shop"


async def test_revoking_what_is_not_there_names_what_is(desk: Desk) -> None:
    await desk.created("shop")

    with pytest.raises(NotFound, match=r"no key is named 'shp'.*did you mean 'shop'\?.*there are: shop"):
        await desk.elsewhere.revoke("shp")


async def test_a_key_that_cannot_be_kept_is_not_shown(desk: Desk) -> None:
    desk.file.write_bytes(b"no database" * 1000)

    with pytest.raises(DependencyFailure):
        await desk.elsewhere.create("shop")
