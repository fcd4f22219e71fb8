"""Content codings: gzip, deflate, br and zstd, read and written."""
