"""What a head says is remembered by its bytes, within bounds."""

from headrace.adapters.http.heads import LONGEST, MOST, Head, Heads


def head(*listed: tuple[bytes, bytes]) -> Head:
    return Head(b"/v2/models/m/infer", listed, 10, keep_alive=True)


def test_of_a_repeated_header_the_last_counts() -> None:
    assert head((b"x-timeout-ms", b"1"), (b"x-timeout-ms", b"2")).headers[b"x-timeout-ms"] == b"2"


def test_equal_bytes_are_found_and_others_are_not() -> None:
    heads, known = Heads(), head()
    heads.remember(b"POST a", known)

    assert heads.find(b"POST a") is known
    assert heads.find(b"POST b") is None


def test_what_comes_but_once_is_not_remembered() -> None:
    heads = Heads()
    heads.remember(b"POST a", head((b"x-request-id", b"7")))
    heads.remember(b"POST b", head((b"traceparent", b"00-..")))
    heads.remember(b"POST c" + b"-" * LONGEST, head())

    assert [heads.find(text) for text in (b"POST a", b"POST b", b"POST c" + b"-" * LONGEST)] == [None] * 3


def test_clients_cannot_fill_the_memory_with_heads() -> None:
    heads = Heads()
    for number in range(3 * MOST):
        heads.remember(b"POST %d" % number, head())

    assert len(heads) <= MOST
    assert heads.find(b"POST %d" % (3 * MOST - 1)) is not None
