"""Simulations and replays as verbs."""
