"""Azure's API for the tests: npm's azurite, on 127.0.0.1 alone."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hmac
import http.client
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.node import FOLDER

from .seaweed import free_ports

# The account that azurite is documented to have; it is known to everybody.
ACCOUNT = "devstoreaccount1"
KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw=="
)


def azurite_binary() -> str | None:
    installed = FOLDER / "node_modules" / ".bin" / "azurite-blob"
    return str(installed) if installed.exists() else shutil.which("azurite-blob")


@contextlib.contextmanager
def serving_container(azurite: str, folder: Path) -> Iterator[int]:
    """The port of a server with an empty container ``box``."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        [azurite, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort",
         str(port), "--skipApiVersionCheck", "--disableTelemetry", "--silent"],
        cwd=folder,
    )  # fmt: skip
    try:
        _create_container(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def azure_store_of(port: int) -> Any:
    """The container by the library under test."""
    from obstore.store import AzureStore

    return AzureStore(
        container_name="box",
        account_name=ACCOUNT,
        account_key=KEY,
        endpoint=f"http://127.0.0.1:{port}/{ACCOUNT}",
        client_options={"allow_http": True},
    )


def _create_container(port: int) -> None:
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
