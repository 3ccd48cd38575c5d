"""Readers of external sensors: meters, cooling units, outside temperature."""
