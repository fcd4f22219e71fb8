"""What is worth compressing, and how conditions combine."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from aiostreams.web.compression.config import (
    Candidate,
    Predicate,
    compressible,
    path_prefix,
)


def candidate(
    content_type: str = "text/plain", size: int | None = None, path: str = "/"
) -> Candidate:
    return Candidate(make_mocked_request("GET", path), content_type, size)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/event-stream",
        "application/json",
        "application/problem+json",
        "application/x-ndjson",
        "application/atom+xml",
        "image/svg+xml",
        "application/wasm",
        "font/ttf",
        "model/vnd.something+text",
        "application/openapi+yaml",
        "application/postscript",
        "application/xml-dtd",
        "image/x-ms-bmp",
        "message/rfc822",
    ],
)
def test_types_that_shrink(content_type: str) -> None:
    assert compressible()(candidate(content_type))


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/octet-stream",
        "application/zip",
        "application/gzip",
        "application/pdf",
        "audio/mpeg",
        "font/woff2",
        "image/png",
        "video/mp4",
        "multipart/byteranges",
        "texture/plain",
    ],
)
def test_types_that_do_not(content_type: str) -> None:
    assert not compressible()(candidate(content_type))


def test_more_types() -> None:
    mine = compressible("Image/X-Mine", "application/pdf")
    assert mine(candidate("image/x-mine"))
    assert mine(candidate("application/pdf"))
    assert mine(candidate("text/plain"))
    assert not mine(candidate("image/png"))


def test_conditions_combine() -> None:
    small = Predicate(lambda candidate: (candidate.size or 0) < 10)
    video = path_prefix("/video/", "/live/")
    when = (compressible() & ~video) | small
    assert when(candidate(size=99))
    assert not when(candidate(size=99, path="/video/1"))
    assert not when(candidate(size=99, path="/live/1"))
    assert when(candidate(size=99, path="/videos"))
    assert when(candidate(size=9, path="/video/1"))
    assert not when(candidate("image/png", size=99))
