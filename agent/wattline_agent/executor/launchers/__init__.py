"""Launchers that put a program of their own in front of the task's command."""
