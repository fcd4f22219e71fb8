"""Fields of a response that stay true when its body is encoded."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from aiostreams.web.response_headers import mark_encoded, vary, weaken_etag


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
