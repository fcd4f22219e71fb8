"""Signatures of webhooks: what a sender has signed, and by what; three schemes.

* ``github``: ``X-Hub-Signature-256: sha256=<hex>`` of the body alone.
* ``stripe``: ``Stripe-Signature: t=<seconds>,v1=<hex>,v1=<hex>`` of ``<t>.<body>``.
* ``standard`` (Standard Webhooks): ``webhook-signature: v1,<base64> v1,<base64>`` of
  ``<webhook-id>.<webhook-timestamp>.<body>``; keys are base64 behind ``whsec_``.

All of them are HMAC with SHA-256 (RFC 2104). Several signatures in one field come from
senders that change their key: one that is right is enough. Versions that are not known
are passed over, as the schemes want it.

A file of its own, though only ``wrap_body`` needs it: it is pure, and the schemes are
other people's.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from aiostreams.errors import InvalidSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "SIGNATURE_SCHEMES",
    "SignatureScheme",
    "Signed",
    "read_signed",
    "signing_key",
]

SignatureScheme: TypeAlias = Literal["github", "stripe", "standard"]

_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with


@dataclass(frozen=True, slots=True)
class Signed:
    """What the header section says of a signature.

    Attributes:
        prefix: what was signed in front of the body.
        signatures: those that were given, one of which has to be right.
        timestamp: when it was signed, in POSIX seconds, if that is signed as well.
    """

    prefix: bytes
    signatures: tuple[bytes, ...]
    timestamp: int | None = None


def read_signed(
    scheme: SignatureScheme,
    headers: Mapping[str, str],
    *,
    now: float,
    tolerance: float | None,
) -> Signed:
    """Read the signature from ``headers``.

    Args:
        scheme: one of ``SIGNATURE_SCHEMES``.
        headers: of the request; names in any case.
        now: POSIX seconds.
        tolerance: by how many seconds the timestamp may be off; any if ``None``.

    Raises:
        InvalidSignature: a field is missing, or cannot be read, or the timestamp is
            too far off.
    """
    signed = _SCHEMES[scheme](headers)
    if signed.timestamp is not None and tolerance is not None:
        off = abs(now - signed.timestamp)
        if off > tolerance:
            raise InvalidSignature(
                f"the time of the signature differs by {off:.0f} seconds, limit "
                f"{tolerance:g}"
            )
    return signed


def signing_key(scheme: SignatureScheme, key: str | bytes) -> bytes:
    """Return the bytes of ``key``, as the scheme writes it.

    Raises:
        ValueError: it is empty, or not base64 where it should be.
    """
    if isinstance(key, str):
        if scheme == "standard":
            try:
                key = base64.b64decode(key.removeprefix(_SECRET_PREFIX), validate=True)
            except binascii.Error as error:
                raise ValueError("the key is not base64 after 'whsec_'") from error
        else:
            key = key.encode()
    if not key:
        raise ValueError("the key is empty, so everybody could sign with it")
    return key


def _field(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise InvalidSignature(f"the request has no {name}")
    return value.strip()


def _seconds(name: str, value: str | None) -> int:
    if value is None or not _SECONDS.fullmatch(value):
        raise InvalidSignature(f"{name} has no timestamp in seconds")
    return int(value)


def _some(name: str, signatures: list[bytes]) -> tuple[bytes, ...]:
    if not signatures:
        raise InvalidSignature(f"{name} has no signature that is known here")
    return tuple(signatures)


def _github(headers: Mapping[str, str]) -> Signed:
    name = "X-Hub-Signature-256"
    value = _field(headers, name).removeprefix("sha256=")
    found = [bytes.fromhex(value)] if _HEX.fullmatch(value) else []
    return Signed(b"", _some(name, found))


def _stripe(headers: Mapping[str, str]) -> Signed:
    name = "Stripe-Signature"
    timestamp: str | None = None
    found: list[bytes] = []
    for item in _field(headers, name).split(","):
        key, _, value = item.strip().partition("=")
        if key == "t":
            timestamp = value
        elif key == "v1" and _HEX.fullmatch(value):
            found.append(bytes.fromhex(value))
    seconds = _seconds(name, timestamp)
    return Signed(f"{timestamp}.".encode(), _some(name, found), seconds)


def _standard(headers: Mapping[str, str]) -> Signed:
    name = "webhook-signature"
    found: list[bytes] = []
    for item in _field(headers, name).split(" "):
        version, _, value = item.partition(",")
        if version == "v1":
            try:
                found.append(base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError):
                continue  # not ASCII, or not base64: not right either
    identity = _field(headers, "webhook-id")
    timestamp = _field(headers, "webhook-timestamp")
    seconds = _seconds("webhook-timestamp", timestamp)
    prefix = f"{identity}.{timestamp}.".encode("utf-8", "surrogateescape")
    return Signed(prefix, _some(name, found), seconds)


_SCHEMES: Final[dict[str, Callable[[Mapping[str, str]], Signed]]] = {
    "github": _github,
    "stripe": _stripe,
    "standard": _standard,
}
SIGNATURE_SCHEMES: Final = tuple(_SCHEMES)
