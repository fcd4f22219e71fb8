"""ObjectStorage on Azure's API, where npm's azurite is installed."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import http.client
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aiostreams import ObjectStorage
from aiostreams.limits import MiB
from aiostreams.testing.storages import PROMISES

from .seaweed import free_ports

pytest.importorskip("obstore", reason="needs the extra s3")

from obstore.store import AzureStore

# The account that azurite is documented to have; it is known to everybody.
ACCOUNT = "devstoreaccount1"
KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store with an empty container."""
    azurite = shutil.which("azurite-blob")
    if azurite is None:
        pytest.skip("no `azurite-blob` binary: npm install -g azurite")
    folder = tmp_path_factory.mktemp("azurite")
    [port] = free_ports(1)
    process = subprocess.Popen(
        [azurite, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort",
         str(port), "--skipApiVersionCheck", "--disableTelemetry", "--silent"],
        cwd=folder,
    )  # fmt: skip
    try:
        create_container(port)
        yield AzureStore(
            container_name="box",
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=f"http://127.0.0.1:{port}/{ACCOUNT}",
            client_options={"allow_http": True},
        )
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def create_container(port: int) -> None:
    now = dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    fields = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    path = f"/{ACCOUNT}/box"
    text = "\n".join([
        "PUT", *[""] * 11, *(f"{k}:{v}" for k, v in fields.items()),
        f"/{ACCOUNT}{path}", "restype:container",
    ])  # fmt: skip
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")
    fields["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    until = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("PUT", f"{path}?restype=container", headers=fields)
            assert connection.getresponse().status == 201
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
async def test_azure_keeps(promise: Any, azure: Any) -> None:
    await promise(lambda: ObjectStorage(azure, "some/prefix", part_size=5 * MiB))
