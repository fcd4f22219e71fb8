"""Archives as other people's programs read them: by the directory, and from the front.

Each program unpacks every archive and is asked what it has found; one that is not
installed is skipped. From the front means from a pipe, where the local headers are all
that a program has to go by.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import random
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiostreams import ByteStream, GiB, IterStream, MiB, ZipMember, ZipStream
from aiostreams.testing import DripStream

DATA = random.Random(3).randbytes(200_000)
TEXT = b"the quick brown fox jumps over the lazy dog\n" * 5000


class Sized(DripStream):
    """Knows its size, and nothing else of its bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, 5000, turns=0, known_size=True)


# -- the archives ----------------------------------------------------------------------

NAMES = ["a.txt", "sub/b.bin", "sub/deeper/é 日本.txt", "empty"]
FILES = dict(zip(NAMES, (b"hello\n", DATA, TEXT, b""), strict=True))


def known() -> list[Any]:
    """With the CRC-32 in each local header, and no descriptor."""
    files = [
        ZipMember(name, Sized(data), crc32=zlib.crc32(data), modified=1.7e9)
        for name, data in FILES.items()
    ]
    return [*files, ZipMember("folder/", modified=1.7e9)]


def described() -> list[Any]:
    """The CRC-32 behind the bytes, the sizes before them."""
    return [(name, Sized(data)) for name, data in FILES.items()]


def unknown() -> list[Any]:
    """Nothing is known before the bytes, which are stored."""
    return [(name, IterStream([data])) for name, data in FILES.items()]


def deflated() -> list[Any]:
    return [
        ZipMember(n, IterStream([data]), compress=True) for n, data in FILES.items()
    ]


ARCHIVES: dict[str, Callable[[], list[Any]]] = {
    "known": known,
    "described": described,
    "unknown": unknown,
    "deflated": deflated,
}


@functools.cache
def archive(kind: str) -> bytes:
    async def read() -> bytes:
        async with ZipStream(ARCHIVES[kind]()) as stream:
            return await stream.read()

    return asyncio.run(read())


