"""Signatures of webhooks, by the values that their senders publish."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest
from multidict import CIMultiDict

from aiostreams import InvalidSignature
from aiostreams.sansio.webhooks import (
    SIGNATURE_SCHEMES,
    Signed,
    read_signed,
    signing_key,
)

NOW = 1614265330
HEX = "ab" * 32
B64 = base64.b64encode(bytes.fromhex(HEX)).decode()


def read(scheme: Any, *headers: tuple[str, str], **kwargs: Any) -> Signed:
    return read_signed(
        scheme, CIMultiDict(headers), **{"now": NOW, "tolerance": 300.0, **kwargs}
    )


def right(signed: Signed, key: bytes, body: bytes) -> bool:
    return hmac.digest(key, signed.prefix + body, "sha256") in signed.signatures


def test_the_example_of_githubs_documentation() -> None:
    given = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    signed = read("github", ("X-Hub-Signature-256", f"sha256={given}"))
    key = signing_key("github", "It's a Secret to Everybody")
    assert right(signed, key, b"Hello, World!")
    assert not right(signed, key, b"Hello, world!")
    assert signed.timestamp is None


def test_the_example_of_standard_webhooks() -> None:
    signed = read(
        "standard",
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", str(NOW)),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    )
    body = b'{"test": 2432232314}'
    for written in (
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ):
        assert right(signed, signing_key("standard", written), body)
    assert signed.timestamp == NOW


def test_a_signature_of_stripe() -> None:
    """As its libraries make one: hex of the time, a dot and the body."""
    key = signing_key("stripe", "whsec_test_secret")
    assert key == b"whsec_test_secret"
    given = hmac.digest(key, b"1614265330.{}", "sha256").hex()
    signed = read("stripe", ("Stripe-Signature", f"t={NOW},v1={given},v0={HEX}"))
    assert right(signed, key, b"{}")
    assert (len(signed.signatures), signed.timestamp) == (1, NOW)


def test_several_signatures_while_a_key_changes() -> None:
    signed = read("stripe", ("Stripe-Signature", f"t={NOW}, v1={'0' * 64}, v1={HEX}"))
    assert signed.signatures == (bytes(32), bytes.fromhex(HEX))
    signed = read(
        "standard",
        ("Webhook-Id", "a"),
        ("Webhook-Timestamp", str(NOW)),
        ("Webhook-Signature", f"v1a,xxxx v1,{B64} v2,{B64} v1,?? v1,\xff v1,AA=="),
    )
    assert signed.signatures == (bytes.fromhex(HEX), b"\0")


@pytest.mark.parametrize(
    ("scheme", "headers", "said"),
    [
        ("github", [], "has no X-Hub-Signature-256"),
        ("github", [("X-Hub-Signature-256", "")], "no signature that is known"),
        ("github", [("X-Hub-Signature-256", "sha256=ab")], "no signature that is"),
        ("github", [("X-Hub-Signature-256", f"sha1={'a' * 40}")], "no signature"),
        ("github", [("X-Hub-Signature-256", f"sha256={'g' * 64}")], "no signature"),
        ("stripe", [], "has no Stripe-Signature"),
        ("stripe", [("Stripe-Signature", f"v1={HEX}")], "no timestamp"),
        ("stripe", [("Stripe-Signature", f"t=,v1={HEX}")], "no timestamp"),
        ("stripe", [("Stripe-Signature", f"t=-1,v1={HEX}")], "no timestamp"),
        ("stripe", [("Stripe-Signature", f"t={'9' * 5000},v1={HEX}")], "no timestamp"),
        ("stripe", [("Stripe-Signature", f"t={NOW}")], "no signature"),
        ("stripe", [("Stripe-Signature", f"t={NOW},v0={HEX}")], "no signature"),
        ("standard", [], "has no webhook-signature"),
        ("standard", [("webhook-signature", f"v1,{B64}")], "has no webhook-id"),
        (
            "standard",
            [("webhook-signature", f"v1,{B64}"), ("webhook-id", "a")],
            "has no webhook-timestamp",
        ),
        (
            "standard",
            [
                ("webhook-signature", f"v1,{B64}"),
                ("webhook-id", "a"),
                ("webhook-timestamp", "today"),
            ],
            "no timestamp",
        ),
        (
            "standard",
            [
                ("webhook-signature", B64),
                ("webhook-id", "a"),
                ("webhook-timestamp", str(NOW)),
            ],
            "no signature",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(
    scheme: Any, headers: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(InvalidSignature, match=said) as caught:
        read(scheme, *headers)
    assert caught.value.status == 403


@pytest.mark.parametrize("off", [301, -301])
def test_a_timestamp_that_is_too_far_off(off: int) -> None:
    header = ("Stripe-Signature", f"t={NOW},v1={HEX}")
    with pytest.raises(InvalidSignature, match="differs by 301 seconds, limit 300"):
        read("stripe", header, now=NOW + off)
    assert read("stripe", header, now=NOW + off, tolerance=None).timestamp == NOW
    assert read("stripe", header, now=NOW + off, tolerance=301).timestamp == NOW


@pytest.mark.parametrize("scheme", SIGNATURE_SCHEMES)
def test_keys(scheme: Any) -> None:
    assert signing_key(scheme, b"as it is") == b"as it is"
    with pytest.raises(ValueError, match="the key is empty"):
        signing_key(scheme, "")
    with pytest.raises(ValueError, match="the key is empty"):
        signing_key(scheme, b"")
    if scheme == "standard":
        with pytest.raises(ValueError, match="not base64") as caught:
            signing_key(scheme, "whsec_secret!")
        assert "secret!" not in str(caught.value)
