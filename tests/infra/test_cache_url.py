"""What is a URL of a cache, and how much of it may be seen?"""

import pytest

from headrace.infra.cache.url import CacheUrl


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("memory:", "memory:"),
        ("redis://cache.internal:6379/2", "redis://cache.internal:6379/2"),
        ("redis://:pa55@cache:6379/0", "redis://cache:6379/0"),
        ("rediss://user:p@55@cache", "rediss://cache"),
        ("redis://[::1]:6379", "redis://[::1]:6379"),
        ("unix:///run/redis.sock?db=1&password=pa55", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_secrets(text: str, shown: str) -> None:
    url = CacheUrl(text)

    assert url.problem() is None
    assert (url.shown, repr(url), url.reveal()) == (shown, repr(shown), text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memory", "did you mean memory:?"),
        ("reddis://:pa55@cache", "did you mean redis://?"),
        ("memcached://:pa55@cache", "found no URL of a cache"),
        ("pa55@cache:6379", "found no URL of a cache"),
        ("redis:cache", "found no URL of a cache"),
        ("redis://:pa55@cache:port/0", "port is no number"),
        ("redis://cache:0", "port 0"),
        ("redis://:pa55@", "without a host"),
        ("redis://cache/zero", "database that is no number"),
        ("", "found no URL of a cache"),
    ],
)
def test_a_mistake_is_told_without_the_secrets(text: str, told: str) -> None:
    problem = CacheUrl(text).problem()

    assert problem is not None and told in problem and "wanted memory:" in problem
    assert "pa55" not in problem
