"""Meters, inlet temperatures, cooling capacity and GPU temperatures."""
