"""Learned runtimes, progress rates and fair share."""
