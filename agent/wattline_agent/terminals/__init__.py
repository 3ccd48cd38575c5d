"""Terminals of tasks on their way to the scheduler (docs/interactive.md)."""
