"""The Python client: everything a script, the CLI, the TUI or the gateway asks a scheduler."""
