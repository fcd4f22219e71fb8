"""Signatures of Amazon's version 4, for requests to S3 without a body.

A file of its own: it is pure, and held to Amazon's published examples; who sends the
request is elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Keys", "query_string", "signed_fields"]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_EMPTY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with.

    Attributes:
        access_key_id: public.
        secret_access_key: secret.
        session_token: sent along, if the keys are temporary.
        region: of the bucket.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.access_key_id}>"


def query_string(query: Mapping[str, str]) -> str:
    """Return a query as it is signed, and has to be sent."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(query.items())
    )


def signed_fields(
    keys: Keys,
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    now: datetime,
) -> dict[str, str]:
    """Return the header fields of a request, with its signature.

    Args:
        keys: to sign with.
        method: of the request.
        host: its ``Host``.
        path: percent-encoded, as it is sent.
        query: what ``query_string`` makes is sent.
        now: in UTC.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    fields = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if keys.session_token is not None:
        fields["x-amz-security-token"] = keys.session_token
    names = ";".join(fields)
    lines = "".join(f"{name}:{value}\n" for name, value in fields.items())
    request = "\n".join((method, path, query_string(query), lines, names, _EMPTY))
    scope = f"{stamp[:8]}/{keys.region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{keys.secret_access_key}".encode()
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    fields["authorization"] = (
        f"{_ALGORITHM} Credential={keys.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return fields
