"""Which codings there are, and what is said of those there are not."""

from __future__ import annotations

import bz2
import types
from typing import Any

import pytest

from aiostreams import (
    ByteStream,
    DecodedStream,
    EncodedStream,
    Limits,
    Stream,
    UnsupportedContent,
)
from aiostreams.codings import Encoder, register_coding
from aiostreams.codings.registry import (
    coding_aliases,
    find_coding,
    known_codings,
    make_decoder,
    make_encoder,
    supported_codings,
)
from aiostreams.testing import DripStream
from aiostreams.testing.laws import LAWS
from tests.codings.bodies import missing
from tests.codings.gzips import PAYLOAD
from tests.codings.own import (
    Bz2Encoder,
    XzEncoder,
    new_decoder,
    new_xz_decoder,
    own_codings,
)

pytestmark = pytest.mark.usefixtures("fresh_libraries")


@pytest.mark.parametrize(
    ("coding", "level"),
    [("gzip", 10), ("deflate", -2), ("zstd", 23), ("zstd", -8), ("br", 12), ("br", -1)],
)
def test_level_that_does_not_exist_is_refused(coding: str, level: int) -> None:
    with pytest.raises(ValueError, match=rf"levels -?\d+ to \d+, not {level}"):
        make_encoder(coding, level)


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
    monkeypatch.setattr("aiostreams.codings.zstd_brotli.sys", python)
    with pytest.raises(ImportError) as caught:
        make_encoder(coding)
    if coding == "zstd" and version >= (3, 14):
        assert "this Python was built without compression.zstd" in str(caught.value)
    else:
        assert f'pip install "aiostreams[{extra}]"' in str(caught.value)


@pytest.mark.needs_codings("zstd", "br")
def test_unknown_coding_is_415_from_a_client_and_a_mistake_of_ours() -> None:
    with pytest.raises(UnsupportedContent, match="'compress' is unknown") as caught:
        make_decoder("compress")
    assert caught.value.accept_encoding == "zstd, br, gzip, deflate"
    with pytest.raises(
        ValueError,
        match="unknown content coding 'compress'; expected one of zstd, br, gzip, deflate",
    ):
        make_encoder("compress")


# -- a coding of one's own ---------------------------------------------------------


def test_an_own_coding_stands_behind_the_others(own_coding: str) -> None:
    assert supported_codings()[-1] == own_coding
    assert known_codings() == ("zstd", "br", "gzip", "deflate", own_coding)
    assert coding_aliases() == {"x-gzip": "gzip", "x-bzip2": own_coding}
    found = find_coding("x-bzip2")
    assert found is not None
    assert found is find_coding(own_coding)
    assert (found.levels, found.default_level, found.extension) == ((1, 9), 9, ".bz2")


def test_an_own_coding_is_read_and_written(own_coding: str) -> None:
    encoder = make_encoder(own_coding)
    body = encoder.encode(PAYLOAD) + encoder.flush() + encoder.encode(b"more")
    body += encoder.finish()
    assert bz2.decompress(body) == PAYLOAD + b"more"
    decoder = make_decoder(own_coding)
    decoder.feed(body)
    assert decoder.decode(10**6) == PAYLOAD
    assert decoder.decode(10**6) == b"more"
    assert decoder.decode(10**6) is None
    decoder.finish()


def test_levels_of_an_own_coding_are_kept(own_coding: str) -> None:
    levels: list[int] = []

    def encoder(level: int) -> Encoder:
        levels.append(level)
        return Bz2Encoder(level)

    register_bz2_as("x-other", encoder=encoder, default_level=3)
    for level in (None, 1, 9):
        make_encoder("x-other", level)
    assert levels == [3, 1, 9]
    for level in (0, 10):
        with pytest.raises(ValueError, match=f"levels 1 to 9, not {level}"):
            make_encoder("x-other", level)
    register_coding("x-none", encoder=encoder, decoder=new_decoder)
    make_encoder("x-none")
    with pytest.raises(ValueError, match="x-none has levels 0 to 0, not 1"):
        make_encoder("x-none", 1)
    assert levels == [3, 1, 9, 0]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("", {}, "the name '' of a coding is not a token"),
        ("bz 2", {}, "the name 'bz 2' of a coding is not a token"),
        ("bz2,gzip", {}, "is not a token"),
        ("bz2\n", {}, "is not a token"),
        ("bz\u00b2", {}, "is not a token"),
        ("\u212a", {}, "is not a token"),
        ("gzip", {}, "the name 'gzip' of a coding is taken"),
        ("GZip", {}, "the name 'gzip' of a coding is taken"),
        ("x-gzip", {}, "the name 'x-gzip' of a coding is taken"),
        ("x-bz2", {}, "the name 'x-bz2' of a coding is taken"),
        ("x-bzip2", {}, "the name 'x-bzip2' of a coding is taken"),
        ("identity", {}, "the name 'identity' of a coding is taken"),
        ("*", {}, r"the name '\*' of a coding is taken"),
        ("new", {"aliases": ["a", "x y"]}, "the name 'x y' of a coding is not a token"),
        ("new", {"aliases": ["BR"]}, "the name 'br' of a coding is taken"),
        ("new", {"aliases": ["New"]}, "the name 'new' of a coding is taken"),
        ("new", {"levels": (3, 1)}, "levels of new: 3 is more than 1"),
        ("new", {"default_level": 0}, "new has levels 1 to 9, not 0"),
        ("new", {"static_level": 10}, "new has levels 1 to 9, not 10"),
        ("new", {"extension": "new"}, "extension 'new' of new is not a dot and a word"),
        ("new", {"extension": "."}, "extension '.' of new is not a dot and a word"),
        ("new", {"extension": "./x"}, "extension './x' of new is not a dot and a word"),
        ("new", {"extension": ".a\0"}, "is not a dot and a word"),
        ("new", {"extension": ".gz"}, "the extension '.gz' of new is taken"),
        ("new", {"extension": ".bz2"}, "the extension '.bz2' of new is taken"),
    ],
)
def test_an_own_coding_that_cannot_be_is_refused_and_changes_nothing(
    own_coding: str, name: str, changes: dict[str, Any], message: str
) -> None:
    before = known_codings(), dict(coding_aliases())
    with pytest.raises(ValueError, match=message):
        register_bz2_as(name, **changes)
    assert (known_codings(), dict(coding_aliases())) == before


def register_bz2_as(name: str, **changes: Any) -> None:
    given: dict[str, Any] = {
        "encoder": Bz2Encoder, "decoder": new_decoder, "levels": (1, 9),
        "default_level": 9,
    }  # fmt: skip
    register_coding(name, **(given | changes))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_an_own_coding_keeps_the_laws(law: Any) -> None:
    """xz, since bzip2 takes many seconds for what the laws send through it."""
    limits = Limits(max_ratio=10**9)

    def there_and_back(source: Stream) -> Stream:
        return DecodedStream(EncodedStream(source, "x-xz"), "x-xz", limits=limits)

    with own_codings():
        register_coding("x-xz", encoder=XzEncoder, decoder=new_xz_decoder)
        await law(there_and_back)


@pytest.mark.parametrize("coding", ["x-bz2", "X-BZip2", "gzip, x-bz2", "x-bz2, gzip"])
async def test_an_own_coding_is_one_of_several(coding: str, own_coding: str) -> None:
    body = await EncodedStream(ByteStream(PAYLOAD), coding).read()
    for cut in (1, 7, 10**9):
        source = DripStream(body, cut, turns=0)
        assert await DecodedStream(source, coding).read() == PAYLOAD
