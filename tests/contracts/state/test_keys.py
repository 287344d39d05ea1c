"""Callers' keys stay as they are kept, in every database."""

import asyncio
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from headrace.domain.ports import StoredKey
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateKeys
from headrace.infra.databases.url import StateUrl

KEY = StoredKey("Shop", "hr_0123456789abcdef", "d" * 64, ("admin", "infer"), 1000.25, "cli größer", expires_at=2000.5)


async def test_a_key_comes_back_as_it_was_kept_from_another_process(state: State, url: str, tmp_path: Path) -> None:
    plain = StoredKey("ci", "hr_1", "e" * 64, (), 5.0, "ann")
    assert await StateKeys(state).add(KEY) and await StateKeys(state).add(plain)
    other = State(StateUrl(url), tmp_path)

    found = await StateKeys(other).all()
    await other.close()

    assert sorted(found, key=lambda key: key.name) == [KEY, plain]


async def test_of_two_keys_of_one_name_one_holds(url: str, tmp_path: Path) -> None:
    states = [State(StateUrl(url), tmp_path) for _ in range(4)]
    kept = [replace(KEY, id=f"hr_{number}", expires_at=None) for number in range(4)]

    done = await asyncio.gather(*(StateKeys(state).add(key) for state, key in zip(states, kept, strict=True)))
    found = await StateKeys(states[0]).all()
    for state in states:
        await state.close()

    assert sorted(done) == [False, False, False, True]
    assert found == [kept[done.index(True)]]


async def test_names_differ_by_case(state: State) -> None:
    keys = StateKeys(state)

    assert await keys.add(KEY)
    assert await keys.add(replace(KEY, name="shop", id="hr_2"))


async def test_a_name_is_free_again_once_its_key_is_over(state: State) -> None:
    keys = StateKeys(state)
    await keys.add(KEY)

    early = await keys.add(replace(KEY, id="hr_2", created_at=2000.0))
    expired = await keys.add(replace(KEY, id="hr_3", created_at=2000.5, expires_at=None))
    await keys.revoke("Shop", "bob")
    revoked = await keys.add(replace(KEY, id="hr_4", created_at=2000.6))

    assert (early, expired, revoked) == (False, True, True)
    assert [key.id for key in await keys.all()] == ["hr_4"]


async def test_a_key_is_revoked_once_and_says_when(state: State) -> None:
    keys = StateKeys(state)
    await keys.add(KEY)

    first, second = await keys.revoke("Shop", "bob"), await keys.revoke("Shop", "eve")

    assert await keys.revoke("shop", "bob") is None
    assert first is not None and second is not None
    assert first.revoked_at is not None and abs(first.revoked_at - (second.revoked_at or 0)) < 0.001
    assert [key.revoked_at is None for key in await keys.all()] == [False]


async def test_every_change_stands_in_the_audit_table_without_the_digest(state: State) -> None:
    keys = StateKeys(state)

    await keys.add(KEY)
    await keys.add(KEY)  # changes nothing
    await keys.revoke("Shop", "bob")
    await keys.revoke("Shop", "bob")  # changes nothing

    async with state.reading() as connection:
        rows = await connection.execute(
            text("SELECT changed_by, action, subject, detail FROM headrace_audit ORDER BY id")
        )
        found = [tuple(row) for row in rows]
    assert [row[:3] for row in found] == [("cli größer", "key created", "Shop"), ("bob", "key revoked", "Shop")]
    assert all("hr_0123456789abcdef" in row[3] and KEY.digest not in row[3] for row in found)
