"""How a name becomes a version: only as somebody wrote it down."""

from collections import Counter
from typing import Any

import pytest
from tests.domain.test_registry import Thing

from headrace.domain.errors import AmbiguousVersion, NotFound
from headrace.domain.registry import PipelineRef, Registry
from headrace.domain.routing import Asked, Router
from headrace.domain.spec import HeaderMatch, RouteSpec


def router(*routes: RouteSpec, versions: str = "1 2 3", chance: Any = lambda: 0.0, **more: Any) -> Router:
    registry: Registry[Thing] = Registry()
    for version in versions.split():
        registry.add(Thing(PipelineRef("shop", version)))
    return Router(registry, routes, chance=chance, **more)


def chosen(routes: Router, version: str | None = None, **asked: Any) -> tuple[str, str]:
    decision = routes.decide(Asked("shop", version, **asked))
    return decision.ref.version, decision.reason


def test_a_version_that_is_named_is_taken_whatever_a_route_says() -> None:
    assert chosen(router(RouteSpec("shop", default="2")), "3") == ("3", "version")


def test_a_bare_name_goes_to_its_only_version_or_to_nobody() -> None:
    assert chosen(router(versions="7")) == ("7", "only version")
    with pytest.raises(AmbiguousVersion):
        chosen(router())


def test_a_bare_name_goes_to_the_default_of_its_route() -> None:
    assert chosen(router(RouteSpec("shop", default="2"))) == ("2", "default")


def test_an_alias_stands_wherever_a_version_does() -> None:
    routes = router(RouteSpec("shop", default="stable", aliases={"stable": "1", "canary": "2"}, shadow="canary"))

    assert chosen(routes, "canary") == ("2", "alias canary")
    assert chosen(routes) == ("1", "default")
    assert routes.decide(Asked("shop")).shadow == PipelineRef("shop", "2")
    assert routes.decide(Asked("shop", "1")).shadow is None


def test_latest_is_nothing_until_somebody_defines_it() -> None:
    with pytest.raises(NotFound, match="no version or alias 'latest'"):
        chosen(router(), "latest")
    assert chosen(router(RouteSpec("shop", aliases={"latest": "3"})), "latest") == ("3", "alias latest")


def test_what_is_not_there_is_answered_with_the_nearest_and_with_all_there_is() -> None:
    with pytest.raises(NotFound, match="no pipeline 'shup'; did you mean 'shop'"):
        router().decide(Asked("shup"))
    with pytest.raises(NotFound, match="did you mean 'stable'"):
        chosen(router(RouteSpec("shop", aliases={"stable": "1"})), "stabel")


def test_an_endless_name_is_refused_quickly_and_in_few_words() -> None:
    with pytest.raises(NotFound) as error:
        router().decide(Asked("x" * 5_000_000))

    assert len(error.value.message) < 300


@pytest.mark.parametrize(
    ("route", "version"),
    [
        (RouteSpec("shop", default="9"), None),
        (RouteSpec("shop", aliases={"old": "9"}), "old"),
        (RouteSpec("shop", split={"9": 1}), None),
        (RouteSpec("shop", match=(HeaderMatch({}, "9"),)), None),
    ],
)
def test_a_route_to_a_version_that_is_not_loaded_says_so(route: RouteSpec, version: str | None) -> None:
    with pytest.raises(NotFound, match="leads to version '9', which is not loaded; loaded: 1, 2, 3"):
        chosen(router(route), version)


def test_headers_choose_and_the_first_match_wins() -> None:
    route = RouteSpec(
        "shop",
        default="1",
        match=(HeaderMatch({"X-Canary": "true", "x-team": "a"}, "3"), HeaderMatch({"x-canary": "true"}, "2")),
    )

    assert chosen(router(route), headers={"x-canary": "true"}) == ("2", "header")
    assert chosen(router(route), headers={"x-canary": "true", "x-team": "a"}) == ("3", "header")
    assert chosen(router(route), headers={"x-canary": "TRUE"}) == ("1", "default")
    assert chosen(router(route)) == ("1", "default")


