"""Objects that are encrypted, beside ``cryptography`` by hand over the same bytes.

By hand is what a handler has without us: chunks of 64 KiB, each with its tag, a
counter in the nonce, blocking reads and writes. It keeps no promise of a storage.
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

from aiohttp import web

from aiostreams import DiskStorage, EncryptedStorage, KiB, MiB, copy, open_stream
from tests.benchmarks.client import get, put
from tests.benchmarks.contestants import FOLDER, aiohttp_app, aiostreams_app
from tests.benchmarks.put_to_disk import removed
from tests.benchmarks.rows import Entry, Peer, Row, at_most

__all__ = ["ROWS"]

_SIZE = 64 * MiB
_CHUNK = 64 * KiB
_KEY = bytes(range(32))


def _plain() -> DiskStorage:
    return DiskStorage(FOLDER, sweep_after=None)


def _encrypted() -> EncryptedStorage:
    return EncryptedStorage(_plain(), {"bench": _KEY})


async def _stored(request: web.Request, storage: Any, key: str) -> web.Response:
    await removed(key)
    async with await storage.create(key) as sink:
        size = await copy(open_stream(request), sink)
    return web.Response(text=str(size))


@aiostreams_app("EncryptedStorage")
async def encrypts(request: web.Request) -> web.Response:
    return await _stored(request, _encrypted(), "encrypted")


@aiostreams_app()
async def stores(request: web.Request) -> web.Response:
    return await _stored(request, _plain(), "not-encrypted")


async def _by_hand(pieces: AsyncIterable[bytes], path: Path) -> int:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(_KEY)
    held = bytearray()
    size = index = 0
    with open(path, "wb") as file:
        async for piece in pieces:
            held += piece
            while len(held) > _CHUNK:
                nonce = struct.pack(">7xIB", index, 0)
                size += file.write(cipher.encrypt(nonce, held[:_CHUNK], None)) - 16
                del held[:_CHUNK]
                index += 1
        nonce = struct.pack(">7xIB", index, 1)
        size += file.write(cipher.encrypt(nonce, held, None)) - 16
    return size


@aiohttp_app("cryptography")
async def encrypts_by_hand(request: web.Request) -> web.Response:
    path = await removed("by-hand")
    size = await _by_hand(request.content.iter_any(), path)
    return web.Response(text=str(size))


@aiostreams_app("EncryptedStorage")
async def decrypts(request: web.Request) -> Any:
    storage = _encrypted()
    if not (FOLDER / "to-decrypt").exists():
        await storage.put("to-decrypt", os.urandom(MiB) * 64)
    return await storage.open("to-decrypt")


@aiostreams_app()
async def reads(request: web.Request) -> Any:
    return await _plain().open("archive/file.bin")


@aiohttp_app("cryptography")
async def decrypts_by_hand(request: web.Request) -> web.StreamResponse:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    path = FOLDER / "to-decrypt-by-hand"
    if not path.exists():

        async def block() -> AsyncIterable[bytes]:
            for _ in range(64):
                yield os.urandom(MiB)

        await _by_hand(block(), path)
    cipher = AESGCM(_KEY)
    count = _SIZE // _CHUNK
    response = web.StreamResponse(headers={"Content-Length": str(_SIZE)})
    await response.prepare(request)
    with open(path, "rb") as file:
        for index in range(count):
            nonce = struct.pack(">7xIB", index, index == count - 1)
            chunk = file.read(_CHUNK + 16)
            await response.write(cipher.decrypt(nonce, chunk, None))
    return response


_PUT = put(lambda: os.urandom(MiB) * 64, answer=str(_SIZE).encode())
_GET = get(length=_SIZE)
_NO_SENDFILE = {"AIOHTTP_NOSENDFILE": "1"}

ROWS = [
    Row(
        "PUT 64 MiB, encrypted to disk",
        18,
        Entry("EncryptedStorage", encrypts, _PUT),
        [
            Peer(Entry("cryptography by hand", encrypts_by_hand, _PUT), at_most(1.5)),
            Peer(Entry("DiskStorage, not encrypted", stores, _PUT), kin=True),
        ],
    ),
    Row(
        "GET 64 MiB, decrypted from disk",
        18,
        Entry("EncryptedStorage", decrypts, _GET),
        [
            Peer(Entry("cryptography by hand", decrypts_by_hand, _GET), at_most(2)),
            Peer(
                Entry("DiskStorage", reads.under(**_NO_SENDFILE), _GET),
                kin=True,
            ),
        ],
    ),
]
