"""What a measurement was made on and with: the machine, the versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "commit", "machine", "versions"]

ROOT = Path(__file__).parents[2]
_LIBRARIES = (
    "aiohttp",
    "aiohttp-tus",
    "tuspyserver",
    "starlette",
    "uvicorn",
    "httptools",
    "multipart",
    "python-multipart",
    "starlette-compress",
    "msgspec",
    "isal",
    "zlib-ng",
    "brotli",
    "backports.zstd",
)


def versions() -> dict[str, str]:
    """Of Python and of the libraries; ``-`` for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def machine() -> dict[str, Any]:
    """What it is, and how many processes wanted to run in the last minute."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _memory() -> int | None:
    """In bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def commit() -> str | None:
    """The commit that was measured, with a ``+`` if the package differs from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", "aiostreams")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str:
    ran = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()
