"""Uploads: the rules, the form models, and what was stored."""
