"""Simulated hardware, and the simulation of a whole fleet."""
