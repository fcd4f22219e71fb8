"""The middlewares of the guide, each with an upload of 64 MiB in constant memory."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aiostreams import KiB, MiB
from tests.docs.page import ROOT, Page
from tests.servers import CHUNKED, chunk, connected, post, serving

ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")

PIECE = os.urandom(256 * KiB)
PIECES = 256
SIZE = len(PIECE) * PIECES
SHA256 = hashlib.sha256(PIECE * PIECES).hexdigest()
# Beside the server's own there are the client's pieces, and the test's.
PEAK = 12 * MiB
MIDDLEWARES = ["decrypted", "signed", "audited", "throttled", "within_quota"]


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program on the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setenv("OLD_SECRET", "quiet")
    Path("key").write_text("11" * 32)
    Path("app.py").write_text(Page(ROOT / "docs/guides/middlewares.md").files["app.py"])
    spec = importlib.util.spec_from_file_location("guide_of_middlewares", "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def sent(name: str) -> tuple[list[tuple[str, str]], Iterator[bytes]]:
    """The header fields of an upload, and its pieces."""
    if name == "signed":
        mac = hmac.new(b"quiet", digestmod="sha256")
        for _ in range(PIECES):
            mac.update(PIECE)
        return [("X-Hub-Signature-256", f"sha256={mac.hexdigest()}")], plain()
    return [], sealed() if name == "decrypted" else plain()


def plain() -> Iterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


def sealed() -> Iterator[bytes]:
    nonce = os.urandom(12)
    cipher = ciphers.Cipher(
        ciphers.algorithms.AES(bytes.fromhex("11" * 32)), ciphers.modes.GCM(nonce)
    )
    encryptor = cipher.encryptor()
    yield nonce
    for _ in range(PIECES):
        yield encryptor.update(PIECE)
    encryptor.finalize()
    yield encryptor.tag


@pytest.mark.parametrize("name", MIDDLEWARES)
async def test_64_mib_pass_in_constant_memory(name: str, guide: Any) -> None:
    guide.RATE = 1024 * MiB
    fields, pieces = sent(name)
    async with serving(guide.app) as address, connected(address) as raw:
        await raw.send(
            post(path=f"/{name}/file", method="PUT", headers=[*CHUNKED, *fields])
        )
        tracemalloc.start()
        for piece in pieces:
            raw.writer.write(chunk(piece))
            await raw.writer.drain()
        raw.writer.write(chunk(b""))
        status, _, body = await raw.response()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert status == 200
    assert json.loads(body) == {"size": SIZE, "sha256": SHA256}
    assert peak < PEAK
    stored = list(Path("uploads").rglob("*"))
    assert [path.stat().st_size for path in stored if path.is_file()] == [SIZE]
    if name == "audited":
        (copy,) = Path().glob("audit-*")
        with copy.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    if name == "within_quota":
        assert dict(guide.used) == {"nobody": SIZE}


@pytest.mark.parametrize(
    ("name", "status"), [("decrypted", 422), ("signed", 403), ("within_quota", 413)]
)
async def test_what_is_refused_leaves_nothing(
    name: str, status: int, guide: Any
) -> None:
    guide.QUOTA = 1 * MiB
    wrong = [("X-Hub-Signature-256", f"sha256={'0' * 64}")]
    async with serving(guide.app) as address, connected(address) as raw:
        head = post(path=f"/{name}/file", method="PUT", headers=[*CHUNKED, *wrong])
        await raw.send(head, *(chunk(PIECE) for _ in range(5)), chunk(b""))
        assert (await raw.response())[0] == status
    assert [path for path in Path("uploads").rglob("*") if path.is_file()] == []
    assert not guide.used["nobody"]


async def test_a_copy_of_what_failed_is_not_kept(guide: Any) -> None:
    async with serving(guide.app) as address:
        async with connected(address) as raw:
            head = post(path="/audited/file", method="PUT", headers=CHUNKED)
            await raw.send(head, chunk(PIECE))
            raw.reset()
        async with connected(address) as raw:
            bad = ("Content-Type", "multipart/mixed; boundary=x")
            sent_ = post(PIECE, path="/audited/file", method="PUT", headers=[bad])
            await raw.send(sent_)
            assert (await raw.response())[0] == 415
    assert list(Path().glob("audit-*")) == []
