"""Bodies in memory, encoded before their header section is sent."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aiostreams.limits import MiB
from aiostreams.streams.codecs import make_decoder
from aiostreams.web import encoded
from aiostreams.web.encoded import encode_whole, mark_encoded, vary, weaken_etag

DATA = os.urandom(300_000) + bytes(MiB)


def decoded(data: bytes, coding: str) -> bytes:
    decoder = make_decoder(coding)
    decoder.feed(data)
    pieces = []
    while (piece := decoder.decode(MiB)) is not None:
        pieces.append(piece)
    decoder.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [0, 10, 100_000, len(DATA)])
async def test_a_body_is_encoded_whole(coding: str, size: int) -> None:
    request = make_mocked_request("GET", "/")
    data = DATA[:size]
    assert decoded(await encode_whole(request, data, coding, None), coding) == data


async def test_others_have_their_turn_while_a_large_body_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a quick encoder in place, with a slow one beside the event loop."""
    request = make_mocked_request("GET", "/")
    for turn in (0.0, 10.0):
        monkeypatch.setattr(encoded, "_TURN", turn)
        for quick in (0, 10**9):
            monkeypatch.setattr(encoded, "_QUICK", quick)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(count())
            data = await encode_whole(request, DATA, "gzip", 9)
            counting.cancel()
            assert decoded(data, "gzip") == DATA
            if quick == 0 and turn == 0:
                assert turns >= len(DATA) // encoded._PIECE
            if quick == 0 and turn == 10:
                assert turns <= 1
            if quick:
                assert turns > 1


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
