"""Which zlib does the work."""

from __future__ import annotations

import types
import zlib

import pytest

from aiostreams.codings import zlib_backend
from aiostreams.codings.registry import make_decoder, make_encoder
from aiostreams.codings.zlib_backend import set_zlib_backend
from tests.codings.bodies import missing

pytestmark = pytest.mark.usefixtures("fresh_libraries")
DATA = b"some text that repeats, some text that repeats\n" * 100


def test_zlib_backend_is_the_fastest_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("isal", reason="needs the extra speedups")
    pytest.importorskip("zlib_ng", reason="needs the extra speedups")
    assert zlib_backend.zlib_backend().name == "isal.isal_zlib"
    missing(monkeypatch, "isal", "isal.isal_zlib")
    zlib_backend._best.cache_clear()
    assert zlib_backend.zlib_backend().name == "zlib_ng.zlib_ng"
    missing(monkeypatch, "zlib_ng", "zlib_ng.zlib_ng")
    zlib_backend._best.cache_clear()
    assert zlib_backend.zlib_backend().module is zlib


def test_zlib_backend_is_the_chosen_one() -> None:
    set_zlib_backend(zlib)
    assert zlib_backend.zlib_backend().module is zlib
    set_zlib_backend(None)
    assert zlib_backend.zlib_backend().module is zlib_backend._best()


def test_zlib_backend_may_have_the_least_interface() -> None:
    """As aiohttp's protocol has it: no crc32, no error class, no constants."""
    least = types.SimpleNamespace(
        compressobj=zlib.compressobj, decompressobj=zlib.decompressobj
    )
    set_zlib_backend(least)
    encoder = make_encoder("gzip")
    encoded = encoder.encode(DATA) + encoder.flush() + encoder.finish()
    assert zlib.decompress(encoded, 31) == DATA
    decoder = make_decoder("gzip")
    decoder.feed(encoded)
    assert decoder.decode(10**6) == DATA


def test_zlib_backend_that_cannot_work_is_refused() -> None:
    with pytest.raises(TypeError, match="is not a zlib backend: it has no compressobj"):
        set_zlib_backend(types.SimpleNamespace(decompressobj=zlib.decompressobj))
