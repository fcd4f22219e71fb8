"""Which codings there are, and what is said of those there are not."""

from __future__ import annotations

import types

import pytest

from aiostreams.codings.registry import make_decoder, make_encoder, supported_codings
from aiostreams.errors import UnsupportedContent
from tests.codings.bodies import missing

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
    monkeypatch.setattr("aiostreams.codings.registry.sys", python)
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
    with pytest.raises(ValueError, match="no content coding 'compress'"):
        make_encoder("compress")
