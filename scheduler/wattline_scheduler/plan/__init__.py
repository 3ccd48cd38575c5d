"""Planner: snapshot, feasible, rank, gang, check; from pending jobs to placements; pure."""
