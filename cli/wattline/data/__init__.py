"""Verbs about data sets and secrets: acts and renderers."""
