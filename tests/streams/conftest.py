"""Which codings there are depends on what is installed: tests of others are skipped."""

from __future__ import annotations

import pytest

from aiostreams.codings.registry import supported_codings

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
