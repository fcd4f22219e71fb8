"""A body held to the digest that its sender declared (RFC 9530)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from aiostreams.errors import InvalidContent
from aiostreams.sansio.digest import DIGEST_ALGORITHMS
from aiostreams.streams.hashing import HashStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiostreams.streams.base import Stream

__all__ = ["DigestStream"]


class DigestStream(HashStream):
    """``source``, verified: its end is only reached when every digest is right.

    The bytes pass before they are verified, as they must; whoever commits does so
    after the end (``receive`` does, and so does everybody who reads to the end).

    Args:
        source: the bytes that were digested: for ``Content-Digest`` those on the
            wire, before a content coding is undone; owned.
        expected: digests by algorithm, as ``parse_digest`` gives them.

    Raises:
        ValueError: no digest, or an algorithm that is not known.
        InvalidContent: by the read that meets the end: a digest differs.
    """

    def __init__(self, source: Stream, expected: Mapping[str, bytes]) -> None:
        if not expected:
            raise ValueError("there is no digest to verify")
        unknown = expected.keys() - DIGEST_ALGORITHMS.keys()
        if unknown:
            raise ValueError(f"unknown digest algorithms: {sorted(unknown)}")
        super().__init__(source, *(DIGEST_ALGORITHMS[name] for name in expected))
        self._expected = dict(expected)

    async def readany(self) -> bytes:
        """The source's next piece."""
        piece = await super().readany()
        if not piece:
            digests = self.digests
            for name, expected in self._expected.items():
                found = bytes.fromhex(digests[DIGEST_ALGORITHMS[name]])
                if not hmac.compare_digest(found, expected):
                    raise InvalidContent(f"the {name} digest of the body differs")
        return piece
