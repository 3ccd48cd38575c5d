"""Data sets and models: the registry in memory."""
