"""The agent of a GPU host: telemetry, caps within its lease, and tasks by way of the keeper."""