def test_a_split_gives_each_version_its_share_of_chance() -> None:
    points = iter(n / 1000 for n in range(1000))
    routes = router(RouteSpec("shop", split={"1": 70, "2": 30, "3": 0}), chance=lambda: next(points))

    counts = Counter(chosen(routes)[0] for _ in range(1000))

    assert counts == {"1": 700, "2": 300}


def test_a_version_in_the_name_is_told_apart_from_a_name_that_is_not_there() -> None:
    with pytest.raises(NotFound, match="no pipeline 'shop@2'; name 'shop', and its version '2' apart"):
        router().decide(Asked("shop@2"))
    with pytest.raises(NotFound, match="no pipeline 'shup@2'"):
        router().decide(Asked("shup@2"))


def test_work_that_is_one_whole_goes_where_the_most_goes_and_not_where_chance_leads() -> None:
    routes = router(RouteSpec("shop", split={"1": 10, "2": 90}), chance=lambda: 0.0)

    assert chosen(routes, steady=True) == ("2", "largest share")
    assert chosen(routes, steady=True, version="1") == ("1", "version")
    assert chosen(routes) == ("1", "split")


def test_a_sticky_key_keeps_to_its_side_and_the_sides_are_fair() -> None:
    routes = router(RouteSpec("shop", split={"1": 3, "2": 1}, sticky="user"))

    first = [chosen(routes, inputs={"user": n}) for n in range(4000)]
    again = [chosen(routes, inputs={"user": n}) for n in range(4000)]

    assert first == again
    assert {reason for _, reason in first} == {"sticky split"}
    assert 0.70 < Counter(version for version, _ in first)["1"] / 4000 < 0.80


def test_a_routing_key_wins_over_the_input_and_without_either_chance_decides() -> None:
    routes = router(RouteSpec("shop", split={"1": 1, "2": 1}, sticky="user"))

    by_key = {chosen(routes, routing_key="k", inputs={"user": n}) for n in range(20)}

    assert len(by_key) == 1
    assert chosen(routes, inputs={"other": 1})[1] == "split"


def test_two_pipelines_split_the_same_users_differently() -> None:
    registry: Registry[Thing] = Registry()
    for name in ("a", "b"):
        for version in ("1", "2"):
            registry.add(Thing(PipelineRef(name, version)))
    routes = Router(registry, [RouteSpec(name, split={"1": 1, "2": 1}) for name in ("a", "b")])

    same = sum(
        routes.decide(Asked("a", routing_key=str(n))).ref.version
        == routes.decide(Asked("b", routing_key=str(n))).ref.version
        for n in range(1000)
    )

    assert 400 < same < 600


@pytest.mark.parametrize(
    ("route", "version", "fixed"),
    [
        (None, None, True),
        (RouteSpec("shop", default="1"), None, True),
        (RouteSpec("shop", default="1", split={"1": 1}), None, False),
        (RouteSpec("shop", default="1", split={"1": 1}), "1", True),
        (RouteSpec("shop", default="1", match=(HeaderMatch({}, "1"),)), None, False),
        (RouteSpec("shop", default="1", shadow="2"), None, False),
    ],
)
def test_a_decision_is_fixed_when_only_the_name_matters(
    route: RouteSpec | None, version: str | None, fixed: bool
) -> None:
    assert router(*([route] if route else [])).fixed(Asked("shop", version)) == fixed


def test_the_stem_of_a_file_stands_for_its_pipeline_and_routes_are_replaced_as_a_whole() -> None:
    routes = router(RouteSpec("shop", default="1"), aliases={"shop_file": "shop"})
    before = routes.decide(Asked("shop_file")).ref.version

    routes.replace([RouteSpec("shop", default="2")], {})

    assert (before, chosen(routes)[0]) == ("1", "2")
    with pytest.raises(NotFound):
        routes.decide(Asked("shop_file"))
