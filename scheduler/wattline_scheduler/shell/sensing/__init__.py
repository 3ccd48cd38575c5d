"""Readers of what stands outside the agents: meters, cooling units, outside temperature."""
