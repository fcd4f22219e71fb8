"""Signatures, by the examples in Amazon's "Signature Calculations for the
Authorization Header"."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aiostreams.sansio.sigv4 import Keys, query_string, signed_fields

KEYS = Keys(
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # gitleaks:allow - Amazon's example
    None,
    "us-east-1",
)
NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        (
            {"lifecycle": ""},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            {"prefix": "J", "max-keys": "2"},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_signed_fields(query: dict[str, str], signature: str) -> None:
    fields = signed_fields(KEYS, "GET", HOST, "/", query, NOW)
    assert fields["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
        "aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        f"Signature={signature}"
    )


def test_signed_fields_of_temporary_keys() -> None:
    keys = Keys(KEYS.access_key_id, KEYS.secret_access_key, "token", KEYS.region)
    fields = signed_fields(keys, "GET", HOST, "/", {}, NOW)
    assert fields["x-amz-security-token"] == "token"
    assert "x-amz-date;x-amz-security-token," in fields["authorization"]


def test_query_string_is_sorted_and_encoded() -> None:
    query = {"uploadId": "a+b/c=", "prefix": "ü x"}
    assert query_string(query) == "prefix=%C3%BC%20x&uploadId=a%2Bb%2Fc%3D"


def test_keys_do_not_show_the_secret() -> None:
    assert "wJalr" not in repr(KEYS)
