"""Benchmarks of the gateway and its workers."""
