"""Renderers of simulations, replays and benchmarks."""
