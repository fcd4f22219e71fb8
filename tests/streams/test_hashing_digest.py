"""RFC 9530: a body is whole only when its digest is right."""

from __future__ import annotations

import hashlib

import pytest

from aiostreams import ByteStream, InvalidContent, Stream
from aiostreams.sansio.digest import parse_digest
from aiostreams.streams.hashing import DigestStream
from aiostreams.testing import DripStream
from aiostreams.testing.laws import LAWS, SAMPLE
from tests.digests import digest_of

BODY = b"hello world\n" * 100_000


def digest(data: bytes, *names: str) -> dict[str, bytes]:
    return parse_digest(digest_of(data, names or ("sha-256",)))


@pytest.mark.parametrize("names", [("sha-256",), ("sha-512",), ("sha-512", "sha-256")])
@pytest.mark.parametrize("data", [b"", b"x", BODY])
async def test_right_digest_lets_the_body_end(
    names: tuple[str, ...], data: bytes
) -> None:
    stream = DigestStream(ByteStream(data, content_type="a/b"), digest(data, *names))
    assert stream.size == len(data)
    assert stream.content_type == "a/b"
    assert await stream.read() == data
    assert await stream.readany() == b""


@pytest.mark.parametrize("data", [b"", b"x", BODY])
async def test_wrong_digest_fails_at_the_end_and_stays_so(data: bytes) -> None:
    expected = digest(data, "sha-256") | {"sha-512": hashlib.sha512(b"other").digest()}
    stream = DigestStream(DripStream(data, 100_000, turns=0), expected)
    got = b""
    for _ in range(2):
        with pytest.raises(
            InvalidContent, match="the sha-512 digest of the body differs"
        ):
            while piece := await stream.readany():
                got += piece
    assert got == data


async def test_close_before_the_end_verifies_nothing() -> None:
    async with DigestStream(ByteStream(BODY), digest(b"other")) as stream:
        assert await stream.read(5) == b"hello"


def test_expectations_that_cannot_be_met_are_mistakes() -> None:
    with pytest.raises(ValueError, match="no digest to verify"):
        DigestStream(ByteStream(), {})
    with pytest.raises(ValueError, match=r"unknown digest algorithms: \['md5'\]"):
        DigestStream(ByteStream(), {"md5": b"", "sha-256": bytes(32)})


class Expecting(DigestStream):
    """Verifies whatever the laws put through it."""

    def __init__(self, source: Stream, data: bytes) -> None:
        super().__init__(source, digest(data))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_laws(law: object) -> None:
    await law(lambda: Expecting(DripStream(SAMPLE, 7), SAMPLE))  # type: ignore[operator]
