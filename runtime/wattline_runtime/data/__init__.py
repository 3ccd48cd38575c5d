"""Versions of data sets: what they hold, and whether it is what was expected."""
