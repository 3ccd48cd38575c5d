"""Snapshot, feasible, rank, gang, check: from waiting jobs to placements; pure."""
