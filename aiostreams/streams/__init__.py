"""The Stream, and one noun per file: what bytes come from, go to and pass through."""
