"""Processes and control groups of attempts."""
