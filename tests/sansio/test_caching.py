"""What a shared cache keeps, gives and asks for again: RFC 9111, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from aiostreams.sansio.caching import (
    KeptAnswer,
    cache_directives,
    may_keep,
    may_use_cache,
)
from aiostreams.sansio.validators import format_http_date

NOW = 1_700_000_000.0
DATE = format_http_date(NOW)


def fields(*pairs: tuple[str, str], **more: str) -> CIMultiDict[str]:
    found = CIMultiDict(pairs)
    for name, value in more.items():
        found.add(name.replace("_", "-"), value)
    return found


def kept(request: Any = (), requested: float = NOW, **response: str) -> KeptAnswer:
    return KeptAnswer.of(
        fields(*request),
        200,
        "OK",
        fields(**{"Date": DATE, **response}),
        requested=requested,
        received=NOW,
        body="key",
        size=5,
    )


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], {}),
        ([""], {}),
        (["no-store"], {"no-store": None}),
        (["Max-Age=5 , Public"], {"max-age": "5", "public": None}),
        (["max-age=5", "max-age=7"], {"max-age": "5"}),
        (['max-age="5"'], {"max-age": "5"}),
        (
            ['private="set-cookie, x", max-age=1'],
            {"private": "set-cookie, x", "max-age": "1"},
        ),
        (['no-cache="x', "public"], {"no-cache": "x", "public": None}),
        (['max-age="5, no-store'], {"max-age": "5", "no-store": None}),
        ([",,a=,"], {"a": ""}),
    ],
)
def test_directives(lines: list[str], found: dict[str, str | None]) -> None:
    assert cache_directives(lines) == found


@pytest.mark.parametrize(
    ("may", "request_fields", "status", "response"),
    [
        (True, {}, 200, {"Cache_Control": "max-age=60"}),
        (True, {}, 200, {"ETag": '"a"'}),
        (True, {}, 200, {"Last_Modified": DATE}),
        (True, {}, 200, {"Expires": format_http_date(NOW + 60), "Date": DATE}),
        (False, {}, 200, {}),
        (False, {}, 200, {"Cache_Control": "max-age=0"}),
        (False, {}, 200, {"Cache_Control": "max-age=soon"}),
        (False, {}, 200, {"Expires": "0", "Date": DATE}),
        (False, {}, 200, {"Cache_Control": "no-store, max-age=60"}),
        (False, {}, 200, {"Cache_Control": "private, max-age=60"}),
        (False, {}, 200, {"Cache_Control": 'private="X-User", max-age=60'}),
        (False, {}, 200, {"Cache_Control": "public, max-age=60", "Set_Cookie": "a=b"}),
        (False, {}, 200, {"Cache_Control": "max-age=60", "Vary": "Accept, *"}),
        (False, {}, 206, {"Cache_Control": "max-age=60"}),
        (False, {}, 302, {"Cache_Control": "max-age=60"}),
        (False, {}, 500, {"Cache_Control": "max-age=60"}),
        (True, {}, 404, {"Cache_Control": "max-age=60"}),
        (False, {"Authorization": "x"}, 200, {"Cache_Control": "max-age=60"}),
        (True, {"Authorization": "x"}, 200, {"Cache_Control": "s-maxage=60"}),
        (True, {"Authorization": "x"}, 200, {"Cache_Control": "public, max-age=60"}),
        (
            True,
            {"Authorization": "x"},
            200,
            {"Cache_Control": "must-revalidate, max-age=60"},
        ),
        (False, {"Cookie": "a=b"}, 200, {"Cache_Control": "max-age=60"}),
        (True, {"Cookie": "a=b"}, 200, {"Cache_Control": "public, max-age=60"}),
    ],
)
def test_what_may_be_kept(
    may: bool, request_fields: dict[str, str], status: int, response: dict[str, str]
) -> None:
    assert may_keep(fields(**request_fields), status, fields(**response)) is may


def test_who_may_ask() -> None:
    assert may_use_cache("GET", fields())
    assert may_use_cache("HEAD", fields())
    assert not may_use_cache("POST", fields())
    assert not may_use_cache("GET", fields(Cache_Control="no-store"))


@pytest.mark.parametrize(
    ("response", "request_fields", "age", "fresh"),
    [
        ({"Cache_Control": "max-age=60"}, {}, 59, True),
        ({"Cache_Control": "max-age=60"}, {}, 60, False),
        ({"Cache_Control": "s-maxage=10, max-age=60"}, {}, 30, False),
        ({"Cache_Control": "max-age=60", "Expires": "0"}, {}, 30, True),
        ({"Expires": format_http_date(NOW + 60)}, {}, 59, True),
        ({"Expires": format_http_date(NOW + 60)}, {}, 61, False),
        ({"ETag": '"a"'}, {}, 0, False),
        ({"Cache_Control": "no-cache, max-age=60"}, {}, 0, False),
        ({"Cache_Control": "max-age=60", "Age": "50"}, {}, 5, True),
        ({"Cache_Control": "max-age=60", "Age": "50"}, {}, 15, False),
        ({"Cache_Control": "max-age=60"}, {"Cache_Control": "no-cache"}, 0, False),
        ({"Cache_Control": "max-age=60"}, {"Cache_Control": "max-age=0"}, 1, False),
        ({"Cache_Control": "max-age=60"}, {"Cache_Control": "max-age=10"}, 10, True),
        ({"Cache_Control": "max-age=60"}, {"Cache_Control": "min-fresh=20"}, 30, True),
        ({"Cache_Control": "max-age=60"}, {"Cache_Control": "min-fresh=40"}, 30, False),
        ({"Cache_Control": "max-age=60"}, {"Pragma": "no-cache"}, 0, False),
        (
            {"Cache_Control": "max-age=60"},
            {"Pragma": "no-cache", "Cache_Control": "max-age=9"},
            0,
            True,
        ),
    ],
)
def test_what_is_fresh(
    response: Any, request_fields: dict[str, str], age: int, fresh: bool
) -> None:
    answer = kept(**response)
    assert answer.is_fresh(fields(**request_fields), NOW + age) is fresh


def test_the_age_counts_all_that_is_known() -> None:
    assert kept().age(NOW) == 0
    assert kept().age(NOW + 5) == 5
    assert kept(Age="7").age(NOW + 5) == 12
    assert kept(requested=NOW - 3).age(NOW + 5) == 8, "the time on its way"
    assert kept(Date=format_http_date(NOW - 100)).age(NOW + 5) == 105
    assert kept(Date="yesterday", Age="x").age(NOW + 5) == 5


def test_it_is_for_requests_like_the_one_it_answered() -> None:
    french = [("Accept-Language", "fr, en"), ("Accept", "a"), ("Accept", "b")]
    answer = kept(french, Vary="accept-language, Accept, X-None")
    assert answer.matches(fields(*french))
    assert answer.matches(fields(("accept-language", "fr,en"), ("Accept", "a,b")))
    assert not answer.matches(fields(("Accept-Language", "en"), *french[1:]))
    assert not answer.matches(fields(*french, ("X-None", "")))
    assert not answer.matches(fields())


def test_it_is_for_nobody_in_particular_unless_it_says_so() -> None:
    for somebody in (fields(Authorization="x"), fields(Cookie="a=b")):
        assert not kept(Cache_Control="max-age=60").matches(somebody)
        assert kept(Cache_Control="public, max-age=60").matches(somebody)


def test_a_304_renews_it() -> None:
    answer = kept(
        Cache_Control="max-age=1", ETag='"a"', X_Old="1", Content_Type="text/plain"
    )
    assert answer.conditions == {"If-None-Match": '"a"'}
    said = fields(
        Date=format_http_date(NOW + 10),
        Cache_Control="max-age=60",
        X_New="2",
        Content_Type="x/y",
        Content_Length="0",
    )
    new = answer.renewed(said, requested=NOW + 10, received=NOW + 10)
    assert new.is_fresh(fields(), NOW + 60)
    assert new.headers["X-Old"] == "1"
    assert new.headers["X-New"] == "2"
    assert new.headers["Content-Type"] == "text/plain"
    assert "Content-Length" not in new.headers
    assert (new.body, new.size) == ("key", 5)
    dated = kept(Last_Modified=DATE)
    assert dated.conditions == {"If-Modified-Since": DATE}


def test_there_and_back() -> None:
    answer = kept([("Accept", "a")], Vary="Accept, X", ETag='"a"')
    assert KeptAnswer.from_json(json.loads(json.dumps(answer.to_json()))) == answer
    wrong: Any
    for wrong in ({}, [], {"status": 1}, {**answer.to_json(), "more": 1}):
        with pytest.raises((TypeError, ValueError, KeyError)):
            KeptAnswer.from_json(wrong)
