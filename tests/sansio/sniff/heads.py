"""Beginnings of files of every type that ``sniff`` knows, as their writers make them.

Where a common tool is at hand it wrote the file; else the bytes are made by hand from
the format's specification.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import struct
import tarfile
import wave
import zipfile
from pathlib import Path

_OFFICE = "application/vnd.openxmlformats-officedocument."


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            stored = zipfile.ZIP_STORED if name == "mimetype" else method
            archive.writestr(name, content, stored)
    return buffer.getvalue()


class Unseekable(io.RawIOBase):
    """Makes ``zipfile`` write sizes behind the content, as streaming writers do."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def zipped_unseekably(*entries: tuple[str, bytes]) -> bytes:
    target = Unseekable()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return bytes(target.data)


def office(folder: str) -> bytes:
    return zipped(
        ("[Content_Types].xml", b"<Types/>" * 40),
        ("_rels/.rels", b"<Relationships/>" * 20),
        ("docProps/app.xml", b"<Properties/>" * 20),
        (f"{folder}/main.xml", b"<main/>" * 100),
    )


def sounded() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(320))
    return buffer.getvalue()


def tarred(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    return buffer.getvalue()


def database(folder: Path) -> bytes:
    path = folder / "a.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()
    return path.read_bytes()


def brand(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + b"\x00\x00\x02\x00" + b"".join(compatible)
    return struct.pack(">I", len(body) + 4) + body + b"\x00\x00\x00\x08free" + bytes(40)


def ebml(doctype: bytes, *, width: int = 1) -> bytes:
    length = {1: bytes((0x80 | len(doctype),)), 2: bytes((0x40, len(doctype)))}[width]
    inner = b"\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82" + length + doctype
    return b"\x1a\x45\xdf\xa3" + bytes((0x80 | len(inner),)) + inner + bytes(64)


def ogg(packet: bytes) -> bytes:
    page = b"OggS\x00\x02" + bytes(8) + bytes(4) + bytes(4) + bytes(4)
    return page + b"\x01" + bytes((len(packet),)) + packet


def mp3(second: int = 0xFB, third: int = 0x90, size: int = 417) -> bytes:
    frame = bytes((0xFF, second, third, 0)) + bytes(size - 4)
    return frame * 3


def adts() -> bytes:
    size = 100
    head = bytes((0xFF, 0xF1, 0x50, 0x80, size >> 3, (size & 7) << 5 | 0x1F, 0xFC))
    return (head + bytes(size - 7)) * 3


def ole(*names: str) -> bytes:
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[24:32] = b"\x3e\x00\x03\x00\xfe\xff\x09\x00"
    header[48:52] = struct.pack("<I", 1)  # the sector of the directory
    directory = b"".join(
        name.encode("utf-16-le").ljust(128, b"\x00") for name in ("Root Entry", *names)
    )
    return bytes(header) + bytes(512) + directory.ljust(512, b"\x00")


def ole_of_large_sectors(name: str) -> bytes:
    header = bytearray(4096)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[24:32] = b"\x3e\x00\x04\x00\xfe\xff\x0c\x00"
    return bytes(header) + name.encode("utf-16-le").ljust(128, b"\x00")


def windows() -> bytes:
    head = bytearray(b"MZ".ljust(256, b"\x00"))
    head[60:64] = struct.pack("<I", 128)
    head[128:132] = b"PE\x00\x00"
    return bytes(head)


def bitmap(size: int = 40) -> bytes:
    return b"BM\x46\x00\x00\x00" + bytes(4) + struct.pack("<II", 54, size) + bytes(50)


def embedded_font() -> bytes:
    head = bytearray(
        b"\x60\x01\x00\x00\x40\x01\x00\x00\x01\x00\x02\x00".ljust(100, b"\0")
    )
    head[34:36] = b"LP"
    return bytes(head)


HEADS: list[tuple[str, str, bytes]] = [
    # Images
    ("png", "image/png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    ("jpeg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
    ("gif87", "image/gif", b"GIF87a\x01\x00\x01\x00"),
    ("gif89", "image/gif", b"GIF89a\x01\x00\x01\x00"),
    ("gif and php", "image/gif", b"GIF89a;<?php system($_GET[0]);"),
    ("bmp", "image/bmp", bitmap()),
    ("bmp of OS/2", "image/bmp", bitmap(12)),
    ("ico", "image/vnd.microsoft.icon", b"\x00\x00\x01\x00\x01\x00\x10\x10"),
    ("cur", "image/vnd.microsoft.icon", b"\x00\x00\x02\x00\x01\x00\x10\x10"),
    ("webp", "image/webp", b"RIFF\x24\x00\x00\x00WEBPVP8 "),
    ("tiff", "image/tiff", b"II*\x00\x08\x00\x00\x00"),
    ("tiff of Motorola", "image/tiff", b"MM\x00*\x00\x00\x00\x08"),
    ("bigtiff", "image/tiff", b"II+\x00\x08\x00\x00\x00"),
    ("jxl", "image/jxl", b"\x00\x00\x00\x0cJXL \r\n\x87\n"),
    ("jxl codestream", "image/jxl", b"\xff\x0a\xfa\x1f"),
    ("jxr", "image/jxr", b"II\xbc\x01\x08"),
    ("psd", "image/vnd.adobe.photoshop", b"8BPS\x00\x01"),
    ("avif", "image/avif", brand(b"avif", b"mif1", b"miaf")),
    ("avif under mif1", "image/avif", brand(b"mif1", b"mif1", b"avif")),
    ("heic", "image/heic", brand(b"heic", b"mif1", b"heic")),
    ("heic under mif1", "image/heic", brand(b"mif1", b"heic")),
    ("heif", "image/heif", brand(b"mif1", b"mif1")),
    ("heif sequence", "image/heif-sequence", brand(b"msf1", b"iso8")),
    ("jp2", "image/jp2", b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 "),
    # Sound and moving pictures
    ("mp4", "video/mp4", brand(b"isom", b"isom", b"iso2", b"avc1", b"mp41")),
    ("mp4 by its second brand", "video/mp4", brand(b"XXXX", b"YYYY", b"mp42")),
    ("m4a", "audio/mp4", brand(b"M4A ", b"isom")),
    ("m4v", "video/x-m4v", brand(b"M4V ", b"isom")),
    ("mov", "video/quicktime", brand(b"qt  ", b"qt  ")),
    ("old mov", "video/quicktime", b"\x00\x00\x00\x6cmoov\x00\x00\x00\x6cmvhd"),
    ("mov, data first", "video/quicktime", b"\x00\x00\x10\x00mdat" + bytes(16)),
    ("mov, padding first", "video/quicktime", b"\x00\x00\x00\x08wide" + bytes(16)),
    ("3gp", "video/3gpp", brand(b"3gp5", b"isom")),
    ("webm", "video/webm", ebml(b"webm")),
    ("webm, two-byte length", "video/webm", ebml(b"webm", width=2)),
    ("mkv", "video/matroska", ebml(b"matroska")),
    ("mkv, two-byte length", "video/matroska", ebml(b"matroska", width=2)),
    ("ogg vorbis", "audio/ogg", ogg(b"\x01vorbis\x00\x00")),
    ("opus", "audio/ogg", ogg(b"OpusHead\x01\x02")),
    ("ogg theora", "video/ogg", ogg(b"\x80theora\x03\x02")),
    ("ogg", "application/ogg", ogg(b"fishead\x00")),
    ("wav", "audio/wav", sounded()),
    ("avi", "video/x-msvideo", b"RIFF\x00\x00\x10\x00AVI LIST"),
    ("aiff", "audio/aiff", b"FORM\x00\x00\x10\x00AIFFCOMM"),
    ("aifc", "audio/aiff", b"FORM\x00\x00\x10\x00AIFCFVER"),
    ("midi", "audio/midi", b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x00\x60"),
    ("mp3", "audio/mpeg", mp3()),
    ("mp3 of version 2", "audio/mpeg", mp3(0xF3, 0x80, 208)),
    ("mp3 of version 2.5", "audio/mpeg", mp3(0xE3, 0x80, 417)),
    ("mp3 with a tag", "audio/mpeg", b"ID3\x04\x00\x00\x00\x00\x00\x23"),
    ("aac", "audio/aac", adts()),
    ("flac", "audio/flac", b"fLaC\x00\x00\x00\x22"),
    ("ts", "video/mp2t", (b"G" + bytes(187)) * 5),
    ("wmv", "video/x-ms-asf", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    ("mpeg", "video/mpeg", b"\x00\x00\x01\xba\x44\x00"),
    # Archives and compressed files
    ("zip", "application/zip", zipped(("a.txt", b"hello"))),
    ("zip without entries", "application/zip", zipped()),
    ("gzip", "application/gzip", gzip.compress(b"hello")),
    ("bz2", "application/x-bzip2", bz2.compress(b"hello")),
    ("bz2 of nothing", "application/x-bzip2", bz2.compress(b"")),
    ("xz", "application/x-xz", lzma.compress(b"hello")),
    ("7z", "application/x-7z-compressed", b"7z\xbc\xaf\x27\x1c\x00\x04"),
    ("rar 4", "application/vnd.rar", b"Rar!\x1a\x07\x00\xcf"),
    ("rar 5", "application/vnd.rar", b"Rar!\x1a\x07\x01\x00"),
    ("zstd", "application/zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
    ("tar of POSIX", "application/x-tar", tarred(tarfile.PAX_FORMAT)),
    ("tar of GNU", "application/x-tar", tarred(tarfile.GNU_FORMAT)),
    ("deb", "application/vnd.debian.binary-package", b"!<arch>\ndebian-binary   "),
    ("jar", "application/java-archive", zipped(("META-INF/MANIFEST.MF", b"a"))),
    (
        "apk",
        "application/vnd.android.package-archive",
        zipped(("AndroidManifest.xml", b"\x03"), ("classes.dex", b"dex")),
    ),
    # Documents
    ("pdf", "application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    ("pdf", "application/pdf", b"\xef\xbb\xbf%PDF-1.4\n"),
    ("pdf", "application/pdf", b"\r\n\n%PDF-1.4\n"),
    ("pdf", "application/pdf", b"\xef\xbb\xbf \t\r\n%PDF-1.4\n"),
    ("pdf", "application/pdf", b"\n" * 1019 + b"%PDF-1.4\n"),
    ("ps", "application/postscript", b"%!PS-Adobe-3.0\n"),
    ("rtf", "text/rtf", b"{\\rtf1\\ansi"),
    ("docx", _OFFICE + "wordprocessingml.document", office("word")),
    ("xlsx", _OFFICE + "spreadsheetml.sheet", office("xl")),
    ("pptx", _OFFICE + "presentationml.presentation", office("ppt")),
    (
        "odt",
        "application/vnd.oasis.opendocument.text",
        zipped(
            ("mimetype", b"application/vnd.oasis.opendocument.text"),
            ("content.xml", b"<x/>"),
        ),
    ),
    (
        "ods, sizes behind",
        "application/vnd.oasis.opendocument.spreadsheet",
        zipped_unseekably(
            ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
            ("content.xml", b"<x/>"),
        ),
    ),
    (
        "epub",
        "application/epub+zip",
        zipped(
            ("mimetype", b"application/epub+zip"), ("META-INF/container.xml", b"<c/>")
        ),
    ),
    (
        "zip that lies in its mimetype",
        "application/zip",
        zipped(("mimetype", b"text/html"), ("index.html", b"<p>")),
    ),
    ("doc", "application/msword", ole("WordDocument", "1Table")),
    ("xls", "application/vnd.ms-excel", ole("Workbook")),
    ("ppt", "application/vnd.ms-powerpoint", ole("PowerPoint Document")),
    ("ole", "application/x-ole-storage", ole("Something")),
    ("ole, far directory", "application/x-ole-storage", ole("Workbook")[:512]),
    ("ole of large sectors", "application/x-ole-storage", ole_of_large_sectors("X")),
    # Fonts
    ("woff", "font/woff", b"wOFF\x00\x01\x00\x00"),
    ("woff2", "font/woff2", b"wOF2\x00\x01\x00\x00"),
    ("ttf", "font/ttf", b"\x00\x01\x00\x00\x00\x0c\x00\x80"),
    ("otf", "font/otf", b"OTTO\x00\x0c\x00\x80"),
    ("ttc", "font/collection", b"ttcf\x00\x01\x00\x00"),
    ("eot", "application/vnd.ms-fontobject", embedded_font()),
    # Programs and data
    ("wasm", "application/wasm", b"\x00asm\x01\x00\x00\x00"),
    ("elf", "application/x-executable", b"\x7fELF\x02\x01\x01\x00"),
    ("exe", "application/vnd.microsoft.portable-executable", windows()),
    (
        "exe of DOS",
        "application/vnd.microsoft.portable-executable",
        b"MZ\x90\x00\x03\x00",
    ),
    ("class", "application/java-vm", b"\xca\xfe\xba\xbe\x00\x00\x00\x3d"),
    ("macho", "application/x-mach-binary", b"\xcf\xfa\xed\xfe\x07\x00\x00\x01"),
    ("fat macho", "application/x-mach-binary", b"\xca\xfe\xba\xbe\x00\x00\x00\x02"),
    ("dicom", "application/dicom", bytes(128) + b"DICM\x02\x00"),
    ("parquet", "application/vnd.apache.parquet", b"PAR1\x15\x04"),
    # Markup
    ("html", "text/html", b"<!DOCTYPE html>\n<html><head>"),
    ("html in lower case", "text/html", b"<!doctype html>"),
    ("html after space", "text/html", b" \r\n\t<html lang=en>"),
    ("html behind a mark", "text/html", b"\xef\xbb\xbf<html>"),
    ("html in UTF-16", "text/html", "<html><body>".encode("utf-16")),
    ("html, big-endian", "text/html", b"\xfe\xff" + "<html>".encode("utf-16-be")),
    ("script", "text/html", b"<script>alert(1)</script>"),
    ("image tag", "text/html", b"<img src=x onerror=alert(1)>"),
    ("closed at once", "text/html", b"<br/>"),
    ("comment", "text/html", b"<!-- hello -->"),
    ("comment without end", "text/html", b"<!-- hello"),
    ("comment, then html", "text/html", b"<!-- hello --><p>hi</p>"),
    ("comments without end", "text/html", b"<!---->" * 100),
    ("xhtml", "application/xhtml+xml", b'<?xml version="1.0"?>\n<html xmlns="x">'),
    ("svg", "image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg">'),
    ("svg of a prefix", "image/svg+xml", b"<s:svg xmlns:s='x'>"),
    ("svg with a declaration", "image/svg+xml", b'<?xml version="1.0"?>\n<svg>'),
    (
        "svg with all of it",
        "image/svg+xml",
        (b'<?xml version="1.0"?>\n<?xml-stylesheet href="a.css"?>\n<!-- Inkscape -->\n'
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" [<!ENTITY a "b">]>\n<svg>'),
    ),
    ("svg in UTF-16", "image/svg+xml", '<?xml version="1.0"?><svg>'.encode("utf-16")),
    (
        "svg in UTF-16 without a mark",
        "image/svg+xml",
        '<?xml version="1.0"?><svg>'.encode("utf-16-be"),
    ),
    ("xml", "text/xml", b'<?xml version="1.0"?><note>'),
    ("xml, root beyond", "text/xml", b'<?xml version="1.0"?><!-- never ending'),
    ("xml of a document type", "text/xml", b"<!DOCTYPE note [<!ENTITY a 'b'>]><note>"),
    ("xml of a namespace", "text/xml", b'<kml xmlns="http://www.opengis.net/kml/2.2">'),
    ("php", "application/x-httpd-php", b"<?php echo 1;"),
    ("php, short", "application/x-httpd-php", b"<?= 1 ?>"),
    ("php after a comment", "application/x-httpd-php", b"<!-- x --><?PHP echo 1;"),
]  # fmt: skip
