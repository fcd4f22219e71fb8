"""The type of a file by its first bytes (WHATWG MIME Sniffing)."""
