"""Routes at run time: what is set counts at once, wins over the file, and is forgotten only when it is reset."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.test_deployments import House, Shelf, declared

from headrace.domain.errors import DependencyFailure, InvalidConfig, NotFound
from headrace.domain.spec import HeaderMatch, RouteSpec
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateRoutes
from headrace.infra.databases.url import StateUrl
from headrace.services.engine import Engine
from headrace.services.routes import Routes

SPECS = [declared("shop", factor, version) for factor, version in ((2, "1"), (3, "2"))]
WRITTEN = RouteSpec("shop", default="1")


class Shop:
    """A workspace with two versions and a route in a file, and routes at run time over a state database."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.shelf = Shelf()
        self.shelf.write(*SPECS, routes=(WRITTEN,), aliases={"shop-file": "shop"})
        self.house = House(engine, self.shelf)
        self.state = State(StateUrl("sqlite:///state.db"), folder)
        self.told: list[Mapping[str, Any]] = []
        self.routes = Routes(
            self.house.inference.router, self.house.deployments, StateRoutes(self.state), self.told.append
        )

    async def answer(self, version: str | None = None) -> float:
        return await self.house.answer("shop", version)


@pytest.fixture
async def shop(engine: Engine, tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop(engine, tmp_path)
    await found.house.deployments.start()
    yield found
    await found.state.close()


async def test_what_is_set_counts_at_once_until_it_is_reset(shop: Shop) -> None:
    before = await shop.answer()

    state = await shop.routes.set(RouteSpec("shop", default="2", aliases={"old": "1"}), "ann")
    during = await shop.answer(), await shop.answer("old")
    after_state = await shop.routes.reset("shop", "bob")

    assert (before, during, await shop.answer()) == (2, (3, 2), 2)
    assert state.kept is not None
    assert (state.current, state.declared, state.kept.changed_by) == (state.kept.spec, WRITTEN, "ann")
    assert (after_state.current, after_state.kept) == (WRITTEN, None)


async def test_a_change_is_told_and_one_that_changes_nothing_is_not(shop: Shop) -> None:
    await shop.routes.set(RouteSpec("shop", default="2"))
    await shop.routes.reset("shop")
    await shop.routes.reset("shop")

    assert shop.told == [{"change": "route", "name": "shop"}] * 2


async def test_what_another_process_set_counts_after_a_refresh(shop: Shop, tmp_path: Path) -> None:
    other = State(StateUrl("sqlite:///state.db"), tmp_path)
    await StateRoutes(other).set(RouteSpec("shop", default="2"), "somebody else")

    before = await shop.answer()
    changed = await shop.routes.refresh(), await shop.routes.refresh()
    during = await shop.answer()
    await StateRoutes(other).reset("shop", "somebody else")
    await other.close()

    assert (before, changed, during) == (2, (True, False), 3)
    assert await shop.routes.refresh()
    assert await shop.answer() == 2


async def test_what_was_set_wins_over_a_file_that_changes_later(shop: Shop) -> None:
    await shop.routes.set(RouteSpec("shop", default="2"))
    shop.shelf.write(*SPECS, routes=(replace(WRITTEN, aliases={"new": "1"}),))

    await shop.house.deployments.refresh()

    assert await shop.answer() == 3
    assert (await shop.routes.reset("shop")).current == RouteSpec("shop", default="1", aliases={"new": "1"})
    assert await shop.answer() == 2


async def test_a_pipeline_without_a_file_for_its_route_can_have_one(shop: Shop) -> None:
    shop.shelf.write(*SPECS)
    await shop.house.deployments.refresh()

    await shop.routes.set(RouteSpec("shop", default="2"))

    assert [state.name for state in shop.routes.all()] == ["shop"]
    assert await shop.answer() == 3


async def test_a_pipeline_may_be_called_by_its_file(shop: Shop) -> None:
    state = await shop.routes.set(RouteSpec("shop-file", default="2"))

    assert (state.name, shop.routes.show("shop-file")) == ("shop", state)
    assert (await shop.routes.reset("shop-file")).kept is None


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        (RouteSpec("shopp", default="1"), NotFound, "no pipeline 'shopp' is declared; did you mean 'shop'"),
        (RouteSpec("shop", default="3"), NotFound, "default: found no version '3', wanted one of: 1, 2"),
        (RouteSpec("shop", aliases={"stable": "1"}, default="stabel"), NotFound, "did you mean 'stable'"),
        (RouteSpec("shop", shadow="9", split={"8": 1.0}), NotFound, "shadow: found no version '9'"),
        (RouteSpec("shop", aliases={"1": "2"}), InvalidConfig, "aliases.1: found an alias that is called as version"),
        (RouteSpec("shop", split={"1": -1.0, "2": 2.0}), InvalidConfig, "split.1: found -1, wanted a number"),
        (RouteSpec("shop", split={"1": 1.0}, sticky="user"), InvalidConfig, "sticky: found 'user', which is no input"),
        (RouteSpec("shop", match=(HeaderMatch({}, "1"),)), InvalidConfig, r"match\[0\].header: found no header"),
    ],
)
async def test_a_route_that_does_not_hold_is_refused_and_the_old_one_goes_on(
    shop: Shop, spec: RouteSpec, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await shop.routes.set(spec)

    assert await shop.answer() == 2
    assert shop.told == []


async def test_a_name_that_is_declared_nowhere_has_no_route(shop: Shop) -> None:
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        shop.routes.show("shob")
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        await shop.routes.reset("shob")


async def test_what_was_set_for_a_pipeline_that_is_gone_can_be_reset(shop: Shop) -> None:
    await shop.routes.set(RouteSpec("shop", default="2"))
    shop.shelf.write(declared("other"))
    await shop.house.deployments.refresh()

    state = await shop.routes.reset("shop")

    assert state.current is None


async def test_without_the_database_the_known_routes_go_on_and_a_change_is_refused(shop: Shop, tmp_path: Path) -> None:
    await shop.routes.set(RouteSpec("shop", default="2"))
    await shop.state.close()
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)

    assert not await shop.routes.refresh()
    with pytest.raises(DependencyFailure, match="state database"):
        await shop.routes.set(RouteSpec("shop", default="1"))

    assert await shop.answer() == 3
