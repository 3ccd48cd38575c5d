"""Data of pending jobs: groups of jobs, lists of nodes, and what a job waits for."""
