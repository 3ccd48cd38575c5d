"""Verbs about data sets: acts and renderers."""
