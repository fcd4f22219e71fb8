"""RFC 9530 fields by the grammar of RFC 9651, and nothing beside it."""

from __future__ import annotations

import hashlib
import time

import pytest

from aiostreams import MalformedBody
from aiostreams.sansio.digest import format_digest, parse_digest
from tests.digests import digest_of

DATA = b'{"hello": "world"}\n'
SHA256 = hashlib.sha256(DATA).digest()
SHA512 = hashlib.sha512(DATA).digest()
# RFC 9530 appendix B.1 gives this for the 19 bytes above.
B256 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
B512 = digest_of(DATA, ("sha-512",)).partition("=")[2].strip(":")


def test_digest_of_the_example_in_the_rfc() -> None:
    assert digest_of(DATA) == f"sha-256=:{B256}:"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ("", {}),
        ("  ", {}),
        (f"sha-256=:{B256}:", {"sha-256": SHA256}),
        (f"  sha-256=:{B256}:  ", {"sha-256": SHA256}),
        (f"sha-256=:{B256.rstrip('=')}:", {"sha-256": SHA256}),
        (f"sha-512=:{B512}:", {"sha-512": SHA512}),
        (
            f"sha-512=:{B512}:,\t sha-256=:{B256}:",
            {"sha-256": SHA256, "sha-512": SHA512},
        ),
        (
            [f"sha-512=:{B512}:", f"sha-256=:{B256}:"],
            {"sha-256": SHA256, "sha-512": SHA512},
        ),
        (f"sha-256=:{B256}:;a;b=1;c=:AA==:", {"sha-256": SHA256}),
        # a key said twice counts as said last
        (f"sha-256=1, sha-256=:{B256}:", {"sha-256": SHA256}),
        # others are ignored, whatever the grammar lets them be
        ("md5=:AAAA:", {}),
        ("sha=:AA==:, unixsum=30637, crc32c, *x_.-*", {}),
        (
            f'a=1.5, b="q\\"\\\\", c=tok/en:, d=?1, e=@-3, sha-256=:{B256}:',
            {"sha-256": SHA256},
        ),
        ('l=(), m=( 1 "x";p=1 (a) )'.replace("(a) ", ""), {}),
        ('n=%"caf%c3%a9", o=-7', {}),
    ],
)
def test_field_is_read(
    value: str | list[str] | None, expected: dict[str, bytes]
) -> None:
    assert parse_digest(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "sha-256",
        "sha-256=1",
        "sha-256=token",
        "sha-256=()",
        f'sha-256="{B256}"',
        "sha-256=::",
        "sha-256=:AAAA:",
        "sha-256=:A:",
        "sha-256=:AA=A:",
        f"sha-256=:{B512}:",
        f"sha-256=:{B256}",
        f"sha-256={B256}",
        f"sha-256=:{B256}:,",
        f"sha-256=:{B256}:, ,",
        f",sha-256=:{B256}:",
        f"SHA-256=:{B256}:",
        f"sha-256 =:{B256}:",
        f"sha-256= :{B256}:",
        f"sha-256=:{B256}: md5",
        f"sha-256=:{B256}:;",
        # numbers and dates longer than RFC 9651 lets them be
        f"a=1234567890123456, sha-256=:{B256}:",
        f"a=1234567890123.0, sha-256=:{B256}:",
        f"a=1.2345, sha-256=:{B256}:",
        f"a=1., sha-256=:{B256}:",
        f"a=@1.5, sha-256=:{B256}:",
        "a=(1",
        'a="',
        'a="\\x"',
        "é=1",
        "a=:é:",
        "=1",
        "sha-256=:" + "A" * 9000 + ":",
    ],
)
def test_field_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(MalformedBody):
        parse_digest(value)


@pytest.mark.parametrize(
    "unit",
    ["a,", "a=1,", 'a="', "a;", "a=(", "a=(1 ", ":", "a=:", "a ", "a=?1;b", "a=(1.5 "],
)
def test_time_is_linear(unit: str) -> None:
    value = (unit * 8192)[:8192]
    started = time.process_time()
    try:
        parse_digest(value)
    except MalformedBody:
        pass
    assert time.process_time() - started < 1


def test_field_is_written() -> None:
    both = {"sha-256": SHA256, "sha-512": SHA512}
    assert format_digest(both) == f"sha-256=:{B256}:, sha-512=:{B512}:"
    assert digest_of(DATA, both) == format_digest(both)
    assert parse_digest(format_digest(both)) == both
    for name in ("md5", "SHA-256"):
        with pytest.raises(
            ValueError, match=f"unknown digest '{name}'; expected one of sha-256"
        ):
            format_digest({name: b""})
