"""One key has one answer, whoever asks at the same moment, in every database."""

import asyncio
from pathlib import Path

from headrace.domain.ports import Answered, Claimed, KeptAnswer, UnderWay
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers
from headrace.infra.databases.url import StateUrl

LONG_S = 60.0
ANSWER = KeptAnswer(200, [("content-type", "application/json"), ("x", "é")], bytes(range(256)) * 300)


async def claimed_in_time(answers: StateAnswers, key: str, owner: str) -> bool:
    """Whether *key* becomes free for *owner* before somebody loses patience."""
    async with asyncio.timeout(10):
        while not isinstance(await answers.claim(key, "print", owner, LONG_S), Claimed):
            await asyncio.sleep(0.01)
    return True


async def test_a_key_is_claimed_once_and_then_answered_for_everybody(state: State) -> None:
    answers = StateAnswers(state)

    assert await answers.claim("key", "print", "ann", LONG_S) == Claimed()
    assert await answers.claim("key", "other", "bob", LONG_S) == UnderWay("print")
    assert await answers.keep("key", "ann", ANSWER, LONG_S)
    assert await answers.claim("key", "other", "bob", LONG_S) == Answered("print", ANSWER)


async def test_an_answer_may_be_known_and_not_kept(state: State) -> None:
    answers = StateAnswers(state)
    await answers.claim("key", "print", "ann", LONG_S)

    await answers.keep("key", "ann", KeptAnswer(200, [], None), LONG_S)

    assert await answers.claim("key", "print", "bob", LONG_S) == Answered("print", KeptAnswer(200, [], None))


async def test_of_many_who_claim_at_once_one_gets_the_key(url: str, tmp_path: Path) -> None:
    states = [State(StateUrl(url), tmp_path) for _ in range(3)]
    answers = [StateAnswers(state) for state in states]

    found = await asyncio.gather(
        *(one.claim("key", "print", f"owner {n}-{m}", LONG_S) for n, one in enumerate(answers) for m in range(8))
    )
    for state in states:
        await state.close()

    assert sorted(type(one).__name__ for one in found) == ["Claimed", *["UnderWay"] * 23]


async def test_a_claim_that_is_given_up_is_free_at_once(state: State) -> None:
    answers = StateAnswers(state)
    await answers.claim("key", "print", "ann", LONG_S)

    await answers.release("key", "bob")  # whose it is not
    assert await answers.claim("key", "print", "bob", LONG_S) == UnderWay("print")
    await answers.release("key", "ann")
    assert await answers.claim("key", "print", "bob", LONG_S) == Claimed()


async def test_a_claim_whose_owner_died_is_free_after_its_time(state: State) -> None:
    answers = StateAnswers(state)
    await answers.claim("key", "print", "dead", 0.05)

    assert await claimed_in_time(answers, "key", "bob")

    assert not await answers.renew("key", "dead", LONG_S)
    assert not await answers.keep("key", "dead", ANSWER, LONG_S)
    assert await answers.keep("key", "bob", ANSWER, LONG_S)


async def test_a_claim_that_is_renewed_stays(state: State) -> None:
    answers = StateAnswers(state)
    await answers.claim("key", "print", "ann", 0.001)

    assert await answers.renew("key", "ann", LONG_S)

    assert await answers.claim("key", "print", "bob", LONG_S) == UnderWay("print")


async def test_an_answer_is_forgotten_after_its_time(state: State) -> None:
    answers = StateAnswers(state)
    await answers.claim("key", "print", "ann", LONG_S)
    await answers.keep("key", "ann", ANSWER, 0.05)

    assert await claimed_in_time(answers, "key", "bob")


async def test_what_is_past_its_time_is_removed(state: State, url: str, tmp_path: Path) -> None:
    from sqlalchemy import text

    answers = StateAnswers(state)
    await answers.claim("old", "print", "ann", 0.0)
    other = State(StateUrl(url), tmp_path)

    await StateAnswers(other).claim("new", "print", "bob", LONG_S)  # its first: it sweeps
    await other.close()

    async with state.reading() as connection:
        rows = await connection.execute(text("SELECT key_digest FROM headrace_answers"))
    assert [row.key_digest for row in rows] == ["new"]
