"""Backfill and preemption."""
