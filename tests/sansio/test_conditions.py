"""RFC 9110 section 13: each condition alone, then the whole precedence."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiostreams.sansio.conditions import (
    Conditions,
    Decision,
    check_if_match,
    check_if_modified_since,
    check_if_none_match,
    check_if_unmodified_since,
    evaluate,
    range_applies,
)
from aiostreams.sansio.validators import EntityTag, Validators, format_http_date

CHANGED = 1_700_000_000.75
SAME = format_http_date(CHANGED)
EARLIER = format_http_date(CHANGED - 1)
LATER = format_http_date(CHANGED + 1)

STRONG = Validators(etag=EntityTag("now"), last_modified=CHANGED)
WEAK = Validators(etag=EntityTag("now", weak=True), last_modified=CHANGED)
BARE = Validators()
ABSENT = Validators(exists=False)
# A representation that is gone may still be remembered by its validators.
GONE = Validators(etag=EntityTag("now"), last_modified=CHANGED, exists=False)


@pytest.mark.parametrize(
    ("field", "validators", "expected"),
    [
        (None, STRONG, None),
        ("*", STRONG, True),
        ("*", BARE, True),
        ("*", ABSENT, False),
        ("*", GONE, False),
        ('"now"', STRONG, True),
        ('"old", "now"', STRONG, True),
        ('"old"', STRONG, False),
        ('W/"now"', STRONG, False),
        ('"now"', WEAK, False),
        ('W/"now"', WEAK, False),
        ('"now"', BARE, False),
        ('"now"', GONE, False),
        ("", STRONG, False),
        ("now", STRONG, False),
        ('garbage, "now"', STRONG, True),
    ],
)
def test_check_if_match_when(
    field: str | None, validators: Validators, expected: bool | None
) -> None:
    assert check_if_match(Conditions(if_match=field), validators) is expected


@pytest.mark.parametrize(
    ("field", "validators", "expected"),
    [
        (None, STRONG, None),
        ("*", STRONG, False),
        ("*", BARE, False),
        ("*", ABSENT, True),
        ("*", GONE, True),
        ('"now"', STRONG, False),
        ('"old", W/"now"', STRONG, False),
        ('"old"', STRONG, True),
        ('W/"now"', STRONG, False),
        ('"now"', WEAK, False),
        ('W/"now"', WEAK, False),
        ('"now"', BARE, True),
        ('"now"', GONE, True),
        ("", STRONG, True),
        ("now", STRONG, True),
        ('garbage, "now"', STRONG, False),
    ],
)
def test_check_if_none_match_when(
    field: str | None, validators: Validators, expected: bool | None
) -> None:
    assert check_if_none_match(Conditions(if_none_match=field), validators) is expected


@pytest.mark.parametrize(
    ("field", "validators", "modified_since"),
    [
        (None, STRONG, None),
        (EARLIER, STRONG, True),
        (SAME, STRONG, False),
        (LATER, STRONG, False),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", STRONG, False),
        ("Tue Nov 14 22:13:19 2023", STRONG, True),
        ("yesterday", STRONG, None),
        ("", STRONG, None),
        (f"{SAME}, {SAME}", STRONG, None),
        (EARLIER, BARE, None),
        (EARLIER, ABSENT, None),
        (EARLIER, GONE, None),
    ],
)
def test_check_if_modified_and_unmodified_since_when(
    field: str | None, validators: Validators, modified_since: bool | None
) -> None:
    """The two ask one question and give opposite answers, or neither applies."""
    conditions = Conditions(if_modified_since=field, if_unmodified_since=field)
    opposite = None if modified_since is None else not modified_since
    assert check_if_modified_since(conditions, validators) is modified_since
    assert check_if_unmodified_since(conditions, validators) is opposite


P, N, F = Decision.PROCEED, Decision.NOT_MODIFIED, Decision.PRECONDITION_FAILED


@pytest.mark.parametrize(
    ("match", "unmodified", "none_match", "modified", "get", "put"),
    [
        # -: absent, 1: holds, 0: fails, ?: unreadable
        ("-", "-", "-", "-", P, P),
        # one at a time
        ("1", "-", "-", "-", P, P),
        ("0", "-", "-", "-", F, F),
        ("-", "1", "-", "-", P, P),
        ("-", "0", "-", "-", F, F),
        ("-", "?", "-", "-", P, P),
        ("-", "-", "1", "-", P, P),
        ("-", "-", "0", "-", N, F),
        ("-", "-", "-", "1", P, P),
        ("-", "-", "-", "0", N, P),
        ("-", "-", "-", "?", P, P),
        # If-Match goes before If-Unmodified-Since, which is then ignored
        ("1", "0", "-", "-", P, P),
        ("0", "1", "-", "-", F, F),
        ("?", "1", "-", "-", F, F),
        # If-None-Match goes before If-Modified-Since, which is then ignored
        ("-", "-", "1", "0", P, P),
        ("-", "-", "0", "1", N, F),
        ("-", "-", "?", "0", P, P),
        # the first pair goes before the second
        ("0", "-", "0", "-", F, F),
        ("1", "-", "0", "-", N, F),
        ("-", "0", "-", "0", F, F),
        ("-", "1", "-", "0", N, P),
        ("1", "0", "1", "0", P, P),
        ("1", "0", "0", "1", N, F),
        ("0", "1", "1", "1", F, F),
    ],
)
def test_evaluate_when_fields_meet(
    match: str,
    unmodified: str,
    none_match: str,
    modified: str,
    get: Decision,
    put: Decision,
) -> None:
    conditions = Conditions(
        if_match={"-": None, "1": '"now"', "0": '"old"', "?": "now"}[match],
        if_unmodified_since={"-": None, "1": LATER, "0": EARLIER, "?": "?"}[unmodified],
        if_none_match={"-": None, "1": '"old"', "0": '"now"', "?": "now"}[none_match],
        if_modified_since={"-": None, "1": EARLIER, "0": SAME, "?": "?"}[modified],
    )
    assert evaluate("GET", conditions, STRONG) is get
    assert evaluate("HEAD", conditions, STRONG) is get
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert evaluate(method, conditions, STRONG) is put
    for method in ("OPTIONS", "TRACE", "CONNECT"):
        assert evaluate(method, conditions, STRONG) is P


TAGS = (None, "*", '"now"', 'W/"now"', '"old"', '"old", "now"', "junk", "")
DATES = (None, EARLIER, SAME, LATER, "junk")


@pytest.mark.parametrize("validators", [STRONG, WEAK, BARE, ABSENT, GONE])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_evaluate_when_every_combination(method: str, validators: Validators) -> None:
    """All 1,600 combinations agree with the six steps, copied out one by one."""
    for match, unmodified, none_match, modified in itertools.product(
        TAGS, DATES, TAGS, DATES
    ):
        conditions = Conditions(
            if_match=match,
            if_unmodified_since=unmodified,
            if_none_match=none_match,
            if_modified_since=modified,
        )
        assert evaluate(method, conditions, validators) is _by_the_book(
            method, conditions, validators
        ), conditions


def _by_the_book(
    method: str, conditions: Conditions, validators: Validators
) -> Decision:
    here, etag = validators.exists, validators.etag if validators.exists else None
    dated = validators.last_modified is not None and here
    dates = {EARLIER: -1, SAME: 0, LATER: 1}
    # Step 1 and 2
    if conditions.if_match is not None:
        current = etag is not None and not etag.weak
        holds = here if conditions.if_match == "*" else current
        if not holds or (
            conditions.if_match != "*"
            and '"now"' not in conditions.if_match.replace('W/"now"', "")
        ):
            return F
    elif dated and dates.get(conditions.if_unmodified_since or "", 0) < 0:
        return F
    # Step 3
    if conditions.if_none_match is not None:
        if conditions.if_none_match == "*":
            fails = here
        else:
            fails = etag is not None and '"now"' in conditions.if_none_match
        if fails:
            return F if method == "PUT" else N
    # Step 4
    elif method != "PUT" and dates.get(conditions.if_modified_since or "", -1) >= 0:
        return N if dated else P
    return P


@pytest.mark.parametrize(
    ("field", "validators", "expected"),
    [
        (None, BARE, True),
        (None, STRONG, True),
        ('"now"', STRONG, True),
        (' "now"', STRONG, True),
        ('"old"', STRONG, False),
        ('W/"now"', STRONG, False),
        ('"now"', WEAK, False),
        ('W/"now"', WEAK, False),
        ('"now"', BARE, False),
        ('"now", "old"', STRONG, False),
        ('"old", "now"', STRONG, False),
        ('"now', STRONG, False),
        ("now", STRONG, False),
        ("*", STRONG, False),
        ("", STRONG, False),
        (SAME, STRONG, True),
        ("Tue Nov 14 22:13:20 2023", STRONG, True),
        (SAME, WEAK, True),
        (EARLIER, STRONG, False),
        (LATER, STRONG, False),  # not "unmodified since", but exactly equal
        (SAME, BARE, False),
        (f"{SAME}, {SAME}", STRONG, False),
    ],
)
def test_range_applies_when(
    field: str | None, validators: Validators, expected: bool
) -> None:
    assert range_applies(Conditions(if_range=field), validators) is expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [(-3600, False), (0, False), (0.2, False), (1, True), (60, True)],
)
def test_range_applies_when_the_date_is_fresh(age: float, expected: bool) -> None:
    """8.8.2.2: what changed in this second may change in it once more."""
    conditions = Conditions(if_range=SAME)
    assert range_applies(conditions, STRONG, now=CHANGED // 1 + age) is expected
    tag = Conditions(if_range='"now"')
    assert range_applies(tag, STRONG, now=CHANGED // 1 + age) is True


def test_conditions_from_fields_when_mixed_with_others() -> None:
    fields = [
        ("Host", "example.org"),
        ("IF-MATCH", '"a"'),
        ("if-none-match", '"b"'),
        ("If-Modified-Since", SAME),
        ("If-Unmodified-Since", LATER),
        ("If-Range", '"c"'),
        ("Range", "bytes=0-1"),
        ("Ranges", "x"),
    ]
    assert Conditions.from_fields(fields) == Conditions(
        if_match='"a"',
        if_none_match='"b"',
        if_modified_since=SAME,
        if_unmodified_since=LATER,
        if_range='"c"',
        range="bytes=0-1",
    )
    assert Conditions.from_fields([]) == Conditions()


def test_conditions_from_fields_when_a_field_has_several_lines() -> None:
    """Lists go on; what may stand once only becomes unreadable, so ignored."""
    fields = [("If-None-Match", '"old"'), ("If-None-Match", '"now"')]
    conditions = Conditions.from_fields(fields)
    assert conditions.if_none_match == '"old", "now"'
    assert evaluate("GET", conditions, STRONG) is N
    twice = Conditions.from_fields([("If-Unmodified-Since", EARLIER)] * 2)
    assert evaluate("GET", twice, STRONG) is P


texts = st.none() | st.text() | st.text(alphabet='W/"now*, ', max_size=30)


@given(
    st.sampled_from(["GET", "PUT", "X", ""]),
    st.tuples(texts, texts, texts, texts, texts),
)
def test_decisions_when_fed_anything_never_raise(
    method: str, fields: tuple[str | None, ...]
) -> None:
    conditions = Conditions(
        if_match=fields[0],
        if_none_match=fields[1],
        if_modified_since=fields[2],
        if_unmodified_since=fields[3],
        if_range=fields[4],
    )
    for validators in (STRONG, WEAK, BARE, ABSENT):
        assert evaluate(method, conditions, validators) in Decision
        assert range_applies(conditions, validators) in {True, False}
