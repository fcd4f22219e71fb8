"""A gateway passes on what concerns both ends, and nothing of the connection."""

from __future__ import annotations

from aiostreams.sansio.forwarding import end_to_end, forwarded_for


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
    assert forwarded_for(None, "10.0.0.1") == "10.0.0.1"
    assert forwarded_for("10.0.0.1", "10.0.0.2") == "10.0.0.1, 10.0.0.2"
    assert forwarded_for(None, None) == "unknown"
