"""Which codings there are depends on what is installed: tests of others are skipped.

And fixtures by which a test has other libraries than those.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aiostreams.codings import zlib_backend, zstd_brotli
from aiostreams.codings.registry import supported_codings
from aiostreams.codings.zlib_backend import set_zlib_backend
from tests.codings.own import own_codings, register_bz2

EXTRAS = {"br": "brotli", "zstd": "zstd"}


def missing_extras(codings: str) -> list[str]:
    """The extras that would be needed for a list of codings, and are not there."""
    names = {name.strip().lower() for name in codings.split(",")}
    missing = names - set(supported_codings())
    return [extra for coding, extra in EXTRAS.items() if coding in missing]


@pytest.fixture(autouse=True)
def coding_can_be_tested(request: pytest.FixtureRequest) -> None:
    """Skip what is about a coding whose library is not installed.

    Which one that is, its parameter tells; a test without one that needs some library
    says so by ``needs_codings``.
    """
    callspec = getattr(request.node, "callspec", None)
    parameters = [] if callspec is None else callspec.params.values()
    codings = [value for value in parameters if isinstance(value, str)]
    marker = request.node.get_closest_marker("needs_codings")
    if marker is not None:
        codings += marker.args
    for extra in missing_extras(", ".join(codings)):
        pytest.skip(f"needs the extra {extra}")


@pytest.fixture(autouse=True, params=[None])
def backend(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The best zlib, or for ``on_all_backends`` each of them."""
    name = request.param
    set_zlib_backend(
        None
        if name is None
        else pytest.importorskip(name, reason="needs the extra speedups")
    )
    yield name
    set_zlib_backend(None)


@pytest.fixture
def fresh_libraries() -> Iterator[None]:
    """Libraries are looked for anew, in the test and after it."""

    def forget() -> None:
        zstd_brotli._zstd.cache_clear()
        zstd_brotli._brotli.cache_clear()
        zlib_backend._best.cache_clear()
        set_zlib_backend(None)

    forget()
    yield
    forget()


@pytest.fixture
def own_coding() -> Iterator[str]:
    """The name of a coding that is not built in."""
    with own_codings():
        register_bz2()
        yield "x-bz2"
