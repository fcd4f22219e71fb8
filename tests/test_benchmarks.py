"""The benchmarks tell the truth: what is shown was measured, and is measured as said.

Nothing here holds anybody to a time.
"""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from aiostreams import KiB, MiB
from tests.benchmarks import forms, json_bodies, page
from tests.benchmarks.__main__ import arguments
from tests.benchmarks.charts import Bar, Group, chart
from tests.benchmarks.client import put
from tests.benchmarks.comments import comments
from tests.benchmarks.contestants import Contestant, aiohttp_app
from tests.benchmarks.figures import duration, ratio, size, spread, times
from tests.benchmarks.machine import ROOT
from tests.benchmarks.measure import Effort, Samples, measure, turns
from tests.benchmarks.results import FOLDER, Plain, load, missed, result, save, verdicts
from tests.benchmarks.rows import Entry, Peer, Row, at_most, times_less

SVG = "{http://www.w3.org/2000/svg}"


# -- what is published -----------------------------------------------------------------


@pytest.fixture(scope="module")
def document() -> Plain:
    return load()


def test_page_is_made_of_the_published_results(document: Plain) -> None:
    text = page.PAGE.read_text()
    assert text == page.filled(text, document), "python -m tests.benchmarks --charts"


def test_every_block_has_a_place() -> None:
    text = page.PAGE.read_text()
    for name in page.BLOCKS:
        assert text.count(f"<!-- {name} -->\n") == 1, name


def test_charts_are_drawn_from_the_published_results(document: Plain) -> None:
    drawn = page.charts(document)
    assert set(drawn) == {
        f"{row['area'].replace('_', '-')}.svg"
        for row in document["rows"]
        if row["peers"] and row["area"] in page.AREAS
    }
    assert {path.name for path in FOLDER.glob("*.svg")} == set(drawn)
    for name, text in drawn.items():
        assert (FOLDER / name).read_text() == text, name


def test_chart_has_a_title_and_says_all_its_figures(document: Plain) -> None:
    for text in page.charts(document).values():
        root = ET.fromstring(text)
        title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert title.text
        assert described is not None
        assert described.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"
        for element in root.iter(f"{SVG}text"):
            if element.get("class") == "value":
                assert element.text
                assert element.text in described.text
        assert root.get("viewBox") is not None


def test_published_results_are_of_all_rows(document: Plain) -> None:
    """And each sample of theirs is there, to be judged by somebody else."""
    assert document["commit"]
    assert document["versions"]["aiohttp"] != "-"
    assert document["crowd"]["entries"][0]["rounds"]
    for row in document["rows"]:
        for entry in (row["ours"], *row["peers"]):
            if entry.get("absent", "").startswith("no "):
                continue  # of npm: not where the run was made
            assert len(entry["cpu_samples"]) == document["rounds"], entry["title"]
    names = {row["row"] for row in document["rows"]}
    assert {row.name for row in forms.ROWS + json_bodies.ROWS} <= names


def test_what_is_worse_is_told(document: Plain) -> None:
    """A row made slower shows up among those in which a peer spends less."""
    row = next(
        row for row in document["rows"] if row["row"].startswith("form of 1,000")
    )
    slower = copy.deepcopy(document)
    for made in slower["rows"]:
        for peer in made["peers"]:
            peer["ratio"] = [0.8, 0.9, 1.0]
    assert page.worse(slower) == "In no row of this run."
    for made in slower["rows"]:
        if made["row"] == row["row"]:
            made["peers"][0]["ratio"] = [1.1, 1.2, 1.3]
            made["peers"][-1]["ratio"] = [5, 6, 7]  # mere draining is no peer
    assert page.worse(slower).splitlines()[2:] == [
        f"| {row['row']} | {row['peers'][0]['title']} | 1.20 x (1.10..1.30) |"
    ]


def test_quick_run_says_that_it_is_one(document: Plain) -> None:
    quick = {**document, "quick": True}
    assert "quick run" in page.run(quick)
    assert "quick run" not in page.run({**document, "quick": False})


# -- how it is measured ----------------------------------------------------------------


