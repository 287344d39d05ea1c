"""Routes that were set at run time stay set, in every database."""

from pathlib import Path

from sqlalchemy import text

from headrace.domain.spec import HeaderMatch, RouteSpec
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateRoutes
from headrace.infra.databases.url import StateUrl

FULL = RouteSpec(
    "digits",
    default="stable",
    aliases={"stable": "1", "größer": "2"},
    split={"2": 10.0, "10": 0.5, "1": 90.0},
    sticky="user_id",
    match=(HeaderMatch({"x-canary": "true"}, "2"),),
    shadow="2",
)


async def test_a_route_comes_back_as_it_was_set_from_another_process(state: State, url: str, tmp_path: Path) -> None:
    kept = await StateRoutes(state).set(FULL, "somebody")
    other = State(StateUrl(url), tmp_path)

    found = await StateRoutes(other).all()
    await other.close()

    assert found == {"digits": kept}
    assert found["digits"].spec == FULL
    assert list(found["digits"].spec.split) == ["2", "10", "1"]  # a split's order decides who falls on which side


async def test_the_last_change_counts_and_names_differ_by_case(state: State) -> None:
    routes = StateRoutes(state)

    await routes.set(RouteSpec("digits", default="1"), "a")
    await routes.set(RouteSpec("digits", default="2"), "b")
    await routes.set(RouteSpec("Digits", default="3"), "c")

    found = await routes.all()
    assert {name: (one.spec.default, one.changed_by) for name, one in found.items()} == {
        "digits": ("2", "b"),
        "Digits": ("3", "c"),
    }


async def test_what_is_reset_is_gone_and_can_be_reset_again(state: State) -> None:
    routes = StateRoutes(state)
    await routes.set(FULL, "a")

    assert (await routes.reset("digits", "b"), await routes.reset("digits", "b")) == (True, False)
    assert await routes.all() == {}


async def test_every_change_stands_in_the_audit_table(state: State) -> None:
    routes = StateRoutes(state)

    await routes.set(RouteSpec("digits", default="1"), "ann")
    await routes.reset("digits", "bob")
    await routes.reset("digits", "bob")  # changes nothing

    async with state.reading() as connection:
        rows = await connection.execute(text("SELECT changed_by, action, subject FROM headrace_audit ORDER BY id"))
    assert [tuple(row) for row in rows] == [("ann", "route set", "digits"), ("bob", "route reset", "digits")]


async def test_a_stored_route_that_cannot_be_read_does_not_hide_the_others(state: State) -> None:
    routes = StateRoutes(state)
    await routes.set(RouteSpec("broken", default="1"), "a")
    await routes.set(RouteSpec("whole", default="1"), "a")
    async with state.writing() as connection:
        await connection.execute(text("UPDATE headrace_routes SET spec = '{\"split\": 1' WHERE name = 'broken'"))

    assert list(await routes.all()) == ["whole"]
