"""Attempts on this node and their commands."""
