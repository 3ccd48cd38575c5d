"""Fits the constants of the performance and node models to public traces: `make fit`."""
