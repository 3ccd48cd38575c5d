"""Runs a program that saves checkpoints by itself, and finds out which of them are complete.

The agent starts it in place of the command of a job with `recovery.checkpoints`, as the account of
the task and among its processes: `python -m wattline.checkpoint_watch -- PATTERN COMMAND…`.

Standard library only, Python 3.9 or later: it is copied beside `wattline.task`, and runs in the
host's interpreter where the account has no access to the agent's.
"""
