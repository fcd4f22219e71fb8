"""Fields of a response that stay true when its body is encoded."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from aiostreams.web.response_headers import (
    carry_on,
    mark_encoded,
    vary,
    weaken_etag,
)


def test_what_was_said_of_the_bytes_is_of_others_now() -> None:
    headers = CIMultiDict(
        {"Content-Length": "3", "ETag": '"a"', "Accept-Ranges": "bytes"}
    )
    mark_encoded(headers, "gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["ETag"] == 'W/"a"'
    assert "Content-Length" not in headers
    assert "Accept-Ranges" not in headers


@pytest.mark.parametrize(
    ("etag", "expected"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), (None, None)]
)
def test_a_tag_that_was_strong_is_weak(etag: str | None, expected: str | None) -> None:
    headers = CIMultiDict({} if etag is None else {"ETag": etag})
    weaken_etag(headers)
    assert headers.get("ETag") == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "Accept-Encoding"),
        ("Origin", "Origin, Accept-Encoding"),
        ("accept-encoding", "accept-encoding"),
        ("*", "*"),
    ],
)
def test_the_answer_depends_on_what_is_accepted(before: str | None, after: str) -> None:
    headers = CIMultiDict({} if before is None else {"Vary": before})
    vary(headers)
    assert headers["Vary"] == after


def test_bytes_that_are_no_utf_8_are_written_as_what_they_mean() -> None:
    odd = b"r\xe9sum\xe9".decode("utf-8", "surrogateescape")
    headers = CIMultiDict([("A", "1"), ("B", odd), ("A", "2"), ("C", "\u65e5")])
    carry_on(headers)
    assert [*headers.items()] == [
        ("A", "1"),
        ("B", "r\xe9sum\xe9"),
        ("A", "2"),
        ("C", "\u65e5"),
    ]
