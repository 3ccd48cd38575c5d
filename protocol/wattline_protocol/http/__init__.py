"""Guarded HTTP servers."""
