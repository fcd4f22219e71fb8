"""Bodies in memory, encoded before their header section is sent."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aiostreams.codings.registry import make_decoder
from aiostreams.limits import MiB
from aiostreams.web import response as encoded
from aiostreams.web.response import encode_whole
from aiostreams.web.response_headers import mark_encoded, vary, weaken_etag

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


@pytest.mark.parametrize("turn", [0.0, 10.0])
async def test_a_quick_encoder_gives_others_a_turn_when_theirs_is_due(
    turn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_QUICK", 0)
    monkeypatch.setattr(encoded, "_TURN", turn)
    request = make_mocked_request("GET", "/")
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
    if turn:
        assert turns <= 1
    else:
        assert turns >= len(DATA) // encoded._PIECE


async def test_a_slow_encoder_works_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    class Slow:
        inline = 0

        def encode(self, data: bytes) -> bytes:
            assert released.wait(10), "the event loop had no turn"
            return data

        def finish(self) -> bytes:
            return b"."

    monkeypatch.setattr(encoded, "make_encoder", lambda coding, level: Slow())
    request = make_mocked_request("GET", "/")
    encoding = asyncio.create_task(encode_whole(request, b"slow", "br", None))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not encoding.done()
    released.set()
    assert await encoding == b"slow."


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
