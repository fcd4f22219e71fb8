"""The documentation is run: README.md and all pages of docs/."""
