"""Hosts switched off, and seen to be off, without their agents."""
