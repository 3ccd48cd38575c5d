"""Agent of a GPU host: telemetry, caps within its lease, and tasks through the keeper."""
