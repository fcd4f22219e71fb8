"""The parsed values: one noun per file, each to a Stream and from one."""
