"""ObjectStorage on Azure's API, where npm's azurite is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aiostreams import MiB, ObjectStorage
from aiostreams.testing.storages import PROMISES

from .azurite import azure_store_of, azurite_binary, serving_container

pytest.importorskip("obstore", reason="needs the extra s3")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store with an empty container."""
    azurite = azurite_binary()
    if azurite is None:
        pytest.skip("no `azurite-blob` binary: python -m tests.node azurite")
    with serving_container(azurite, tmp_path_factory.mktemp("azurite")) as port:
        yield azure_store_of(port)


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
async def test_azure_keeps(promise: Any, azure: Any) -> None:
    await promise(lambda: ObjectStorage(azure, "some/prefix", part_size=5 * MiB))
