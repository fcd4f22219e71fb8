"""A body in parts (RFC 2046, RFC 7578): read, held, written."""