@pytest.fixture(params=ARCHIVES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def packed(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / f"{kind}.zip"
    path.write_bytes(archive(kind))
    return path


def installed(*names: str) -> str:
    """The first of these programs that is there; skips without."""
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed")


def run(*command: str | Path, cwd: Path, stdin: bytes = b"") -> str:
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, timeout=120, check=False
    )
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    return output


def unpacked(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    return folder


# -- their readers ---------------------------------------------------------------------


def test_cpython(packed: Path, folder: Path) -> None:
    with zipfile.ZipFile(packed) as found:
        assert found.testzip() is None
        found.extractall(folder)
    assert unpacked(folder) == FILES


def test_unzip(packed: Path, folder: Path) -> None:
    unzip = installed("unzip")
    assert "No errors detected" in run(unzip, "-t", packed, cwd=folder)
    run(unzip, "-q", packed, cwd=folder)
    assert unpacked(folder) == FILES
    if packed.stem == "known":
        assert (folder / "a.txt").stat().st_mtime == 1.7e9
        assert (folder / "a.txt").stat().st_mode & 0o777 == 0o644
        assert (folder / "folder").is_dir()


def test_bsdtar(packed: Path, folder: Path) -> None:
    bsdtar = installed("bsdtar")
    run(bsdtar, "-xf", packed, cwd=folder)
    assert unpacked(folder) == FILES


def test_bsdtar_from_the_front(kind: str, packed: Path, folder: Path) -> None:
    bsdtar = installed("bsdtar")
    run(bsdtar, "-xf", "-", cwd=folder, stdin=packed.read_bytes())
    assert unpacked(folder) == FILES


def test_7_zip(packed: Path, folder: Path) -> None:
    seven = installed("7zz", "7z", "7za")
    said = run(seven, "t", packed, cwd=folder)
    assert "Everything is Ok" in said
    assert "Warning" not in said
    assert "Error" not in said
    run(seven, "x", packed, cwd=folder)
    assert unpacked(folder) == FILES


JAVA = """
import java.io.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.zip.*;

public class Read {
    static String digest(InputStream in) throws Exception {
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(in.readAllBytes());
        return HexFormat.of().formatHex(hash);
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        if (args[0].equals("file")) {
            try (ZipFile zip = new ZipFile(args[1])) {
                for (ZipEntry entry : Collections.list(zip.entries()))
                    out.println(entry.getName() + "\\t" + digest(zip.getInputStream(entry)));
            }
        } else {
            try (ZipInputStream zip = new ZipInputStream(new FileInputStream(args[1]))) {
                for (ZipEntry e = zip.getNextEntry(); e != null; e = zip.getNextEntry())
                    out.println(e.getName() + "\\t" + digest(zip));
            }
        }
    }
}
"""


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def told(output: str) -> dict[str, str]:
    pairs = [line.split("\t") for line in output.splitlines() if "\t" in line]
    return {name: digest for name, digest in pairs if not name.endswith("/")}


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How to run the program; a JRE alone compiles nothing."""
    java, javac = installed("java"), installed("javac")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Read.java").write_text(JAVA)
    run(javac, "Read.java", cwd=folder)
    return [java, "-cp", str(folder), "Read"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "front"])
def test_java(
    way: str, kind: str, packed: Path, tmp_path: Path, java: list[str]
) -> None:
    """Its ZipInputStream goes from the front and takes no stored ones with descriptors.

    That is so whatever stands in the local header; with a known CRC-32 there is none.
    """
    command = [*java, way, str(packed)]
    if way == "front" and kind in {"described", "unknown"}:
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        # Newer ones may have learned it.
        assert not done.returncode or b"EXT descriptor" in done.stderr
        return
    assert told(run(*command, cwd=tmp_path)) == digests(FILES)


NODE = """
const fs = require('fs'), crypto = require('crypto');
const sha = data => crypto.createHash('sha256').update(data).digest('hex');
const [way, path] = process.argv.slice(2);
if (way === 'yauzl') {
  require('yauzl').open(path, {lazyEntries: true, strictFileNames: true}, (error, zip) => {
    if (error) throw error;
    zip.readEntry();
    zip.on('entry', entry => {
      if (entry.fileName.endsWith('/')) return zip.readEntry();
      zip.openReadStream(entry, (error, stream) => {
        if (error) throw error;
        const chunks = [];
        stream.on('data', chunk => chunks.push(chunk));
        stream.on('end', () => {
          console.log(entry.fileName + '\\t' + sha(Buffer.concat(chunks)));
          zip.readEntry();
        });
      });
    });
  });
} else if (way === 'fflate') {
  const files = require('fflate').unzipSync(fs.readFileSync(path));
  for (const name in files) console.log(name + '\\t' + sha(files[name]));
} else {
  const {Unzip, UnzipInflate} = require('fflate');
  const unzip = new Unzip(file => {
    const chunks = [];
    file.ondata = (error, chunk, final) => {
      if (error) throw error;
      chunks.push(Buffer.from(chunk));
      if (final) console.log(file.name + '\\t' + sha(Buffer.concat(chunks)));
    };
    file.start();
  });
  unzip.register(UnzipInflate);
  const data = fs.readFileSync(path);
  for (let at = 0; at < data.length; at += 10000)
    unzip.push(data.subarray(at, at + 10000), at + 10000 >= data.length);
}
"""


@functools.cache
def node_folder() -> Path | None:
    """A folder with the readers in it, if npm can install them."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="aiostreams-unzip-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    quiet = ["--silent", "--no-fund", "--no-audit"]
    done = subprocess.run(
        ["npm", "install", *quiet, "yauzl@3", "fflate@0.8"],
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
    )
    (folder / "read.js").write_text(NODE)
    return folder if done.returncode == 0 else None


@pytest.mark.parametrize("way", ["yauzl", "fflate", "front"])
def test_node(way: str, kind: str, packed: Path) -> None:
    folder = node_folder()
    if folder is None:
        pytest.skip("npm cannot install yauzl and fflate here")
    found = told(run("node", "read.js", way, str(packed), cwd=folder))
    assert found == digests(FILES)


# -- many, and large -------------------------------------------------------------------


async def written(members: Any, path: Path) -> None:
    """To a file in which zeros are holes."""
    zeros = bytes(256 * 1024)
    with path.open("wb") as file:
        async with ZipStream(members) as stream:
            async for piece in stream.iter_any():
                if piece == zeros[: len(piece)]:
                    file.seek(len(piece), 1)
                else:
                    file.write(piece)
        file.truncate()


@pytest.mark.slow
async def test_more_members_than_16_bits_can_count(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    await written([(f"{n:05}", b"x") for n in range(70_000)], path)

    def read() -> None:
        with zipfile.ZipFile(path) as found:
            assert len(found.namelist()) == 70_000
        if (unzip := shutil.which("unzip")) is not None:
            said = run(unzip, "-tqq", path, cwd=tmp_path)
            assert not said.strip()
        if (seven := shutil.which("7zz")) is not None:
            assert "Files: 70000" in run(seven, "t", path, cwd=tmp_path)
        if (bsdtar := shutil.which("bsdtar")) is not None:
            assert run(bsdtar, "-tf", path, cwd=tmp_path).count("\n") == 70_000

    await asyncio.to_thread(read)


LARGE = 4 * GiB + 5


def zeros() -> Iterator[bytes]:
    block = bytes(MiB)
    for _ in range(LARGE // MiB):
        yield block
    yield bytes(LARGE % MiB)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where a file of 4 GiB of zeros costs nothing, if there is one."""
    there = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=there if there.exists() else tmp_path) as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["stored", "deflated"])
async def test_one_member_beyond_4_gib(way: str, memory: Path) -> None:
    """And one behind it, that begins beyond 4 GiB where the first one is stored."""
    hole = memory / "hole"
    with hole.open("wb") as file:
        file.truncate(LARGE)
    path = memory / "large.zip"
    large: Any = ZipMember("large", hole)
    if way == "deflated":
        large = ZipMember("large", IterStream(zeros()), compress=True)
    await written([("before", b"b"), large, ("after", ByteStream(b"a"))], path)
    if way == "stored":
        async with ZipStream([("before", b"b"), large, ("after", b"a")]) as stream:
            await stream.open()
            assert stream.size == path.stat().st_size

    def read() -> None:
        with zipfile.ZipFile(path) as found:
            assert found.getinfo("large").file_size == LARGE
            assert found.read("after") == b"a"
        bsdtar, seven = shutil.which("bsdtar"), shutil.which("7zz")
        unzip = shutil.which("unzip")
        if bsdtar is not None:
            assert f"{LARGE}" in run(bsdtar, "-tvf", path, cwd=memory)
        # All bytes, by whoever is fastest: the others take up to 20 seconds.
        if bsdtar is not None and way == "deflated":
            command = (bsdtar, "-xOf", path)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        elif seven is not None:
            assert "Everything is Ok" in run(seven, "t", path, cwd=memory)
        elif unzip is not None:
            assert "No errors detected" in run(unzip, "-t", path, cwd=memory)

    await asyncio.to_thread(read)
