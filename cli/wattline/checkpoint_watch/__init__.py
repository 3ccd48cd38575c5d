"""Runs a program that saves checkpoints by itself, beside it finds out which of them are complete.

The agent starts it in place of the command of a job with `recovery.checkpoints`, as the account of
the task and among its processes: `python -m wattline.checkpoint_watch -- PATTERN COMMAND…`.
"""
