"""Make a virtual environment with pip, also where Python comes without ensurepip.

Debian has ensurepip in a package of its own, python3-venv. On a machine without it,
pip's wheel is fetched from the package index (``PIP_INDEX_URL`` and ``PIP_CERT``
count here as they do for pip), checked against the hash that the index states, and
installs itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path

HELP = "No pip for {}: {}. On Debian: apt-get install python3-venv ca-certificates"


def main(folder: Path) -> None:
    """Make ``folder`` anew; leave nothing of it when that fails."""
    try:
        with_pip = importlib.util.find_spec("ensurepip") is not None
        # Links, as `python -m venv` makes them: a copy does not find its libraries.
        venv.create(folder, clear=True, symlinks=os.name != "nt", with_pip=with_pip)
        if not with_pip:
            install_pip(folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | LookupError | subprocess.SubprocessError):
            sys.exit(HELP.format(folder, error))
        raise


def install_pip(folder: Path) -> None:
    """Fetch the newest pip, and have it install itself."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
    page = index.rstrip("/") + "/pip/"
    wheels = re.findall(
        r'href="([^"#]*/pip-([\d.]+)-py3-none-any\.whl)#sha256=(\w+)"',
        fetch(page).decode(),
    )
    if not wheels:
        raise LookupError(f"{page} lists no wheel of it")
    link, _, digest = max(wheels, key=lambda wheel: [*map(int, wheel[1].split("."))])
    data = fetch(urllib.parse.urljoin(page, link))
    if hashlib.sha256(data).hexdigest() != digest:
        raise LookupError(f"{link} is not what {page} says")
    with tempfile.TemporaryDirectory() as temporary:
        wheel = Path(temporary, link.rpartition("/")[2])
        wheel.write_bytes(data)
        subprocess.run(  # noqa: S603 - our own Python, and a wheel that was checked
            [folder / "bin/python", wheel / "pip", "install", "--quiet", wheel],
            check=True,
        )


def fetch(url: str) -> bytes:
    """Fetch the body at ``url``."""
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    with urllib.request.urlopen(url, timeout=60, context=context) as response:  # noqa: S310 - the index is the user's choice
        data: bytes = response.read()
    return data


if __name__ == "__main__":
    main(Path(sys.argv[1]))
