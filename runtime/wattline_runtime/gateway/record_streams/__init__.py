"""Streams of records: many inputs over one connection, answered in order, resumed by number."""
