"""A gateway passes on what concerns both ends, and nothing of the connection."""

from __future__ import annotations

from typing import Any

import pytest

from aiostreams.sansio.forwarding import end_to_end, forwarded_for, is_trusted


def test_what_concerns_one_connection_stays_there() -> None:
    fields = [
        ("Host", "x"),
        ("Connection", "keep-alive, X-Secret"),
        ("connection", "X-Other"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Secret", "1"),
        ("x-other", "2"),
        ("Cookie", "a=b"),
        ("Cookie", "c=d"),
    ]
    assert list(end_to_end(fields)) == [
        ("Host", "x"),
        ("Cookie", "a=b"),
        ("Cookie", "c=d"),
    ]
    assert list(end_to_end(fields, "host", "COOKIE")) == []


def test_clients_are_named_in_the_order_they_came() -> None:
    assert forwarded_for((), "10.0.0.1") == "10.0.0.1"
    assert forwarded_for(["10.0.0.1"], "10.0.0.2") == "10.0.0.1, 10.0.0.2"
    lines = ["10.0.0.1, 10.0.0.2", "10.0.0.3"]
    assert forwarded_for(lines, "::1") == "10.0.0.1, 10.0.0.2, 10.0.0.3, ::1"
    assert forwarded_for((), None) == "unknown"


def test_a_byte_that_cannot_be_written_becomes_its_character() -> None:
    name = b"r\xe9sum\xe9.pdf".decode("utf-8", "surrogateescape")
    both = b"\xc3\xa9\xe9".decode("utf-8", "surrogateescape")
    fields = [("A", name), ("B", both), ("C", "\u65e5\t")]
    assert list(end_to_end(fields)) == [
        ("A", "r\xe9sum\xe9.pdf"),
        ("B", "\xe9\xe9"),
        ("C", "\u65e5\t"),
    ]


@pytest.mark.parametrize(
    ("address", "trusted", "expected"),
    [
        ("10.1.2.3", True, True),
        ("10.1.2.3", False, False),
        ("10.1.2.3", (), False),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", ["10.0.0.0/8", "11.1.2.3"], True),
        ("11.1.2.4", ["10.0.0.0/8", "11.1.2.3"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("::1", ["127.0.0.1"], False),
        ("unix", ["10.0.0.0/8"], False),
        ("", ["10.0.0.0/8"], False),
        (None, ["10.0.0.0/8"], False),
        (None, True, True),
    ],
)
def test_who_is_trusted(address: str | None, trusted: Any, expected: bool) -> None:
    assert is_trusted(address, trusted) is expected


def test_what_is_no_network() -> None:
    with pytest.raises(ValueError, match="example"):
        is_trusted("10.0.0.1", ["example.com"])
