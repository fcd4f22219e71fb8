"""A ``BodyStats`` to begin from."""

from __future__ import annotations

from typing import Any

from aiostreams.stats import BodyStats

_PLAIN: dict[str, Any] = {
    "method": "GET",
    "route": "/files/{name}",
    "scheme": "http",
    "http_version": "1.1",
    "status": 200,
    "outcome": "ok",
    "error": None,
    "request_body_size": 0,
    "request_decoded_size": 0,
    "request_codings": (),
    "request_parts": 0,
    "request_wait": 0.0,
    "response_body_size": 1000,
    "response_decoded_size": 1000,
    "response_codings": (),
    "response_start": 0.01,
    "duration": 0.02,
}
UPLOAD: dict[str, Any] = {
    "method": "POST",
    "route": "/upload",
    "status": 201,
    "request_body_size": 5000,
    "request_decoded_size": 20000,
    "request_codings": ("gzip",),
    "request_parts": 3,
    "request_wait": 1.5,
    "response_body_size": 80,
    "response_decoded_size": 300,
    "response_codings": ("br",),
    "duration": 2.0,
}
REFUSED: dict[str, Any] = {
    "method": "POST",
    "route": "/upload",
    "status": 413,
    "outcome": "refused",
    "error": "LimitExceeded",
}
FAILED: dict[str, Any] = {"status": 500, "outcome": "failed", "error": "ValueError"}
GONE: dict[str, Any] = {
    "status": None,
    "outcome": "client_gone",
    "error": "ClientGone",
    "response_start": None,
}
UNMATCHED: dict[str, Any] = {"route": None, "status": 404}


def stats(given: dict[str, Any] | None = None, **changes: Any) -> BodyStats:
    """Of a small download, but for ``given`` and ``changes``."""
    return BodyStats(**{**_PLAIN, **(given or {}), **changes})
