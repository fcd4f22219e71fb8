"""The list: newest first, searched, in pages, and never more work than it says."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from aiostreams import MemoryStorage, StoredObject
from example_app import listing
from example_app.listing import Search, find

from .service import problem


class Shelf(MemoryStorage):
    """Objects with the times that a test gives them; it counts what is looked at."""

    def __init__(self, objects: list[StoredObject]) -> None:
        super().__init__()
        self.objects = objects
        self.given = 0
        self.closed = False

    async def list(self, prefix: str = "") -> AsyncGenerator[StoredObject, None]:
        try:
            for stored in self.objects:
                if stored.key.startswith(prefix):
                    self.given += 1
                    yield stored
        finally:
            self.closed = True


def shelf(count: int, *, moments: int) -> Shelf:
    """So many files of so many moments, in no order."""
    objects = [
        StoredObject(f"folder{n % 3}/Report {n:04}.txt", n, modified=float(n % moments))
        for n in range(count)
    ]
    random.Random(5).shuffle(objects)
    return Shelf(objects)


@pytest.mark.parametrize("limit", [1, 7, 50, 200, 201, 500])
@pytest.mark.parametrize("moments", [1, 9, 200])
async def test_pages_together_are_everything_once_and_in_order(
    limit: int, moments: int
) -> None:
    storage = shelf(200, moments=moments)
    seen: list[StoredObject] = []
    after = None
    for number in range(201):
        page = await find(storage, Search(after=after, limit=limit))
        assert page.count == 200 + number
        assert page.complete
        seen += page.files
        if page.next is None:
            break
        # What is uploaded meanwhile is newer, and shifts nothing.
        storage.objects.append(StoredObject(f"new {number}", 1, modified=1e9))
        time, _, key = page.next.partition(",")
        after = float(time), key
    places = [(stored.modified, stored.key) for stored in seen]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == len(places) == 200


async def test_search_is_in_any_case_and_not_in_the_folder_that_makes_unique() -> None:
    token = "0123456789abcdef"
    storage = Shelf(
        [
            StoredObject(f"{token}/STRASSE abc.txt", 1),
            StoredObject("reports/2026/strasse.pdf", 1),
            StoredObject("other", 1),
        ]
    )
    for text, count in [("straße", 2), ("2026/", 1), ("abc", 1), ("0123", 0), ("", 3)]:
        assert (await find(storage, Search(text=text))).count == count, text


async def test_work_is_bounded_and_its_bound_admitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", 20)
    storage = shelf(100, moments=100)
    page = await find(storage, Search(limit=5))
    assert storage.given == 21
    assert storage.closed
    assert (page.count, page.complete, len(page.files)) == (20, False, 5)
    # A prefix is the storage's business: it need not look at the others.
    storage = shelf(60, moments=100)
    page = await find(storage, Search(prefix="folder1/", limit=5))
    assert storage.given == 20
    assert page.complete


async def test_list_is_searched_and_paged_by_its_query(
    url: URL, client: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "uploads/b").mkdir()
    for name in ("a1.txt", "a2.txt", "a3.txt", "b/a4.txt"):
        (tmp_path / "uploads" / name).write_text("x")
    seen: list[str] = []
    query = {"q": "A", "limit": "3"}
    for _ in range(2):
        async with client.get((url / "files").with_query(query)) as response:
            answer = await response.json()
        assert (answer["count"], answer["complete"]) == (4, True)
        seen += [file["path"] for file in answer["files"]]
        query["after"] = answer["next"] or ""
    assert sorted(seen) == ["a1.txt", "a2.txt", "a3.txt", "b/a4.txt"]
    async with client.get((url / "files").with_query(prefix="b/")) as response:
        assert (await response.json())["count"] == 1
    for wrong in ({"limit": "many"}, {"after": "yesterday"}):
        async with client.get(
            (url / "files").with_query(wrong), headers={"Accept": "application/json"}
        ) as response:
            await problem(response, 400)
    async with client.get((url / "files").with_query(prefix="../")) as response:
        assert response.status == 400


async def test_whole_list_comes_line_by_line(
    url: URL, client: ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", 2)
    for number in range(5):
        (tmp_path / f"uploads/{number}.txt").write_text("x")
    headers = {"Accept": "application/x-ndjson"}
    async with client.get(url / "files", headers=headers) as response:
        assert response.content_type == "application/x-ndjson"
        lines = (await response.text()).splitlines()
    assert sorted(json.loads(line)["name"] for line in lines) == [
        f"{number}.txt" for number in range(5)
    ]
