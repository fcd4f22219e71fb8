from __future__ import annotations

import logging

import pytest

from aiostreams.stats import log_stats
from tests.web.stats.requests import FAILED, GONE, REFUSED, UNMATCHED, UPLOAD, stats


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


LINES = """
    request ok: GET /files/{name} 200, in 0 bytes, out 1000 bytes, 0.020 s
    request ok: POST /upload 201, in 5000 bytes (gzip of 20000) as 3 parts, out 80 bytes (br of 300), 2.000 s
    request ok: GET /files/{name} 200, in 70 bytes as 1 part, out 1000 bytes, 0.020 s
    request ok: GET /files/{name} 200, in 0 bytes, out 1000 bytes (br gzip), 0.020 s
    request refused (LimitExceeded): POST /upload 413, in 0 bytes, out 1000 bytes, 0.020 s
    request client gone (ClientGone): GET /files/{name} no answer, in 0 bytes, out 1000 bytes, 0.020 s
    request ok: GET - 404, in 0 bytes, out 1000 bytes, 0.020 s
"""
GIVEN: tuple[dict[str, object], ...] = (
    {},
    UPLOAD,
    {"request_parts": 1, "request_body_size": 70},
    {"response_codings": ("br", "gzip"), "response_decoded_size": None},
    REFUSED,
    GONE,
    UNMATCHED,
)


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    log = log_stats()
    for given in GIVEN:
        log(stats(given))
    assert caplog.messages == [line.strip() for line in LINES.strip().splitlines()]
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("aiostreams.stats", logging.INFO)
    }


def test_record_has_the_stats(caplog: pytest.LogCaptureFixture) -> None:
    log_stats()(stats(UPLOAD))
    assert vars(caplog.records[0])["stats"] == stats(UPLOAD)


def test_logger_and_level_are_as_given(caplog: pytest.LogCaptureFixture) -> None:
    log_stats("mine", level=logging.DEBUG)(stats())
    log_stats(logging.getLogger("theirs"))(stats())
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("mine", logging.DEBUG),
        ("theirs", logging.INFO),
    ]


def test_own_fault_is_an_error_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    log_stats(level=logging.DEBUG)(stats(FAILED))
    log_stats(level=logging.CRITICAL)(stats(FAILED))
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.ERROR, logging.CRITICAL]


def test_nothing_is_formatted_below_the_level(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("aiostreams.web.stats.log._Line.__str__", None)
    log_stats()(stats())
    assert not caplog.records
