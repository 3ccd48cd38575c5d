"""Queues of whole jobs over time, under one policy."""
