"""Lying agents, foreign processes and processes that raise power caps."""
