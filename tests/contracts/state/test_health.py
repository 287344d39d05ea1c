"""How a state database is doing is told without its URL, in every database."""

from pathlib import Path

from tests.servers.ports import free_port

from headrace.infra.databases.migrations import REVISIONS
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateJobs
from headrace.infra.databases.url import StateUrl

DIALECTS = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


async def test_a_database_that_answers_tells_its_dialect_and_its_revision(state: State, url: str) -> None:
    await StateJobs(state).newest(1)
    before = await state.health()
    async with state.writing():
        pass

    after = await state.health()

    dialect = DIALECTS[url.partition(":")[0]]
    assert before["status"] == ("empty" if dialect == "sqlite" else "ready")
    assert after == {
        "name": "state", "dialect": dialect, "revision": REVISIONS[-1], "message": None, "status": "ready",
    }  # fmt: skip


async def test_one_that_does_not_is_said_to_be_unavailable_and_why(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database" * 500)
    damaged = State(StateUrl("sqlite:///state.db"), tmp_path)
    away = State(StateUrl(f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/shop"), tmp_path)

    found = [await one.health() for one in (damaged, damaged, away)]
    for one in (damaged, away):
        await one.close()

    assert [one["status"] for one in found] == ["unavailable"] * 3
    assert found[0]["message"] == found[1]["message"] == "the state database is no SQLite database, or a damaged one"
    assert "cannot be reached" in found[2]["message"]
    assert "s3cret" not in repr(found)
