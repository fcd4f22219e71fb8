"""Which libraries do the work, what they are asked for, and what is said without."""

from __future__ import annotations

import sys
import types
import zlib
from collections.abc import Iterator

import pytest

from aiostreams.codings import registry as codecs
from aiostreams.codings import zlib_backend
from aiostreams.codings.registry import make_decoder, make_encoder, supported_codings
from aiostreams.codings.zlib_backend import set_zlib_backend
from aiostreams.errors import UnsupportedContent

DATA = b"some text that repeats, some text that repeats\n" * 100


@pytest.fixture(autouse=True)
def fresh_libraries() -> Iterator[None]:
    def forget() -> None:
        codecs._library.cache_clear()
        zlib_backend._best.cache_clear()
        set_zlib_backend(None)

    forget()
    yield
    forget()


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


# -- which zlib --------------------------------------------------------------------


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
    with pytest.raises(TypeError, match="a zlib backend has compressobj"):
        set_zlib_backend(types.SimpleNamespace(decompressobj=zlib.decompressobj))


@pytest.mark.parametrize("module", ["zlib", "zlib_ng.zlib_ng", "isal.isal_zlib"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("level", [None, -1, *range(10)])
def test_every_level_works_on_every_backend(
    module: str, coding: str, level: int | None
) -> None:
    set_zlib_backend(pytest.importorskip(module, reason="needs the extra speedups"))
    encoder = make_encoder(coding, level)
    encoded = encoder.encode(DATA) + encoder.finish()
    assert zlib.decompress(encoded, 47) == DATA


@pytest.mark.parametrize(
    ("coding", "level"),
    [("gzip", 10), ("deflate", -2), ("zstd", 23), ("zstd", -8), ("br", 12), ("br", -1)],
)
def test_level_that_does_not_exist_is_refused(coding: str, level: int) -> None:
    with pytest.raises(ValueError, match=rf"levels -?\d+ to \d+, not {level}"):
        make_encoder(coding, level)


@pytest.mark.parametrize(("coding", "level"), [("zstd", 19), ("zstd", 22), ("br", 11)])
def test_high_levels_stay_within_the_window_that_decoders_take(
    coding: str, level: int
) -> None:
    """RFC 9659: 8 MiB for zstd; our own decoder refuses more."""
    encoder = make_encoder(coding, level)
    assert encoder.inline == 0  # never on the event loop
    decoder = make_decoder(coding)
    decoder.feed(encoder.encode(DATA) + encoder.finish())
    assert decoder.decode(10**6) == DATA
    assert decoder.decode(1) is None
    decoder.finish()


# -- which codings -----------------------------------------------------------------


@pytest.mark.needs_codings("zstd", "br")
def test_supported_codings_in_the_order_of_preference() -> None:
    assert supported_codings() == ("zstd", "br", "gzip", "deflate")


def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch, "compression.zstd", "backports.zstd", "brotli")


def test_supported_codings_without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    without_extras(monkeypatch)
    assert supported_codings() == ("gzip", "deflate")


@pytest.mark.parametrize("coding", ["zstd", "br"])
def test_missing_library_is_415_when_the_client_sent_the_coding(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extras(monkeypatch)
    with pytest.raises(UnsupportedContent, match="needs a library") as caught:
        make_decoder(coding)
    assert caught.value.accept_encoding == "gzip, deflate"


@pytest.mark.parametrize(("coding", "extra"), [("zstd", "zstd"), ("br", "brotli")])
@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 0)])
def test_missing_library_names_the_extra_when_the_application_asks(
    coding: str, extra: str, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one would bring it: from Python 3.14 on zstd comes with Python, or not."""
    without_extras(monkeypatch)
    python = types.SimpleNamespace(version_info=version)
    monkeypatch.setattr("aiostreams.codings.registry.sys", python)
    with pytest.raises(ImportError) as caught:
        make_encoder(coding)
    if coding == "zstd" and version >= (3, 14):
        assert "this Python was built without compression.zstd" in str(caught.value)
    else:
        assert f'pip install "aiostreams[{extra}]"' in str(caught.value)


@pytest.mark.parametrize("version", ["0.9", "1.1.0"])
def test_brotli_that_cannot_bound_its_output_counts_as_missing(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = types.ModuleType("brotli")
    old.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "brotli", old)
    assert "br" not in supported_codings()


@pytest.mark.needs_codings("zstd", "br")
def test_unknown_coding_is_415_from_a_client_and_a_mistake_of_ours() -> None:
    with pytest.raises(UnsupportedContent, match="'compress' is unknown") as caught:
        make_decoder("compress")
    assert caught.value.accept_encoding == "zstd, br, gzip, deflate"
    with pytest.raises(ValueError, match="no content coding 'compress'"):
        make_encoder("compress")
