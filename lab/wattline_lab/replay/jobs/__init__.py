"""Queues of whole jobs over time: in which order they run, who gives way, how long it takes."""
