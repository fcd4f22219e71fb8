"""What a file is, told by its first bytes (WHATWG MIME Sniffing)."""
