"""The media type of a file, by its name.

The standard library's own table, overlaid with what it lacks, calls differently from
one Python to the next (3.11 to 3.14), or keeps under an outdated name. The machine's
tables (``/etc/mime.types``, the registry) and ``mimetypes.add_type`` have no say: one
name has one type wherever the server runs.

A compressed file is what it is, bytes of gzip: ``application/gzip`` for ``a.tar.gz``,
not a tar with a Content-Encoding, which a browser would undo while saving ``a.tar.gz``.
``charset=utf-8`` goes with every text type but the XML ones: there it would overrule
what the document says of itself (RFC 7303 section 3). JSON is always UTF-8, and its
type has no such parameter (RFC 8259 section 11).
"""

from __future__ import annotations

import mimetypes
from typing import Final

__all__ = ["OCTET_STREAM", "guess_content_type", "media_type_of"]

OCTET_STREAM: Final = "application/octet-stream"


def media_type_of(content_type: str | None) -> str:
    """Return the media type in lower case, without its parameters; ``""`` for none."""
    return (
        "" if content_type is None else content_type.partition(";")[0].strip().lower()
    )


_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_OPEN: Final = "application/vnd.oasis.opendocument."

# By type, so that what belongs together is seen together; extensions without dot.
_MODERN: Final = {
    # Text, and what is written by hand
    "text/javascript": "js mjs cjs",  # RFC 9239
    "text/markdown": "md markdown",
    "text/plain": "txt log conf cfg ini text srt diff patch",
    "text/rtf": "rtf",
    "text/vtt": "vtt",
    "text/calendar": "ics",
    "text/vcard": "vcf",
    "text/x-rst": "rst",
    "text/n3": "n3",
    "text/turtle": "ttl",
    "text/xml": "xml",
    # Data
    "application/json": "json map",
    "application/geo+json": "geojson",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/x-ndjson": "ndjson jsonl",
    "application/json5": "json5",
    "application/yaml": "yaml yml",  # RFC 9512
    "application/toml": "toml",
    "application/sql": "sql",
    "application/cbor": "cbor",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow feather",
    "application/vnd.sqlite3": "sqlite sqlite3 db",
    "application/n-quads": "nq",
    "application/n-triples": "nt",
    "application/trig": "trig",
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/xhtml+xml": "xhtml xht",
    "application/x-hdf5": "h5",
    "application/x-texinfo": "texi texinfo",
    "application/xml": "xsl xslt rdf wsdl xpdl xsd",
    "application/xml-dtd": "dtd",
    "application/graphql": "graphql gql",
    "application/wasm": "wasm",
    # Images
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/emf": "emf",
    "image/fits": "fits",
    "image/g3fax": "g3",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jp2": "jp2",
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/jpm": "jpm",
    "image/jpx": "jpx",
    "image/jxl": "jxl",
    "image/svg+xml": "svg",
    "image/t38": "t38",
    "image/tiff-fx": "tfx",
    "image/vnd.adobe.photoshop": "psd",
    "image/vnd.microsoft.icon": "ico cur",
    "image/webp": "webp",
    "image/wmf": "wmf",
    # Sound
    "audio/3gpp": "3gp 3gpp",
    "audio/3gpp2": "3g2 3gpp2",
    "audio/aac": "aac adts ass loas",
    "audio/flac": "flac",
    "audio/matroska": "mka",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a m4b",
    "audio/ogg": "ogg oga spx",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    # Video
    "video/iso.segment": "m4s",
    "video/matroska": "mkv",
    "video/matroska-3d": "mk3d",
    "video/mp2t": "ts m2ts",
    "video/mp4": "mp4 mp4v",
    "video/ogg": "ogv",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-m4v": "m4v",
    "video/x-ms-wmv": "wmv",
    "video/x-msvideo": "avi",
    "application/dash+xml": "mpd",
    "application/ogg": "ogx",
    # Fonts
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "application/vnd.ms-fontobject": "eot",
    # Three dimensions
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/stl": "stl",
    # Documents
    "application/epub+zip": "epub",
    _OFFICE + "presentationml.presentation": "pptx",
    _OFFICE + "spreadsheetml.sheet": "xlsx",
    _OFFICE + "wordprocessingml.document": "docx",
    _OPEN + "graphics": "odg",
    _OPEN + "presentation": "odp",
    _OPEN + "spreadsheet": "ods",
    _OPEN + "text": "odt",
    # Archives, and compressed files of any content
    "application/gzip": "gz tgz taz tz svgz",
    "application/java-archive": "jar war",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.debian.binary-package": "deb",
    "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z",
    "application/x-brotli": "br",
    "application/x-bzip2": "bz2 tbz tbz2",
    "application/x-compress": "z",
    "application/x-rpm": "rpm",
    "application/x-xz": "xz txz",
    "application/zip": "zip",
    "application/zstd": "zst tzst",  # RFC 8878
    # Programs
    "application/x-httpd-php": "php",
    OCTET_STREAM: "bin exe dll so o a obj iso dmg img msi",
}


def _build_table() -> dict[str, str]:
    # A MimeTypes of its own holds the library's defaults and nothing from files.
    table = {
        extension.removeprefix(".").lower(): media_type
        for extension, media_type in mimetypes.MimeTypes().types_map[True].items()
    }
    for media_type, extensions in _MODERN.items():
        table |= dict.fromkeys(extensions.split(), media_type)
    return {extension: _with_charset(found) for extension, found in table.items()}


def _with_charset(media_type: str) -> str:
    if media_type.startswith("text/") and media_type != "text/xml":
        return f"{media_type}; charset=utf-8"
    return media_type


_TABLE: Final = _build_table()


def guess_content_type(name: str, *, default: str = OCTET_STREAM) -> str:
    """Guess the media type by a file name.

    Args:
        name: a file name, or a path with either separator. Only what follows the
            last dot of its last part counts, and case does not.
        default: for a name without an extension, or with an unknown one. A leading
            dot begins a hidden file's name, not an extension.

    Returns:
        A type for ``Content-Type``, with ``charset=utf-8`` where that belongs.
    """
    last = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    stem, _, extension = last.rpartition(".")
    if not stem.strip("."):
        return default
    return _TABLE.get(extension.lower(), default)
