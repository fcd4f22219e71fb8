"""Streams that hash what passes through them, and those that verify it.

``HashStream`` computes digests. ``DigestStream`` holds a body to the digest that its
sender declared (RFC 9530), ``SignedStream`` to a signature made with a key that both
sides know (HMAC, RFC 2104).

Small bodies are hashed in place. Of larger ones, pieces are gathered and hashed in a
worker thread, one batch at a time, while the next pieces are read: sha256 of 256 KiB
takes about a fifth of a millisecond on a machine with SHA instructions and more than
one without, and a thread hop a tenth, so batches pay and single pieces do not.

A file that is written is hashed by the thread that writes it (``Hashes``, see
``Draft``): then the bytes go to one processor, once.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import zlib
from typing import TYPE_CHECKING

from aiostreams.errors import InvalidContent, InvalidSignature
from aiostreams.limits import KiB, MiB
from aiostreams.sansio.digest import DIGEST_ALGORITHMS
from aiostreams.streams.threads import ThreadCall
from aiostreams.streams.transforms import Transform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiostreams.streams.base import Stream
    from aiostreams.streams.iterable import BytesLike

__all__ = ["DigestStream", "HashStream", "Hashes", "SignedStream", "hash_whole"]

# Hashed on the loop when the body is no longer than this: about 50 µs.
_IN_PLACE = 32 * KiB
_BATCH = 512 * KiB
# Read ahead of the hash at most this much.
_BACKLOG = 1 * MiB


class Hashes:
    """Several digests of the same bytes.

    Args:
        algorithms: names for ``hashlib.new``, or ``crc32``.

    Raises:
        ValueError: an algorithm is unknown, or has no fixed digest length.
    """

    __slots__ = ("_hashes",)

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {name: _new(name) for name in algorithms}

    def update(self, pieces: Iterable[BytesLike]) -> None:
        """Add bytes. Blocking."""
        for hash_ in self._hashes.values():
            for piece in pieces:
                hash_.update(piece)

    @property
    def digests(self) -> dict[str, str]:
        """Algorithm to hex digest."""
        return {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}


class HashStream(Transform):
    """``source``, with the digests of what has passed.

    Args:
        source: what is read; owned.
        algorithms: names for ``hashlib.new``, or ``crc32``; sha256 when there are none.

    Raises:
        ValueError: an algorithm is unknown, or has no fixed digest length.
    """

    def __init__(self, source: Stream, *algorithms: str) -> None:
        super().__init__(source)
        self._hashes: Hashes = Hashes(algorithms or ("sha256",))
        self._backlog: list[bytes] = []
        self._backlog_size = 0
        self._hashing: ThreadCall[None] | None = None
        self._next: bytes | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Algorithm to hex digest; complete once the end has been read."""
        return self._hashes.digests

    async def readany(self) -> bytes:
        """Return the source's next piece."""
        # A reader cancelled while it waits for the hash comes back for the piece.
        if self._next is None:
            piece = self._next = await self.source.readany()
            if piece:
                self._backlog.append(piece)
                self._backlog_size += len(piece)
        piece = self._next
        if not piece:
            await self._finish()
        elif self._backlog_size >= _BATCH:
            if self._hashing is not None and self._backlog_size >= _BACKLOG:
                await self._settle()
            if self._hashing is None or self._hashing.done:
                await self._settle()
                self._submit()
        self._next = None
        return piece

    async def _finish(self) -> None:
        if self._hashing is None and self._backlog_size <= _IN_PLACE:
            self._hashes.update(self._take_backlog())
            return
        await self._settle()
        if self._backlog:
            self._submit()
            await self._settle()

    def _submit(self) -> None:
        self._hashing = ThreadCall(
            functools.partial(self._hashes.update, self._take_backlog())
        )

    def _take_backlog(self) -> list[bytes]:
        pieces, self._backlog = self._backlog, []
        self._backlog_size = 0
        return pieces

    async def _settle(self) -> None:
        """Wait for the batch under way; a cancelled wait leaves it going."""
        if self._hashing is not None:
            await self._hashing.wait()
            self._hashing.result()
            self._hashing = None

    async def close(self) -> None:
        """Close the source; a batch under way ends by itself, it owns nothing."""
        self._backlog.clear()
        await super().close()


async def hash_whole(data: bytes, algorithms: Sequence[str]) -> dict[str, str]:
    """Return the hex digests of ``data``, as :class:`HashStream` would give them.

    Raises:
        ValueError: an algorithm is unknown, or has no fixed digest length.
    """
    if len(data) > _IN_PLACE:
        job = ThreadCall(lambda: _hash(data, algorithms))
        await job.wait()
        return job.result()
    return _hash(data, algorithms)


def _hash(data: bytes, algorithms: Sequence[str]) -> dict[str, str]:
    hashes = Hashes(algorithms)
    hashes.update((data,))
    return hashes.digests


class _CRC32:
    """A checksum with the interface of a hash; its four bytes are big-endian."""

    digest_size = 4

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: BytesLike) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _new(name: str) -> hashlib._Hash | _CRC32:
    if name == "crc32":
        return _CRC32()
    hash_ = hashlib.new(name)
    if not hash_.digest_size:
        raise ValueError(f"{name} has no fixed digest length")
    return hash_


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
        """Return the source's next piece."""
        piece = await super().readany()
        if not piece:
            digests = self.digests
            for name, expected in self._expected.items():
                found = bytes.fromhex(digests[DIGEST_ALGORITHMS[name]])
                if not hmac.compare_digest(found, expected):
                    raise InvalidContent(f"the {name} digest of the body differs")
        return piece


class _MACs(Hashes):
    """The HMACs of the same bytes, by several keys."""

    def __init__(self, keys: Iterable[bytes], prefix: bytes) -> None:
        self._macs = [hmac.new(key, prefix, "sha256") for key in keys]

    def update(self, pieces: Iterable[BytesLike]) -> None:
        for mac in self._macs:
            for piece in pieces:
                mac.update(piece)

    def match(self, signatures: Iterable[bytes]) -> bool:
        """Return whether one is right; it takes as long whichever that is."""
        right = [
            hmac.compare_digest(mac.digest(), signature)
            for mac in self._macs
            for signature in signatures
        ]
        return any(right)


class SignedStream(HashStream):
    """``source``, verified: its end is only reached when a signature is right.

    The bytes pass before they are verified, as they must; whoever commits does so
    after the end.

    Args:
        source: what was signed; owned.
        keys: one of which has to be the sender's.
        signatures: HMACs with SHA-256, one of which has to be right.
        prefix: what was signed in front of the source's bytes.

    Raises:
        InvalidSignature: by the read that meets the end: none is right.
    """

    def __init__(
        self,
        source: Stream,
        keys: Sequence[bytes],
        signatures: Sequence[bytes],
        *,
        prefix: bytes = b"",
    ) -> None:
        super().__init__(source)
        self._hashes = self._macs = _MACs(keys, prefix)
        self._signatures = tuple(signatures)

    async def readany(self) -> bytes:
        """Return the source's next piece."""
        piece = await super().readany()
        if not piece and not self._macs.match(self._signatures):
            raise InvalidSignature("the signature is not of this body by a known key")
        return piece