@aiohttp_app()
async def light(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@aiohttp_app()
async def heavy(request: web.Request) -> web.Response:
    for _ in range(200_000):
        pass
    return web.Response(text=str(len(await request.read())))


@aiohttp_app()
async def wrong(request: web.Request) -> web.Response:
    return web.Response(text="0")


@aiohttp_app("a_module_that_nobody_has")
async def absent(request: web.Request) -> web.Response:
    raise AssertionError


def row_of(*contestants: Contestant) -> Row:
    request = put(lambda: bytes(KiB), answer=b"1024")
    ours, *peers = (Entry(one.name, one, request) for one in contestants)
    return Row("light and heavy", 2, ours, [Peer(peer, at_most(0.5)) for peer in peers])


def test_measure_tells_light_from_heavy(tmp_path: Path) -> None:
    samples = measure(
        row_of(light, heavy, absent),
        Effort(rounds=3, starts=2, seconds=0.02),
        str(tmp_path),
    )
    ours, theirs, nobody = samples
    assert len(ours.cpu) == len(theirs.cpu) == 3
    assert all(ratio < 0.5 for ratio in ours.ratios(theirs))
    assert nobody.absent == "a_module_that_nobody_has is not installed"
    made = result("area", row_of(light, heavy, absent), samples)
    assert made["ours"]["length"] == 4
    assert not missed(made)
    assert [about for about, _, _ in verdicts(made)] == ["heavy"]


def test_measure_refuses_a_contestant_that_did_not_do_the_work(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"wrong: answered b'0', not b'1024'"):
        measure(row_of(light, wrong), Effort(1, 1, 0.01), str(tmp_path))


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_turns_are_fair(count: int) -> None:
    """Over all rounds each begins as often, and runs behind each other one."""
    orders = [turns(list(range(count)), number) for number in range(2 * count)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert len(set(Counter(order[0] for order in orders).values())) == 1
    behind = {pair for order in orders for pair in itertools.pairwise(order)}
    neighbours = {(one, (one + 1) % count) for one in range(count)}
    assert behind == neighbours | {(after, one) for one, after in neighbours}


def test_target_is_judged_by_the_median_of_the_ratios_within_a_round() -> None:
    """And not by the ratio of the medians: one slow spell hits both."""
    ours = Samples(
        cpu=[1.0, 10.0, 1.0], system=[0], faults=[0], switches=[0], length=100
    )
    theirs = Samples(
        cpu=[2.0, 20.0, 0.9], system=[0], faults=[0], switches=[0], length=90
    )
    entry = row_of(light).ours
    row = Row("row", 2, entry, [Peer(entry, times_less(2), size=1.1)])
    made = result("area", row, [ours, theirs])
    (peer,) = made["peers"]
    assert peer["ratio"][1] == 0.5
    assert peer["met"]
    assert not peer["size_met"]
    assert missed(made)


def test_document_comes_back_as_it_was_saved(tmp_path: Path, document: Plain) -> None:
    path = tmp_path / "results.json"
    save(path, document)
    assert load(path) == document
    # An entry's samples stand in one line.
    assert re.search(r'"cpu_samples": \[ [\d., e-]+ \]', path.read_text())


def test_rows_are_listed_by_name() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "3 fields", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "form of 3 fields and 10 KiB file",
        "receive 3 fields and 10 KiB file",
    ]


def test_some_rows_are_not_published(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "drain", "--json", str(page.PUBLISHED)])
    with pytest.raises(SystemExit):
        arguments()
    assert "is of all rows" in capsys.readouterr().err


# -- how it is told --------------------------------------------------------------------


def test_figures() -> None:
    assert duration(0.000811) == "811 µs"
    assert duration(0.0761) == "76.1 ms"
    assert duration(1.2) == "1.20 s"
    assert size(17 * MiB) == "17 MiB"
    assert size(1.5 * KiB) == "1.5 KiB"
    assert size(12) == "12 B"
    assert times(94.3) == "94 x"
    assert ratio(0.01) == "100.0 x less"
    assert spread([0.9, 1.0, 1.2]) == "1.00 x (0.90..1.20)"
    assert spread([0.25, 0.5, 1.0], 0.4) == "2.0 x less (1.0..4.0; 2.5)"


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    bars = [
        Bar("ours <1>", 1.0, 1.0, 1.0, "1 µs", "ours"),
        Bar("theirs", 4.0, 3.0, 5.0, "4 µs", "peer"),
    ]
    root = ET.fromstring(chart("A & B", [Group("group", bars)]))
    widths = [
        float(rect.get("width", "0"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("class") in {"ours", "peer"}
    ]
    assert widths[1] == pytest.approx(4 * widths[0], abs=0.2)
    assert len(list(root.iter(f"{SVG}path"))) == 1  # quartiles where there are any
    assert root.findtext(f"{SVG}title") == "A & B"


def test_comments_are_the_same_at_every_call_and_do_not_repeat() -> None:
    comments.cache_clear()
    first = comments(64 * KiB)
    comments.cache_clear()
    assert comments(64 * KiB) == first
    assert 64 * KiB <= len(first) < 66 * KiB
    ids = re.findall(rb'"id": "([^"]+)"', first)
    assert len(set(ids)) == len(ids) > 100
