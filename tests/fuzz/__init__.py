"""Parsers of what comes from outside, fed with bytes: `python -m fuzz` looks for new ones."""
