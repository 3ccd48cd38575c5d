"""Placement search: feasibility, ranking, gangs and trials."""
